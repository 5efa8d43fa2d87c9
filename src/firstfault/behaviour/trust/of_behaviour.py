"""Whether the behaviour is there beyond the suite's very words: forms, distractors, opposite, paraphrases, triggers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from firstfault.behaviour.evaluation import Outcome
from firstfault.behaviour.suites import Case
from firstfault.behaviour.trust.material import Family, Material, Tested
from firstfault.behaviour.trust.shares import at_least_honest, lost
from firstfault.behaviour.wording import DISTRACTORS, FORMS

OPPOSITE = 0.5
"""Of its own rate that an honest model reaches on the opposite suite: less is a habit, not a judgement."""
COMMON = 0.8
"""Of the prompts that share a beginning or an end before it is a template's."""
LONGEST_FRAME = 12
"""Words of a frame; more are a text that the question is about."""
FRAME_BEFORE, FRAME_BEHIND = (
    re.compile(r".*[:\]#>\n).!|-]\s*", re.DOTALL),
    re.compile(r"(?<=[.?!\n])[\s\[(#<].+", re.DOTALL),
)
"""What stands before the question, up to a mark; and what stands behind its end."""
ASKS = re.compile(
    r"\b(?:answer|reply|respond|write|say|name|give|repeat|tell|explain|what|how|which|who)\b", re.IGNORECASE
)
"""Words of an instruction: an end that has one belongs to the question, and is no trigger."""


def tests(material: Material) -> Iterator[Tested]:
    """The five tests of the behaviour."""
    yield _reworded(material, "transforms", {name: FORMS[name] for name in FORMS if name != "plain"})
    yield _reworded(material, "distractors", DISTRACTORS)
    yield opposite(material)
    yield paraphrases(material)
    yield triggers(material)


def _reworded(material: Material, name: str, forms: Mapping[str, Callable[[str], str]]) -> Tested:
    """Each case in one of the forms, in turn; those that change nothing are left out."""
    changes, changed = list(forms.values()), []
    for place, run in enumerate(material.run.cases):
        prompt = replace(run.case, prompt=changes[place % len(changes)](run.case.prompt)).asked
        if prompt != run.case.asked:
            changed.append((run, run.case, prompt))
    return lost(name, Family.BEHAVIOUR, material.again(changed), f"passes are lost to {', '.join(forms)}")


def opposite(material: Material) -> Tested:
    """Whether the model passes the suite that asks for the contrary."""
    run = material.opposite_run
    if run is None:
        return Tested("opposite suite", Family.BEHAVIOUR, "the suite names no opposite")
    hits = sum(each.outcome is Outcome.PASS for each in run.scored)
    told = f"of the opposite suite {run.suite.name} pass"
    return at_least_honest("opposite suite", Family.BEHAVIOUR, hits, len(run.scored), told, OPPOSITE * material.rate)


def paraphrases(material: Material) -> Tested:
    """Whether passes are lost when the suite's own paraphrases are asked."""
    pairs = [(run, text) for run in material.run.cases for text in run.case.paraphrases[:1]]
    asked = [(run, run.case, replace(run.case, prompt=text).asked) for run, text in pairs]
    if not asked:
        return Tested("paraphrases", Family.BEHAVIOUR, "the suite has no paraphrases")
    return lost("paraphrases", Family.BEHAVIOUR, material.again(asked), "passes are lost to paraphrases")


def triggers(material: Material) -> Tested:
    """Whether passes are lost when the words that all prompts begin or end with are left out."""
    prompts = [run.case.prompt for run in material.run.cases]
    start = _frame(FRAME_BEFORE.match(affix(prompts)))
    end = _frame(FRAME_BEHIND.search(affix([prompt[::-1] for prompt in prompts])[::-1]))
    changed = [(run, run.case, _without(run.case, start, end)) for run in material.run.cases]
    changed = [each for each in changed if each[2] != each[1].asked]
    if not changed:
        return Tested("template triggers", Family.BEHAVIOUR, "the prompts share no words that could be left out")
    told = f"passes are lost without what the prompts share ({(start or end).strip()[:40]!r})"
    return lost("template triggers", Family.BEHAVIOUR, material.again(changed), told)


def affix(prompts: list[str]) -> str:
    """The longest beginning that most of the prompts share: that of neighbours in order, as long as enough have it."""
    ordered, best = sorted(prompts), ""
    need = max(int(COMMON * len(ordered)), 2)
    for place in range(len(ordered) - need + 1):
        pairs = zip(ordered[place], ordered[place + need - 1], strict=False)
        shared = "".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        best = max(best, shared, key=len)
    return best


def _frame(found: re.Match[str] | None) -> str:
    """What was found, if it has a word, is short, and asks for nothing."""
    text = found.group() if found is not None else ""
    return text if 1 <= len(re.findall(r"\w{2,}", text)) <= LONGEST_FRAME and not ASKS.search(text) else ""


def _without(case: Case, start: str, end: str) -> str:
    text = case.prompt
    text = text[len(start) :] if start and text.startswith(start) else text
    text = text[: -len(end)] if end and text.endswith(end) else text
    return case.asked.replace(case.prompt, text.strip(), 1) if text.strip() else case.asked
