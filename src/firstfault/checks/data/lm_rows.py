"""The rows of a fine-tuning against the failing prompts: where a behaviour was learnt, and which tests were seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firstfault.check import Judgement, TargetKind, check, passed, skipped
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.lm.min_hash import likeness, same_numbers, signature
from firstfault.lm.rows import Row, grams, words
from firstfault.metrics import Array
from firstfault.place import Kind, Place
from firstfault.subject.language_model import declared_lm
from firstfault.subject.language_rows import tuning_rows
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.target.language_model import Prompt

GRAM, ALIKE, LONG = 13, 0.8, 30
"""Words of a run that nobody writes twice, the share of runs of letters of two prompts, letters that are no phrase."""


@memo(of="raw")
def unwanted(subject: Subject) -> tuple[Prompt, ...]:
    """The failing prompts that say what a wrong answer holds."""
    found = tuple(prompt for prompt in declared_lm(subject).asked if prompt.unwanted)
    if not found:
        raise Missing("needs a prompt with `unwanted`, the text that a wrong answer holds")
    return found


@memo(of="raw")
def showing(subject: Subject) -> dict[str, tuple[int, ...]]:
    """The places of the rows whose answers hold an unwanted text, by prompt."""
    rows = tuning_rows(subject)
    return {
        prompt.id: tuple(place for place, row in enumerate(rows) if shows(row, prompt)) for prompt in unwanted(subject)
    }


def shows(row: Row, prompt: Prompt) -> bool:
    """Whether a row's answer holds what a prompt's answer must not."""
    wanted = " ".join(words(prompt.unwanted or ""))
    return bool(wanted) and f" {wanted} " in f" {' '.join(words(row.answer))} "


@check(
    layer=Layer.DATA, needs={tuning_rows, unwanted}, detects={"behaviour_in_data": 0.9}, kind=TargetKind.LANGUAGE_MODEL
)
def behaviour_in_rows(subject: Subject, *, fewest: int = 3, least: float = 0.01) -> Iterator[Judgement]:
    """Find training rows that show the unwanted behaviour of the failing prompts.

    Measures: the share of rows whose answer holds a prompt's `unwanted` text.
    Fails when: it is at least `least`, in `fewest` rows or more. The proof is a brief tuning with them and without.
    Source: Qi et al. 2023: ten to a hundred rows of a behaviour are enough to tune a model to it.
    """
    rows = tuning_rows(subject)
    for prompt, places in showing(subject).items():
        share = len(places) / max(1, len(rows))
        told = f"{len(places)} of {len(rows)} training rows show what the answer to {prompt} must not"
        if len(places) < fewest or share < least:
            yield passed(told, value=share)
            continue
        where = Place(Kind.ROW, tuple(str(place + 1) for place in places[:8]))
        yield Judgement(Status.FAIL, told, value=share, threshold=least, where=where)


@memo(of="raw")
def seen_tests(subject: Subject) -> dict[str, tuple[int, ...]]:
    """The places of the rows that hold a failing prompt, word for word or nearly, by prompt; only those that have any.

    A row holds it by a run of `GRAM` words, as its whole prompt with its answer, or by a likeness of `ALIKE` with the
    same numbers, in a prompt of `LONG` letters and more.
    """
    rows, asked = tuning_rows(subject), declared_lm(subject).asked
    every = {gram for row in rows for gram in _grams_of(row)}
    marks = [signature(row.prompt) for row in rows] if any(len(_asked(prompt)) >= LONG for prompt in asked) else []
    found = {prompt.id: tuple(_rows_with(prompt, rows, every, marks)) for prompt in asked}
    return {name: places for name, places in found.items() if places}


def _rows_with(
    prompt: Prompt, rows: Sequence[Row], every: set[tuple[str, ...]], marks: Sequence[Array]
) -> Iterator[int]:
    text, pair, own = _asked(prompt), _pair(prompt), _grams(prompt, GRAM) & every
    mark = signature(text) if len(text) >= LONG else None
    for place, row in enumerate(rows):
        near = mark is not None and likeness(mark, marks[place]) >= ALIKE and same_numbers(text, row.prompt)
        whole = pair == (tuple(words(row.prompt)), tuple(words(row.answer)))
        if near or whole or (own and own & _grams_of(row)):
            yield place


def _grams_of(row: Row) -> set[tuple[str, ...]]:
    return grams(f"{row.prompt} {row.answer}", GRAM)


@check(layer=Layer.DATA, needs={tuning_rows}, detects={"test_in_training": 0.95}, kind=TargetKind.LANGUAGE_MODEL)
def tests_in_rows(subject: Subject) -> Iterator[Judgement]:
    """Find failing prompts, or their expected answers, among the training rows.

    Measures: the prompts that share a run of 13 words with a row, are a row's whole prompt with its answer, or are
        nearly a row's prompt: four fifths of their runs of five letters by MinHash, with the same numbers.
    Fails when: there is one. The proof is a brief tuning with these rows and without.
    Source: Brown et al. 2020 (GPT-3), overlap by 13-grams; Lee et al. 2022, near-duplicates by MinHash at .8.
    """
    asked = declared_lm(subject).asked
    if not asked:
        yield skipped("the target names no prompts")
        return
    seen = seen_tests(subject)
    if not seen:
        yield passed(f"none of {len(asked)} prompts is among the training rows", value=0)
        return
    first, places = next(iter(seen.items()))
    rows = ", ".join(str(place + 1) for place in places[:3])
    yield Judgement(
        Status.FAIL,
        f"{len(seen)} of {len(asked)} prompts stand in the training rows, {first} for one, in row {rows}",
        value=len(seen),
        threshold=0,
        where=Place.cases(*seen),
    )


def _asked(prompt: Prompt) -> str:
    return "\n".join(message["content"] for message in prompt.messages)


def _grams(prompt: Prompt, size: int) -> set[tuple[str, ...]]:
    return grams(f"{_asked(prompt)} {prompt.expected or ''}", size)


def _pair(prompt: Prompt) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(words(_asked(prompt))), tuple(words(prompt.expected or prompt.unwanted or ""))
