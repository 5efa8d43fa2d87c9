"""Failure patterns: planted ones are found and named, and shuffled failures have none."""

import random
from dataclasses import replace

import numpy as np

from firstfault.behaviour.failures.patterns import Looked, failure_patterns
from firstfault.behaviour.failures.slices import SUPPORT, Search, Table

WORDS = ["red", "green", "blue", "tea", "milk", "salt", "bread", "river", "train", "invoice", "letter", "house", "tree"]


def cases(seed=0, count=160):
    """Prompts of which those with a word and a number fail, or with a word in one group; and a few others."""
    draw = random.Random(seed)
    for number in range(count):
        words = draw.sample(WORDS, 5) + [str(draw.randint(2, 99))] * (draw.random() < 0.5)
        looked = Looked(
            f"c{number}", " ".join(words), False, scorer="contains", more={"group": draw.choice(["de", "en"])}
        )
        loops = "train" in words and looked.more["group"] == "de"
        if (loops or ("invoice" in words and words[-1].isdigit()) or draw.random() < 0.02) and draw.random() < 0.9:
            looked = replace(looked, failed=True, symptom="loops" if loops else "other text")
        yield looked


def test_planted_patterns_are_found_in_their_groups_and_named_by_the_shortest_conjunction():
    """Failures of one symptom that share a word and a number, and of another that share a word and a group."""
    found = failure_patterns(list(cases()))
    assert {pattern.name: pattern.symptom for pattern in found} == {
        "numbers and “invoice”": "other text",
        "group = de and “train”": "loops",
    }
    assert all(pattern.p <= 0.01 and len(pattern.cases) >= 0.7 * pattern.of for pattern in found)


def test_shuffled_failures_have_no_pattern():
    """Whatever the best slice is, another shuffle has as good a one."""
    looked = list(cases())
    draw = random.Random(5)
    marks = [(each.failed, each.symptom) for each in looked]
    draw.shuffle(marks)
    shuffled = [
        replace(each, failed=mark, symptom=symptom) for each, (mark, symptom) in zip(looked, marks, strict=True)
    ]
    assert failure_patterns(shuffled) == []


def test_failures_alone_are_grouped_by_what_they_are_about():
    """Without passing cases, like prompts are a pattern where a literal holds them and no others."""
    draw = random.Random(0)
    topics = {"tax": "tax invoice payment account loan", "soup": "soup onion pepper pan knife"}
    looked = [
        Looked(f"{name}{number}", " ".join([name, *draw.sample(words.split(), 4)]), True, symptom="other text")
        for name, words in topics.items()
        for number in range(12)
    ]
    found = failure_patterns(looked)
    assert len(found) == 2 and all(len({case[:3] for case in pattern.cases}) == 1 for pattern in found)
    assert {len(pattern.cases) for pattern in found} == {12}


def test_few_failures_are_no_pattern():
    """Below eight they are read one by one."""
    assert failure_patterns([Looked(str(n), "a b", True) for n in range(SUPPORT - 1)]) == []
    assert failure_patterns([]) == []


def test_the_score_of_a_slice_is_the_hypergeometric_z():
    """An independent computation of mean and deviation gives the same number, and words that come together one name."""
    rows = [{"a", "b"} if number < 20 else {"c"} if number < 50 else {"d"} for number in range(100)]
    table = Table.of(rows)
    assert len(table.names) == 3
    marks = np.array([1.0 if number < 15 or number > 95 else 0.0 for number in range(100)], dtype=np.float32)
    found = Search(table).best(marks)
    n, k, p = 100, 20, marks.mean()
    deviation = np.sqrt(k * p * (1 - p) * (n - k) / (n - 1))
    assert found.marked == 15 and found.cases == 20
    assert np.isclose(found.score, (15 - k * p) / deviation)
