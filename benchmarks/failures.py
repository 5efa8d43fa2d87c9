"""Failures explained: planted patterns that are found, false ones in shuffled failures, and planted triggers shrunk to.

    python benchmarks/failures.py [--seeds 3] [--reducers]

Patterns: 2,000 prompts, of which 500 fail: 80 by each of five planted reasons (a word, a phrase, a word with a number,
a negation with a word, a group with a word), 100 by none; a fifth of the prompts with a reason do not fail. A pattern's
purity is the share of its failures that have one reason. Then the same failures are shuffled over the prompts, 20
times: each pattern found is a false one.

Minimal prompts: 500 prompts of 20 to 120 words with a trigger of one to three words, together or apart; a fifth of them
fail 85 % of the time alone. Shrunk is what still has the trigger, in at most twice its words and 200 calls.
With --reducers, those of shrinkray and Hypothesis are given the same failures, one byte or place for each word; they
must be installed.

Attribution: prompts whose margin hangs on one word, on two together, on every word alike, or on nothing but noise.

The models are functions, not networks: what is measured is the error of the search, and not how language models fail.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from firstfault.behaviour.failures.attribution import by_leaving_out
from firstfault.behaviour.failures.features import NEGATION
from firstfault.behaviour.failures.patterns import Looked, failure_patterns
from firstfault.behaviour.failures.reduction import CALLS, Repeated, minimal

CASES, BY_REASON, BY_NONE, RATE = 2_000, 80, 100, 0.8
PURE, SHUFFLES, MOST_FALSE, SHRUNK = 0.9, 20, 1, 0.9
TOPICS = {
    "travel": "train ticket platform station delay seat window luggage border ferry timetable carriage",
    "money": "invoice account payment transfer balance receipt currency interest loan tax budget refund",
    "kitchen": "recipe oven flour butter cheese swiss onion pepper pan simmer knife dessert",
    "garden": "soil seed rain weather leaf root pruning rose hedge compost shade lawn",
    "office": "meeting report deadline email printer contract draft signature agenda colleague slide minutes",
}
FRAMES = (
    "Can you tell me about the {} and the {} for my {}?",
    "Write a short note on {} and {} with a {}.",
    "I have a {} and a {}; what should I do with the {}?",
    "Explain the {} to somebody who knows the {} and the {}.",
    "Please compare the {} with the {} before the {} is gone.",
)
GROUPS = ("en", "de", "fr", "es")
REASONS: dict[str, Callable[[Looked], bool]] = {
    "word": lambda each: "refund" in each.prompt,
    "phrase": lambda each: "swiss cheese" in each.prompt,
    "number": lambda each: "invoice" in each.prompt and any(map(str.isdigit, each.prompt)),
    "negated": lambda each: "train" in each.prompt and bool(NEGATION.search(each.prompt)),
    "group": lambda each: "weather" in each.prompt and each.more["group"] == "de",
}
TRIGGERS = (("boom",), ("never", "ever", "say"), ("zeta", "omega"), ("not", "42"), ("blue", "cheese"))
WORDS = " ".join(TOPICS.values()).split() + [f"word{number}" for number in range(300)]


def prompt_of(draw: random.Random) -> str:
    """A few sentences about a topic or two."""
    parts = []
    for _ in range(draw.randint(1, 5)):
        words = TOPICS[draw.choice(list(TOPICS))].split()
        parts.append(draw.choice(FRAMES).format(*draw.sample(words, 3)))
    if draw.random() < 0.3:
        parts.append(draw.choice(("It is not urgent.", "I don't mind which.", "There is no hurry.")))
    if draw.random() < 0.3:
        parts.append(f"It is about {draw.randint(2, 900)} of them.")
    return " ".join(parts)


def with_reason(reason: str, draw: random.Random) -> str:
    """A prompt into which a reason is written."""
    more = {
        "word": ["Where is my refund?"],
        "phrase": ["I like swiss cheese."],
        "number": ["The invoice says so.", f"There are {draw.randint(2, 900)}."],
        "negated": ["The train is late.", "I do not care."],
        "group": ["How is the weather?"],
    }[reason]
    parts = [prompt_of(draw), *more]
    draw.shuffle(parts)
    return " ".join(parts)


def planted(seed: int) -> tuple[list[Looked], dict[str, str]]:
    """2,000 cases with 500 failures, and the reason of each failure by its id; "" where it has none."""
    draw = random.Random(seed)
    cases: list[Looked] = []
    reasons: dict[str, str] = {}
    counts: Counter[str] = Counter()
    while len(cases) < CASES:
        open_ = [name for name in REASONS if counts[name] < BY_REASON]
        wanted = draw.choice(open_) if open_ and draw.random() < 0.3 else ""
        group = "de" if wanted == "group" else draw.choice(GROUPS)
        prompt = with_reason(wanted, draw) if wanted else prompt_of(draw)
        case = Looked(
            f"case {len(cases)}", prompt, False, scorer="contains", symptom="other text", more={"group": group}
        )
        found = [name for name, holds in REASONS.items() if holds(case)]
        if len(found) > 1 or (found and counts[found[0]] >= BY_REASON) or (wanted and found != [wanted]):
            continue
        if found and draw.random() < RATE:
            counts[found[0]] += 1
            case, reasons[case.id] = replace(case, failed=True), found[0]
        cases.append(case)
    without = [
        at for at, each in enumerate(cases) if not each.failed and not any(holds(each) for holds in REASONS.values())
    ]
    for place in draw.sample(without, BY_NONE):
        cases[place], reasons[cases[place].id] = replace(cases[place], failed=True), ""
    return cases, reasons


def patterns(seed: int) -> dict[str, object]:
    """How pure the patterns found are, how many reasons are found, and how many false ones shuffled failures give."""
    cases, reasons = planted(seed)
    purities, seen = [], set()
    for pattern in failure_patterns(cases):
        reason, count = Counter(reasons[each] for each in pattern.cases).most_common(1)[0]
        purities.append(count / len(pattern.cases))
        seen.add(reason)
        print(f"  {pattern}; of the reason {reason or 'none'} {count}", flush=True)
    draw, false = random.Random(seed), 0
    for _ in range(SHUFFLES):
        failed = [each.failed for each in cases]
        draw.shuffle(failed)
        shuffled = [replace(each, failed=mark) for each, mark in zip(cases, failed, strict=True)]
        for pattern in failure_patterns(shuffled):
            false += 1
            print(f"  false: {pattern} by {pattern.by}", flush=True)
    return {"purity": min(purities, default=0.0), "found": len(seen - {""}), "false": false}


@dataclass(frozen=True)
class Planted:
    """A prompt with a trigger, whether its words stand together, and how often it fails."""

    text: str
    trigger: tuple[str, ...]
    together: bool
    rate: float

    def has(self, text: str) -> bool:
        """Whether a text has the trigger."""
        if self.together:
            return f" {' '.join(self.trigger)} " in f" {text} "
        return set(self.trigger) <= set(text.split())

    def shrunk(self, text: str) -> bool:
        """Whether a text still has it, in at most twice its words."""
        return self.has(text) and len(text.split()) <= 2 * len(self.trigger)


def triggers(seed: int, count: int = 500) -> Iterator[Planted]:
    """Prompts with a trigger."""
    draw = random.Random(seed)
    for number in range(count):
        words = draw.choices(WORDS, k=draw.randint(20, 120))
        trigger = TRIGGERS[number % len(TRIGGERS)]
        together = trigger not in (("zeta", "omega"), ("not", "42"))
        for part in [trigger] if together else [(word,) for word in trigger]:
            at = draw.randrange(len(words) + 1)
            words[at:at] = part
        yield Planted(" ".join(words), trigger, together, 0.85 if draw.random() < 0.2 else 1.0)


def ours(text: str, once: Callable[[str], bool]) -> tuple[str, int]:
    """The reduction of firstfault."""
    found = minimal(text, Repeated(once))
    return found.text, found.calls


class Ended(Exception):
    """The calls are spent."""


def another(
    reduce: Callable[[bytes, Callable[[bytes], bool]], object], text: str, once: Callable[[str], bool]
) -> tuple[str, int]:
    """A reducer of bytes on places of words; it asks 2 of 3 like ours where a failure is flaky."""
    words = text.split()
    asked = Repeated(once)
    best = [bytes(range(len(words)))]
    step = (1, 1) if asked.count(text) == 5 else (2, 3)

    def holds(places: bytes) -> bool:
        if list(places) == list(range(len(words))):
            return True  # a flaky one may not fail just now
        if not places or list(places) != sorted(set(places)):
            return False
        if asked.asked > CALLS - 10:
            raise Ended
        held = asked(" ".join(words[place] for place in places), *step)
        if held and len(places) < len(best[0]):
            best[0] = places
        return held

    with contextlib.suppress(Ended):
        reduce(best[0], holds)
    return " ".join(words[place] for place in best[0]), asked.asked


def by_shrinkray(places: bytes, holds: Callable[[bytes], bool]) -> None:
    """The reducer of shrinkray."""
    from shrinkray.reducer import Reducer

    Reducer(places, holds).run()


def by_hypothesis(places: bytes, holds: Callable[[bytes], bool]) -> None:
    """The reducer of lists that Hypothesis has inside."""
    from hypothesis.internal.conjecture.shrinking.collection import Collection
    from hypothesis.internal.conjecture.shrinking.integer import Integer

    Collection.shrink(tuple(places), lambda each: holds(bytes(each)), ElementShrinker=Integer, min_size=1)


REDUCERS: dict[str, Callable[[str, Callable[[str], bool]], tuple[str, int]]] = {
    "firstfault": ours,
    "shrinkray": lambda text, once: another(by_shrinkray, text, once),
    "hypothesis": lambda text, once: another(by_hypothesis, text, once),
}


def shrinking(name: str, seed: int) -> dict[str, object]:
    """How many triggers a reducer shrinks to, and with how many calls."""
    draw, shrunk, calls = random.Random(seed), [], []
    for each in triggers(seed):

        def once(text: str, each: Planted = each) -> bool:
            return each.has(text) and draw.random() < each.rate

        found, asked = REDUCERS[name](each.text, once)
        shrunk.append(each.shrunk(found) and asked <= CALLS)
        calls.append(asked)
    calls.sort()
    return {
        "shrunk": round(statistics.mean(shrunk), 3),
        "calls_median": statistics.median(calls),
        "calls_p95": calls[int(0.95 * len(calls))],
    }


def noise(*parts: object) -> float:
    """A number around 0 with a deviation of 1 that is the same for the same parts."""
    value = zlib.crc32(repr(parts).encode()) / 2**32
    return statistics.NormalDist().inv_cdf(min(max(value, 1e-9), 1 - 1e-9))


MARGINS: dict[str, Callable[[int, Sequence[str], Sequence[str]], float]] = {
    "one word": lambda seed, words, key: -4.0 * (key[0] in words) + 0.5 * noise(seed, words),
    "two words": lambda seed, words, key: -4.0 * (set(key) <= set(words)) + 0.5 * noise(seed, words),
    "every word": lambda seed, words, key: -0.3 * len(words) + 0.05 * noise(seed, words),
    "noise": lambda seed, words, key: noise(seed, words),
}


def attributions(seed: int, count: int = 100) -> dict[str, float]:
    """How often the top spans are said to explain a margin, by what it hangs on; if of words, of the right ones."""
    found = {}
    for kind, value in MARGINS.items():
        hits = 0
        for number in range(count):
            draw = random.Random(f"{seed} {number}")
            words = draw.sample(WORDS, draw.randint(8, 40))
            key = draw.sample(words, 2)

            def margin(texts: Sequence[str], key: Sequence[str] = key, at: int = number) -> list[float]:
                return [value(at, text.split(), key) for text in texts]  # noqa: B023

            told = by_leaving_out(" ".join(words), margin, number)
            right = kind in ("every word", "noise") or any(word in told.top_text.split() for word in key)
            hits += told.explains and right
        found[kind] = hits / count
    return found


def main() -> int:
    """Print every number, and whether the marks are reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--reducers", action="store_true", help="compare with shrinkray and Hypothesis")
    asked = parser.parse_args()
    reached = True
    for seed in range(asked.seeds):
        began = time.process_time()
        found = patterns(seed)
        good = found["purity"] >= PURE and found["found"] == len(REASONS) and found["false"] <= MOST_FALSE  # type: ignore[operator]
        seconds = round(time.process_time() - began, 1)
        print("RESULT", json.dumps({"what": "patterns", "seed": seed, **found, "cpu_s": seconds, "reached": good}))
        reached &= good
        for name in REDUCERS if asked.reducers else ("firstfault",):
            shrunk = shrinking(name, seed)
            good = shrunk["shrunk"] >= SHRUNK  # type: ignore[operator]
            print(
                "RESULT", json.dumps({"what": "minimal prompts", "by": name, "seed": seed, **shrunk, "reached": good})
            )
            reached &= good or name != "firstfault"
        told = attributions(seed)
        print("RESULT", json.dumps({"what": "attribution", "seed": seed, "explained": told}))
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
