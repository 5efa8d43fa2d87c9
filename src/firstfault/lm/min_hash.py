"""How alike two short texts are, by the least hashes of their runs of letters.

Source: Broder 1997, On the resemblance and containment of documents.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

from firstfault.metrics import Array

HASHES, RUN = 128, 5
"""Least hashes of a text: a likeness of .8 errs by .035; letters of a run, as in near-duplicate search of web pages."""
PRIME = (1 << 31) - 1
"""Of the family of hashes: a product of two numbers below it fits into 64 bits."""
DIGITS = re.compile(r"\d+")
FACTORS, TERMS = np.random.default_rng(0).integers(1, PRIME, (2, HASHES, 1)).astype(np.uint64)


def signature(text: str) -> Array:
    """The least hashes `(HASHES,)` of a text, without case, marks and blanks."""
    bare = re.sub(r"\W+", " ", text.lower()).strip()
    runs = {bare[start : start + RUN] for start in range(max(1, len(bare) - RUN + 1))}
    codes = np.array([zlib.crc32(run.encode()) % PRIME for run in runs], dtype=np.uint64)
    return np.asarray(((FACTORS * codes + TERMS) % np.uint64(PRIME)).min(1))


def likeness(one: Array, other: Array) -> float:
    """The share of runs that two texts have in common, 0–1, as their signatures tell it."""
    return float(np.mean(one == other))


def same_numbers(one: str, other: str) -> bool:
    """Whether two texts have the same numbers in their order: questions of one form differ in these alone."""
    return DIGITS.findall(one) == DIGITS.findall(other)
