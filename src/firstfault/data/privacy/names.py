"""Which names of columns and fields say that personal data lies there, by their words."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS: Mapping[str, frozenset[str]] = {
    "e-mail": _words("email mail emails courriel"),
    "phone": _words("phone telephone mobile cell cellphone telefon handy fax tel msisdn"),
    "IP address": _words("ip ipaddress ipaddr ipv4 ipv6"),
    "IBAN": _words("iban"),
    "card": _words("creditcard cardnumber ccnumber pan"),
    "national id": _words("ssn passport nino aadhaar cpf ahv dni sin nationalid taxid"),
    "date of birth": _words("birthday birthdate dob geburtsdatum geburtstag dateofbirth"),
    "address": _words("address addr street strasse straße anschrift adresse homeaddress"),
    "name": _words(
        "name firstname lastname surname forename fullname username vorname nachname prenom prénom apellido cognome "
        "fname lname"
    ),
}
_PAIRS: Mapping[frozenset[str], str] = {
    frozenset(pair.split()): kind
    for pair, kind in {
        "credit card": "card",
        "card number": "card",
        "social security": "national id",
        "national id": "national id",
        "tax id": "national id",
        "passport number": "national id",
        "date birth": "date of birth",
        "birth day": "date of birth",
        "user name": "name",
        "full name": "name",
        "first name": "name",
        "last name": "name",
        "given name": "name",
        "family name": "name",
        "middle name": "name",
        "patient name": "name",
        "customer name": "name",
        "employee name": "name",
    }.items()
}
_IMPERSONAL = _words(
    "file product column class feature model brand item category path table field label variable type kind species "
    "country city state region company shop store team event host domain device app job course movie film song title "
    "game station airport project package library module color colour code count opt flag status hash memory mac web "
    "url length len has is car vehicle drug gene"
)
VERSIONS = _words("version versions release build isbn timestamp")
"""Words in the name of a column whose values look like personal numbers, and are none."""


@functools.lru_cache(maxsize=1024)
def tokens_of(column: str) -> frozenset[str]:
    """The words of a name, in lower case: `customerName_2` has two."""
    return frozenset(re.split(r"[\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower()))


@functools.lru_cache(maxsize=1024)
def kind_by_name(column: str) -> str | None:
    """The kind of personal data that the words of a column's or field's name say, or None."""
    tokens = tokens_of(column)
    for pair, kind in _PAIRS.items():
        if pair <= tokens:
            return kind
    plain = frozenset({"address", "name"})
    for kind, words in _WORDS.items():
        if words & tokens and (
            kind in ("e-mail", "IP address", "date of birth") or not _IMPERSONAL & tokens or words & tokens - plain
        ):
            return kind
    return None
