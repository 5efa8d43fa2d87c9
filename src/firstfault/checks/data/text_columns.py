"""Free text: empty, of extreme length, repeated but for details, in another language, garbled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.data._free_texts import NOTHING, free_texts
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

MOST_TEXTS = 3_000  # bounds the time: a share of so many errs by 0.4 % at 5 %
FEWEST = 20  # texts below which a share says little
_NO_TEXT = "no column holds free text"
_MOJIBAKE = re.compile(
    r"Ã[\x80-\xbf¡-¿ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\x80-\xbf™œ˜“”¦¢\x9d]"
    r"|Â[\xa0-\xbf]|ï¿½|ðŸ|[ÐÑ][\x80-\xbf°-¿‚-‰]{1}[ÐÑ]"
)
_TAG = re.compile(
    r"</?(?:p|br|div|span|a|b|i|em|strong|ul|li|ol|td|tr|table|img|h\d|script|style|font)\b[^<>]{0,200}>"
    r"|&(?:nbsp|amp|lt|gt|quot|#\d{2,5});",
    re.I,
)
_WORD = re.compile(r"[A-Za-zÀ-ɏ]{4,}")
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxzßçñćčďłńňřśšťźżž]{5,}")
_VOWELS = frozenset("aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýÿāēīōūąęıůőűœ")


@memo(of="raw")
def _texts(subject: Subject) -> dict[str, pd.Series]:
    """The free-text columns of train, found once."""
    return dict(free_texts(subject.raw.train.X))


def _sampled(column: pd.Series) -> dict[int, str]:
    """At most 3,000 texts of a column by their row, the same ones each time."""
    rows = np.arange(len(column))
    if len(rows) > MOST_TEXTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_TEXTS, replace=False))
    return {int(row): value for row, value in zip(rows, column.iloc[rows], strict=True) if isinstance(value, str)}


def _contents(column: pd.Series) -> dict[int, str]:
    """The sampled texts that say something."""
    return {row: text for row, text in _sampled(column).items() if not NOTHING.fullmatch(text)}


def _rows(rows: Sequence[int]) -> str:
    """Where some texts stand; the texts themselves may name somebody."""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:3]))}"


@check(layer=Layer.DATA, needs={"raw"}, detects={"missing_values": 0.6})
def empty_texts(subject: Subject, *, share: float = 0.005, large: float = 0.2) -> Iterator[Judgement]:
    """Find texts that are empty, blank or a placeholder such as `n/a` or `[deleted]`.

    Measures: their share in a sample of 3,000 texts of a column.
    Fails when: the share is above `large`, and the text is all that a model could learn from.
    Warns when: it is above `share`.
    Source: a choice of ours; tests/checks/data/test_text_columns.py holds the cases that it separates.
    """
    columns = _texts(subject)
    if not columns:
        yield skipped(_NO_TEXT)
        return
    for name, column in columns.items():
        texts = _sampled(column)
        empty = sum(NOTHING.fullmatch(text) is not None for text in texts.values())
        value = empty / max(1, len(texts))
        fails = value > large and _is_alone(subject)
        yield Judgement(
            Status.FAIL if fails else Status.WARN if value > share else Status.PASS,
            f"{empty} of {len(texts)} texts are empty or a placeholder",
            value=value,
            threshold=large if fails else share,
            where=Place.columns(name),
            faults=None if fails else {},
            fix="drop these rows, or repair the source" if value > share else None,
        )


def _is_alone(subject: Subject) -> bool:
    X = subject.raw.train.X
    return not isinstance(X, pd.DataFrame) or X.shape[1] == 1


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def text_lengths(subject: Subject, *, times: float = 20.0, share: float = 0.01) -> Iterator[Judgement]:
    """Find texts that are far longer than most.

    Measures: the share of texts, in a sample of 3,000 of a column, of more than `times` the median length.
    Warns when: the share is above `share`. Joined records, and pages in place of sentences, are common causes.
    Source: a choice of ours: where lengths are log-normal with σ < 1, as those of sentences and reviews roughly are, 20
        medians are three σ and more; tests/checks/data/test_text_columns.py holds the cases.
    """
    columns = {
        name: contents for name, column in _texts(subject).items() if len(contents := _contents(column)) >= FEWEST
    }
    if not columns:
        yield skipped(_NO_TEXT)
        return
    for name, contents in columns.items():
        lengths = np.array([len(text) for text in contents.values()])
        long = lengths > times * np.median(lengths)
        value = float(long.mean())
        yield judge(
            value,
            above=share,
            otherwise=Status.WARN,
            where=Place.columns(name),
            faults={},
            message=f"{int(long.sum())} of {len(lengths)} texts are longer than {times:g} times the median of "
            f"{np.median(lengths):.0f} letters; "
            f"the longest, in row {list(contents)[int(lengths.argmax())]}, has {int(lengths.max())}",
            fix="look at the longest: joined records, and pages in place of sentences, are common causes",
        )


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def boilerplate_texts(subject: Subject, *, share: float = 0.1) -> Iterator[Judgement]:
    """Find texts that differ from another in case, digits, marks or spaces alone.

    Measures: their share among the different texts in a sample of 3,000 of a column.
    Warns when: the share is above `share`.
    Source: Lee et al. 2022, Deduplicating training data makes language models better (3–14 % near duplicates in common
        corpora).
    """
    columns = {
        name: contents for name, column in _texts(subject).items() if len(contents := _contents(column)) >= FEWEST
    }
    if not columns:
        yield skipped(_NO_TEXT)
        return
    for name, contents in columns.items():
        distinct = {text: row for row, text in contents.items()}
        forms = Counter(map(_form, distinct))
        alike = [row for text, row in distinct.items() if forms[_form(text)] > 1]
        value = len(alike) / len(distinct)
        yield judge(
            value,
            above=share,
            otherwise=Status.WARN,
            where=Place.columns(name),
            faults={},
            message=f"{len(alike)} of {len(distinct)} different texts are alike but for case, digits, marks and spaces"
            + (f", such as {_rows(alike)}" if value > share else ""),
            fix="drop the boilerplate, or keep one of each before splitting",
        )


def _form(text: str) -> str:
    return re.sub(r"[\W\d_]+", " ", text.lower()).strip()


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def mixed_languages(subject: Subject, *, share: float = 0.05, dominant: float = 0.6) -> Iterator[Judgement]:
    """Find texts in another language than most.

    Measures: the share of texts that are not in the first language, among those whose language can be told.
    Warns when: the share is above `share`.
    Not a fault when: no language has `dominant` of the texts: the data are multilingual.
    Source: Caswell et al. 2020, Language ID in the wild. The bounds are a choice of ours;
        tests/checks/data/test_text_columns.py holds the cases that they separate.
    """
    from firstfault.data.languages import language_of

    columns = _texts(subject)
    if not columns:
        yield skipped(_NO_TEXT)
        return
    for name, column in columns.items():
        found = Counter(language for text in _contents(column).values() if (language := language_of(text)) is not None)
        known = sum(found.values())
        if known < FEWEST:
            yield skipped(f"the language of {known} texts only can be told", where=Place.columns(name))
            continue
        first, count = found.most_common(1)[0]
        value = 1 - count / known
        others = ", ".join(f"{language} ({number})" for language, number in found.most_common(4)[1:])
        if count / known < dominant:
            yield passed(
                f"the texts are in several languages: {first} ({count}), {others}",
                value=value,
                where=Place.columns(name),
            )
            continue
        yield judge(
            value,
            above=share,
            otherwise=Status.WARN,
            where=Place.columns(name),
            faults={},
            message=f"{known - count} of {known} texts are not in {first}, like most"
            + (f", but in {others}" if others else ""),
            fix="find out whether they belong here; a model learns little from the few of a language",
        )


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.92})
def garbled_texts(subject: Subject, *, share: float = 0.02, large: float = 0.2) -> Iterator[Judgement]:
    """Find texts with a damaged encoding (`Ã©` for é, �), of random letters, or with HTML left in.

    Measures: the share of garbled texts in a sample of 3,000 of a column. A text is of random letters when three tenths
        of its words of four letters and more have no vowel or five consonants in a row, and less than 0.3 of its
        letters are vowels (about 0.4 are in languages of Latin script).
    Fails when: the share is above `large`.
    Warns when: it is above `share`, or texts with HTML are.
    Source: ftfy for the patterns of a wrong decoding. The bounds are a choice of ours;
        tests/checks/data/test_text_columns.py holds the cases that they separate.
    """
    columns = {
        name: contents for name, column in _texts(subject).items() if len(contents := _contents(column)) >= FEWEST
    }
    if not columns:
        yield skipped(_NO_TEXT)
        return
    for name, contents in columns.items():
        damaged = [row for row, text in contents.items() if "\ufffd" in text or _MOJIBAKE.search(text)]
        random = [row for row, text in contents.items() if _is_random(text)]
        value = len({*damaged, *random}) / len(contents)
        told = " and ".join(
            f"{len(rows)} of {len(contents)} texts {what}, such as {_rows(rows)}"
            for rows, what in ((damaged, "have a damaged encoding"), (random, "are of random letters"))
            if rows
        )
        fails = value > large
        yield Judgement(
            Status.FAIL if fails else Status.WARN if value > share else Status.PASS,
            told or f"none of {len(contents)} texts is garbled",
            value=value,
            threshold=large if fails else share,
            where=Place.columns(name),
            faults=None if fails else {},
            fix="read the source in its own encoding (often UTF-8), and drop what can't be repaired"
            if value > share
            else None,
        )
        tagged = sum(_TAG.search(text) is not None for text in contents.values())
        if tagged > share * len(contents):
            yield Judgement(
                Status.WARN,
                f"{tagged} of {len(contents)} texts hold HTML",
                value=tagged / len(contents),
                threshold=share,
                where=Place.columns(name),
                faults={},
                fix="strip the tags and unescape the entities",
            )


def _sounds(word: str) -> str:
    """A word in lower case, with the letter groups that stand for one sound in German and English as one letter."""
    return word if word.isupper() else re.sub(r"sch|ch|th|ck|sh|ph", "s", word.lower())


def _is_random(text: str) -> bool:
    words = _WORD.findall(text[:1_000])
    letters = "".join(words).lower()
    if len(letters) < 12 or not words:
        return False
    odd = sum(
        _VOWELS.isdisjoint(word) or _CONSONANTS.search(word) is not None
        for word in map(_sounds, words)
        if not word.isupper()
    )
    vowels = sum(letter in _VOWELS for letter in letters) / len(letters)
    return odd >= 0.3 * len(words) and odd > 1 and vowels < 0.3
