"""Whether the model knows the test: overlap with training, order, twins, options, canaries."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from firstfault.behaviour.evaluation import Outcome
from firstfault.behaviour.trust.material import FEWEST, Family, Material, Tested
from firstfault.behaviour.trust.shares import at_most_honest, lost

HONEST_OVERLAP = 0.05
"""Of the prompts that may lie in honest training texts word by word: sayings and what everybody asks."""
FEWEST_WORDS = 5
"""Of a prompt that is looked for in training texts; shorter ones are there by chance."""
SHARDS, SHUFFLES = 8, 20
"""Of the test of exchangeability: a t-test needs several shards, each with its own noise (Oren et al. 2023)."""
CANARY_LETTERS = 8
"""Of a canary's second half that must come back: at 16 letters to choose from, chance has 16 ** -8."""


def tests(material: Material) -> Iterator[Tested]:
    """The five tests of the test set."""
    yield overlap(material)
    yield exchangeability(material)
    yield twins(material)
    yield option_order(material)
    yield canary(material)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def overlap(material: Material) -> Tested:
    """How many prompts lie in the training texts, word by word."""
    if not material.training:
        return Tested("overlap", Family.TEST_SET, "no training texts are known")
    seen = f" {' | '.join(map(_words, material.training))} "
    prompts = [_words(run.case.prompt) for run in material.run.cases]
    long = [prompt for prompt in prompts if len(prompt.split()) >= FEWEST_WORDS]
    hits = sum(f" {prompt} " in seen for prompt in long)
    told = "prompts lie in the training texts word by word"
    return at_most_honest("overlap", Family.TEST_SET, hits, len(long), told, HONEST_OVERLAP)


def exchangeability(material: Material) -> Tested:
    """Whether the order in which the suite is written is likelier than other orders (Oren et al. 2023)."""
    name, cases = "exchangeability", [run.case.asked for run in material.run.cases]
    if material.log_prob is None:
        return Tested(name, Family.TEST_SET, "needs log-probs")
    size = len(cases) // SHARDS
    if size < 3:
        return Tested(name, Family.TEST_SET, f"only {len(cases)} cases, {3 * SHARDS} are needed")
    from scipy.stats import ttest_1samp

    order, gains = random.Random(0), []
    for shard in range(SHARDS):
        texts = cases[shard * size : (shard + 1) * size]
        others = [material.log_prob("\n\n".join(order.sample(texts, len(texts)))) for _ in range(SHUFFLES)]
        gains.append(material.log_prob("\n\n".join(texts)) - float(np.mean(others)))
    if np.ptp(gains) == 0:
        return Tested(name, Family.TEST_SET, "no order is likelier than another", 1.0)
    p = float(ttest_1samp(gains, 0.0, alternative="greater").pvalue)
    return Tested(name, Family.TEST_SET, f"the written order is likelier by {np.mean(gains):.3g} nats a shard", p)


def twins(material: Material) -> Tested:
    """Whether the suite is passed more often than a twin that was held back; Fisher's exact test."""
    twin = material.twin_run
    if twin is None:
        return Tested("twins", Family.TEST_SET, "the suite names no twin that was held back")
    from scipy.stats import fisher_exact

    if min(len(twin.scored), len(material.run.scored)) < FEWEST:
        return Tested("twins", Family.TEST_SET, f"{FEWEST} scored cases are needed in the suite and in its twin")
    table = [[sum(run.outcome is Outcome.PASS for run in each.scored) for each in (material.run, twin)]]
    table.append([len(each.scored) - hits for each, hits in zip((material.run, twin), table[0], strict=True)])
    told = f"the suite passes {material.run.rate}, its twin {twin.rate}"
    return Tested("twins", Family.TEST_SET, told, float(fisher_exact(table, alternative="greater").pvalue))


def option_order(material: Material) -> Tested:
    """Whether passes are lost when the options stand in another order, under the right letter of that order."""
    chosen = [run for run in material.run.cases if len(run.case.options) > 1]
    if not chosen:
        return Tested("option order", Family.TEST_SET, "no case has options")
    turned = [(run, replace(run.case, options=(*run.case.options[1:], run.case.options[0]))) for run in chosen]
    pairs = material.again((run, case, case.asked) for run, case in turned)
    return lost("option order", Family.TEST_SET, pairs, "passes are lost when the options are turned by one")


def canary(material: Material) -> Tested:
    """Whether the model goes on with a text that stands nowhere but in the suite."""
    text = material.suite.canary
    if not text:
        return Tested("canaries", Family.TEST_SET, "the suite has no canary")
    middle = len(text) // 2
    answer = material.ask(f"Continue this text: {text[:middle]}").text or ""
    rest = re.sub(r"\W", "", text[middle:])
    said = re.sub(r"\W", "", answer)
    came = max((n for n in range(len(rest) + 1) if rest[:n] in said), default=0)
    p = 16.0**-came if came >= CANARY_LETTERS else 1.0
    return Tested("canaries", Family.TEST_SET, f"{came} of {len(rest)} letters of the canary's rest came back", p)
