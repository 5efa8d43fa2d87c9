"""What a prompt and an answer are like: plain values by name, of which patterns are made."""

from __future__ import annotations

import re
from collections.abc import Mapping

from firstfault.behaviour.scorers import refuses

NEGATION = re.compile(r"\b(?:not|no|never|without|nor|none|neither|cannot|\w+n't)\b", re.IGNORECASE)
CODE = re.compile(r"```|^\s{4}\S|\bdef \w+\(|\w+\(\w*\)|[{};]\s*$|=>|==", re.MULTILINE)
ADDRESS = re.compile(r"https?://|www\.")
ENUMERATION = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
LOOP = 3
"""The same line so often in a row is a loop: two may be a refrain."""
Features = Mapping[str, bool | int | float | str]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, numbers among them."""
    return [word.lower() for word in WORD.findall(text)]


def prompt_features(prompt: str) -> Features:
    """Length, form and marks of a prompt; none of them says what it is about."""
    words, letters = words_of(prompt), [each for each in prompt if each.isalpha()]
    return {
        "words": len(words),
        "lines": len(prompt.splitlines()),
        "longest word": max(map(len, words), default=0),
        "asks": "?" in prompt,
        "negated": bool(NEGATION.search(prompt.replace("’", "'"))),
        "numbers": any(character.isdigit() for character in prompt),
        "capitals": len(letters) > LOOP and sum(map(str.isupper, letters)) > len(letters) / 2,
        "no capitals": bool(letters) and not any(map(str.isupper, letters)),
        "not ASCII": not prompt.isascii(),
        "code": bool(CODE.search(prompt)),
        "address": bool(ADDRESS.search(prompt)),
        "list": bool(ENUMERATION.search(prompt)),
        "quotes": any(mark in prompt for mark in '"“”«»'),
        "odd spaces": "  " in prompt or prompt != prompt.strip(),
    }


def output_features(answer: str | None, prompt: str = "") -> Features:
    """Length, form and symptoms of an answer."""
    text = answer or ""
    words = words_of(text)
    return {
        "text": answer is not None,
        "words": len(words),
        "lines": len(text.splitlines()),
        "empty": not text.strip(),
        "refuses": refuses(text),
        "loops": loops(text),
        "repeats the prompt": bool(prompt.strip()) and prompt.strip() in text,
        "different words": round(len(set(words)) / len(words), 2) if words else 0.0,
        "ends early": bool(words) and text.rstrip()[-1:] not in '.!?)]}"”`:',
        "not ASCII": not text.isascii(),
        "code": bool(CODE.search(text)),
        "list": bool(ENUMERATION.search(text)),
    }


def loops(text: str) -> bool:
    """Whether one line stands three times in a row, or one word or phrase does at the end."""
    lines = [line for line in text.splitlines() if line.strip()]
    if any(len(set(lines[at : at + LOOP])) == 1 for at in range(len(lines) - LOOP + 1)):
        return True
    words = words_of(text)
    return any(
        len(words) >= LOOP * size and words[-size:] * LOOP == words[-size * LOOP :] for size in range(1, LOOP * 2)
    )
