"""What personal data looks like in a text.

E-mail, phone, card, IBAN, national ids, addresses, IP, dates of birth, titled names. A number counts only when
python-stdnum says that its check digits and its date hold, when phonenumbers says that its country has numbers of that
length, or when it is written the way only such numbers are.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stdnum.util import NumberValidationModule


MASK = "•••"
Found = tuple[int, int, str]
"""Where a piece begins and ends in its text, and its kind."""

_EMAIL = re.compile(r"[\w.+%'-]{1,64}@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}")
_DIGIT = re.compile(r"\d")
_CLUSTER = re.compile(r"\d[\d ().\-/]{5,}\d")
_LETTERS_THEN_DIGITS = re.compile(r"[A-Z]{2} ?\d\d")
_CARD = re.compile(
    r"(?<![\d.,])"
    r"(?:3[47]\d{2}[ -]?\d{6}[ -]?\d{5}|[2-6]\d{3}(?:[ -]?\d{4}){3}|3[068]\d{2}[ -]?\d{6}[ -]?\d{4})"
    r"(?![.,]?\d|\w)"
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_AHV = re.compile(r"(?<!\d)756\.\d{4}\.\d{4}\.\d{2}(?!\d)")
_DNI = re.compile(r"(?<!\d)\d{8}-?[TRWAGMYFPDXBNJZSQVHLCKE]\b")
_CPF = re.compile(r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)")
_NIR = re.compile(r"(?<![\d.,])[12] ?\d{2} ?[0-9]{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}(?![.,]?\d)")
_HETU = re.compile(r"(?<![\d-])\d{6}[-+A]\d{3}[0-9A-Y]\b")
_PERSONNUMMER = re.compile(r"(?<![\d-])(?:19|20)?\d{6}[-+]\d{4}(?![\w-])")
_RODNE_CISLO = re.compile(r"(?<![\d/])\d{6}/\d{3,4}(?![\d/])")
_RRN = re.compile(r"(?<![\d-])\d{6}-\d{7}(?![\w-])")
_CURP = re.compile(r"\b[A-Z]{4}\d{6}[HM][A-Z]{5}[\dA-Z]\d\b")
_ABROAD = re.compile(
    r"(?<![\w.+])\+\d{1,3}(?:[ \-/]?(?:\(0?\d{1,4}\)[ \-]?)?\d(?:[ \-/]?\d){4,13}(?!\w|\.\d)|(?:\.\d{2,4}){2,4}(?!\w))"
)
_AMERICAN = re.compile(
    r"(?:\(\d{3}\) ?\d{3}[ .\-]|(?<![\d.\-])\d{3}-\d{3}-|(?<![\d.\-])\d{3}\.\d{3}\.)\d{4}(?!\w|[.\-]\d)"
)
_NATIONAL = re.compile(
    r"(?:\(0[1-9]\d{0,4}\)|(?<![\w.\-+:,])(?<!\d{4} )0[1-9]\d{0,4})[ /\-]\d{2,8}(?:[ \-]\d{2,4}){0,4}(?![\w:]|[.\-]\d)"
)
_IP = re.compile(r"(?<![\w.\-])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w\-]|\.\d)")
_IP6 = re.compile(
    r"(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"
    r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){2,6}(?::[0-9a-fA-F]{1,4}){1,5}(?![\w:])"
)
_VERSION = re.compile(r"(?:\bv|version|release|==|>=|<=|~=)[ :=]{0,2}$", re.I)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CODICE_FISCALE = re.compile(r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b")
_NINO = re.compile(r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d{2} \d{2} \d{2} [A-D]\b")
_ADDRESS = re.compile(
    r"\b\d{1,5}[A-Za-z]?,? (?:[A-Z][\w'.-]* ){1,3}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Court|Terrace|Crescent|Square)\b\.?"
    r"|\b[A-ZÄÖÜ][\w.-]*?(?:straße|strasse|str\.|gasse|platz|allee|[wW]eg| Straße| Strasse| Allee) \d{1,4}[a-z]?\b"
    r"|\b\d{1,4},? (?:bis |ter )?(?:rue|avenue|boulevard|chemin|impasse|quai) "
    r"(?:d[eu'] ?|des |la |le |l')*[A-ZÀ-Ý][\w'-]+"
    r"|\b(?:Calle|Avenida|Via|Viale|Piazza|Rua|Ulica|ul\.) "
    r"(?:[\w'.-]+ ){0,3}?[A-ZÀ-Ý][\w'.-]+,? (?:n[º°.]? ?)?\d{1,4}\b"
)
_BORN = re.compile(
    r"(?i)\b(?:born(?: on)?|d\.?o\.?b\.?|date of birth|birthday|geboren(?: am)?|née? le|fecha de nacimiento)[ :]{1,3}"
    r"(\d{1,4}[./\- ]\d{1,2}[./\- ]\d{1,4}|\d{1,2}\.? [a-zä]{3,9} \d{4}|[a-z]{3,9} \d{1,2},? \d{4})"
)
_TITLED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Herrn|Frau|Mme|Monsieur|Madame|Señora?|Sig\.ra)\.? "
    r"[A-ZÀ-Ý][\w'-]+(?: [A-ZÀ-Ý][\w'-]+){0,2}"
)
_TITLE = re.compile(r"[MDPHFS](?:[rs]s?|iss|rof|errn?|rau|me|onsieur|adame|eñora?|ig\.ra)\b")
_STREET = re.compile(
    r"St\b|Street|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Court|Terrace|Crescent|Square|"
    r"stra[ßs]|str\.|Stra[ßs]|gasse|platz|llee|[wW]eg |rue |avenue|"
    r"boulevard|chemin|impasse|quai|Calle|Via|Piazza|Rua|Ulica|ul\."
)
_BIRTH = re.compile(r"[Bb]orn|BORN|[Bb]irth|[Dd]ob|DOB|[Dd]\.[Oo]\.|eboren|née? le|nacim")

SUSPECT = (
    r"\w@\w|\d[\d ().\-/]{5,}\d|[0-9a-fA-F]:[0-9a-fA-F:]{4}"
    r"|[A-Z]{2}\d{2} ?[A-Z0-9]{4}|[A-Z]{2} ?\d{2} ?\d{2} ?\d{2}|\d{8}-?[A-Z]"
    r"|[A-Z]{6}\d{2}[A-Z]|\d[A-Za-z]?,? (?:[A-Z]|bis |ter |rue|avenue|boulevard|chemin|impasse|quai)|(?:[a-zA-Zßé.]) \d"
    r"|\b(?:M[rs]s?|Miss|Dr|Prof|Herrn?|Frau|Mme|Monsieur|Madame|Señor|Sig)\b"
)
"""A loose pattern (RE2's dialect) that every text with a personal piece matches; most others don't."""


def pieces(text: str) -> list[Found]:
    """The personal pieces of a text in order: where each begins and ends, and its kind. Pieces don't overlap."""
    found: list[Found] = []
    for start, end, kind in _candidates(text):
        if all(end <= first or start >= last for first, last, _ in found):
            found.append((start, end, kind))
    return sorted(found)


def replaced(text: str, instead: Callable[[str, str], str], most: int = sys.maxsize) -> str:
    """A text with something `instead` of each piece, by its kind and text.

    Of the text its first `most` letters: a piece that begins among them is replaced as a whole.
    """
    parts, last = [], 0
    for start, end, kind in pieces(text):
        if start >= most:
            break
        parts += [text[last:start], instead(kind, text[start:end])]
        last = end
    return "".join([*parts, text[last : max(most, last)]])


def _candidates(text: str) -> Iterator[Found]:
    """Pieces of every kind, those first that win where two overlap.

    A pattern is tried only where a word or sign of its kind occurs.
    """
    if "@" in text:
        yield from _each(_EMAIL, text, "e-mail")
    if _TITLE.search(text):
        yield from _each(_TITLED, text, "name")
    if _DIGIT.search(text) is None:
        return
    if _LETTERS_THEN_DIGITS.search(text):
        yield from _each(_IBAN, text, "IBAN", is_iban)
        for pattern, holds in _LETTERED:
            yield from _each(pattern, text, "national id", holds)
    for cluster in _CLUSTER.finditer(text):
        yield from _numbers(text, max(0, cluster.start() - 2), cluster.end())
    if text.count(":") > 3:
        yield from _each(_IP6, text, "IP address")
    if _STREET.search(text):
        yield from _each(_ADDRESS, text, "address")
    if _BIRTH.search(text):
        yield from ((match.start(1), match.end(1), "date of birth") for match in _BORN.finditer(text))


def _numbers(text: str, start: int, end: int) -> Iterator[Found]:
    """Personal numbers within a run of digits and separators."""
    run = text[start : end + 2]  # with what follows, which may rule a number out
    if run.count(".") > 2:
        yield from _addresses(text, run, start)
    if sum(map(str.isdigit, run)) < 8:
        return
    for sign, pattern, kind, holds in _NUMBERS:
        if sign in run:
            yield from _each(pattern, text, kind, holds, start, end + 2)


def _addresses(text: str, run: str, start: int) -> Iterator[Found]:
    for match in _IP.finditer(text, start, start + len(run)):
        if not _VERSION.search(text[max(0, match.start() - 12) : match.start()]) and not match.group().startswith(
            ("0.", "127.", "255.")
        ):
            yield match.start(), match.end(), "IP address"


def _each(
    pattern: re.Pattern[str],
    text: str,
    kind: str,
    holds: Callable[[str], bool] | None = None,
    start: int = 0,
    end: int = sys.maxsize,
) -> Iterator[Found]:
    return (
        (match.start(), match.end(), kind)
        for match in pattern.finditer(text, start, end)
        if holds is None or holds(match.group())
    )


def digits_of(text: str) -> str:
    """The digits of a text."""
    return "".join(letter for letter in text if letter.isdigit())


def is_card(text: str) -> bool:
    """Whether the digits of a text are those of a payment card: prefix and length of an issuer, Luhn's check digit."""
    from stdnum import luhn

    digits = digits_of(text)
    return _ISSUED.fullmatch(digits) is not None and len(set(digits)) > 1 and luhn.is_valid(digits)


_ISSUED = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}"
)


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN: as its country writes them, and with a remainder of 1 modulo 97 (ISO 13616)."""
    from stdnum import iban

    return iban.is_valid(text)


def _valid(country: str, number: str) -> Callable[[str], bool]:
    """Whether a text is a number of that name in python-stdnum, such as `ch.ssn`, by check digits and date."""

    @functools.cache
    def module() -> NumberValidationModule:
        from stdnum import get_cc_module

        found = get_cc_module(country, number)
        assert found is not None
        return found

    return lambda text: bool(module().is_valid(text))


def _is_abroad(text: str) -> bool:
    """Whether the country whose code begins a text has phone numbers of that length."""
    import phonenumbers

    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE


def _is_phone(text: str) -> bool:
    """Whether a text has as many digits as a phone number: without a country's code nothing else tells."""
    return 9 <= len(digits_of(text)) <= 15


_LETTERED: tuple[tuple[re.Pattern[str], Callable[[str], bool] | None], ...] = (
    (_CODICE_FISCALE, _valid("it", "codicefiscale")),
    (_CURP, _valid("mx", "curp")),
    (_NINO, None),
)
_NUMBERS: tuple[tuple[str, re.Pattern[str], str, Callable[[str], bool]], ...] = (
    ("", _CARD, "card", is_card),
    ("-", _SSN, "national id", _valid("us", "ssn")),
    ("756.", _AHV, "national id", _valid("ch", "ssn")),
    ("-", _CPF, "national id", _valid("br", "cpf")),
    ("", _DNI, "national id", _valid("es", "dni")),
    ("", _NIR, "national id", _valid("fr", "nir")),
    ("", _HETU, "national id", _valid("fi", "hetu")),
    ("", _PERSONNUMMER, "national id", _valid("se", "personnummer")),
    ("/", _RODNE_CISLO, "national id", _valid("cz", "rc")),
    ("-", _RRN, "national id", _valid("kr", "rrn")),
    ("+", _ABROAD, "phone", _is_abroad),
    ("", _AMERICAN, "phone", _is_phone),
    ("0", _NATIONAL, "phone", _is_phone),
)
"""Kinds of numbers: a sign that occurs in each, its pattern, and whether its check digits hold."""
