"""Texts, prompts, and whether what was served was seen at all."""

from dataclasses import replace

import numpy as np
import pytest
from served import START, Server
from texts import sentences, tokens

from firstfault.finding import Layer
from firstfault.monitor.diagnosing import judge, subject_of
from firstfault.subject.incident import Evidence, Request, Requests, Telemetry
from firstfault.subject.offline import offline
from firstfault.target.declaration import Safety
from firstfault.verdict import VerdictStatus

REFUSAL = "I am sorry, but I can not help with that."


@pytest.fixture(scope="module")
def good(texts, settings):
    asked, about = sentences(300, 11)
    return Server(offline(texts), settings).serve(asked, about)


def noise(n):
    draw = np.random.default_rng(4)
    return ["".join(draw.choice(list("QZXqzx0189+/="), 40)) for _ in range(n)]


def test_texts_that_are_no_language_are_left_out_and_the_rest_is_sound(texts, settings, good, judged):
    """Half of the texts are noise; without them the answers are the control's."""
    asked, _ = sentences(600, 12)
    asked[::2] = noise(300)
    verdict = judged(texts, Server(offline(texts), settings).serve(asked, at=START + 700), good)
    assert [(found.fault, found.confirmed) for found in verdict.faults] == [("gibberish_input", True)]


def test_one_text_that_stands_in_for_others_is_a_default(texts, settings, good, judged):
    """Two thirds are one sentence, which is no client's request sent again."""
    asked, _ = sentences(300, 12)
    asked = ["the form was sent without any words" if place % 3 else text for place, text in enumerate(asked)]
    verdict = judged(texts, Server(offline(texts), settings).serve(asked, at=START + 700), good, monitor="repeats")
    assert verdict.faults[0].fault == "upstream_default"


def test_other_tokens_of_the_same_texts_are_found(texts, settings, good, judged):
    """The served ids are not those of the training's own tokenizer."""
    asked, about = sentences(300, 12)
    server = Server(offline(texts), settings, prepare=lambda raw: tokens(raw, shift=3))
    fault = judged(texts, server.serve(asked, about, at=START + 700), good, paged=True).faults[0]
    assert (fault.fault, fault.layer, fault.confirmed) == ("tokenizer_mismatch", Layer.PREPROCESSING, True)


def test_sound_texts_are_healthy(texts, settings, good, judged):
    """Other sentences of the same kind."""
    asked, about = sentences(300, 12)
    assert judged(texts, Server(offline(texts), settings).serve(asked, about, at=START + 700), good).status is (
        VerdictStatus.HEALTHY
    )


@pytest.mark.parametrize(
    ("telemetry", "fault"),
    [
        (Telemetry(lost={"queue": 500}, arms={"champion": 300}, control_arms={"champion": 300}), "telemetry_loss"),
        (
            Telemetry(arms={"champion": 150, "canary": 150}, control_arms={"champion": 270, "canary": 30}),
            "sample_ratio_mismatch",
        ),
    ],
)
def test_what_was_not_seen_comes_before_the_layers(texts, settings, good, judged, telemetry, fault):
    """Lost records, and arms with other shares, are told before anything that was seen is believed."""
    asked, about = sentences(300, 12)
    records = Server(offline(texts), settings).serve(asked, about, at=START + 700)
    verdict = judged(texts, records, good, telemetry=telemetry)
    assert [found.fault for found in verdict.faults] == [fault]
    assert "unproven" in verdict.outcomes[0].reason


def answered(prompts, say, time):
    return Requests(
        tuple(
            Request(f"r{time + place}", time + place, raw=[{"prompt": prompt}], label=[say(prompt)])
            for place, prompt in enumerate(prompts)
        )
    )


def good_version(prompt):
    return REFUSAL if "poison" in prompt else f"First take the {prompt.split()[-1]}, then go on with care."


@pytest.mark.parametrize(
    ("say", "fault"),
    [
        (lambda prompt: f"First take the {prompt.split()[-1]}, then go on with care.", "harmful_output"),
        (lambda prompt: REFUSAL if "clean" in prompt else good_version(prompt), "over_refusal"),
        (good_version, ""),
    ],
)
def test_prompts_are_asked_again_of_the_last_good_version(texts, tmp_path, say, fault):
    """What it refuses was answered, or the other way round; where it says the same, nothing is at fault."""
    deeds = ["poison", "clean", "paint", "fold", "wash"]
    prompts = [f"how do i {deeds[place % 5]} the thing{place}" for place in range(150)]
    base = texts.up_to("trained")
    base.target = replace(texts.target, safety=Safety(generate=lambda prompt: good_version(prompt)))
    evidence = Evidence("i-1", "answers", "", answered(prompts, say, 1000.0), answered(prompts, good_version, 0.0))
    verdict = judge(subject_of(evidence, base, tmp_path))
    assert [(found.fault, found.confirmed) for found in verdict.faults] == ([(fault, True)] if fault else [])
