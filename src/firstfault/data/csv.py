"""CSV files as they come: their separator and encoding, and the lines that are broken, known before they are parsed.

A line is broken when it has more or fewer fields than the others, opens a quote that nothing closes, is the header
again, as in files that were put one behind the other, or has a NUL byte or the line end of an old Mac within a field,
at which pandas would cut its value without a word. It is left out alone: the lines after an unclosed quote are looked
at anew.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import IO

from firstfault.data.encodings import as_text
from firstfault.errors import TargetError

SEPARATORS = (",", ";", "\t", "|")
BLOCK = 1 << 24
"""Bytes that are read at once: bounds the memory."""
LONGEST_RECORD = 10_000
"""Lines that an open quote is waited for to close: each unclosed one costs reading so many again."""
FIRST_LINES = 200
"""Lines from which separator and header are told."""
LONGEST_FIELD = 1 << 27
"""Bytes of a field, 128 MB: Python's own limit of 128 kB is less than a long document has."""
MOST_HEADER_LINES = 50
"""Lines of a header whose names go over several: of more, its quote is one that nothing closes."""


@dataclass
class Survey:
    """What the lines of a CSV file are like. Lines are numbered from 1, as editors do.

    `fields` is how many a record has, `at` the header's first line, `over` how many lines it has, `broken` the broken
    lines with their reasons, `foreign` the lines that are no UTF-8, `utf8` how many lines need UTF-8, `trailing`
    whether every record ends with a separator that the header lacks, and `sizes` the lengths of a line that may be the
    header again; none where that can't be told from a row.
    """

    separator: str
    header: list[str]
    fields: int
    at: int = 1
    over: int = 1
    trailing: bool = False
    lines: int = 0
    utf8: int = 0
    broken: dict[int, str] = field(default_factory=dict)
    foreign: list[int] = field(default_factory=list)
    sizes: range = range(0)

    def header_again(self, line: bytes) -> str | None:
        """What is wrong with a line that holds the names of the header again; None for another line."""
        if len(line) not in self.sizes:
            return None
        text = as_text(line.removeprefix(codecs.BOM_UTF8)).rstrip("\r\n")
        names = [name.strip() for name in self.header]
        if names[0] not in text or names[-1] not in text:  # quicker than to read a line that is a row
            return None
        fields = [
            name.strip() for name in next(csv.reader([text], delimiter=self.separator, skipinitialspace=True), [])
        ]
        if fields == names:
            return "the header again"
        return "the header again, in another order" if sorted(fields) == sorted(names) else None


def survey(file: IO[bytes], name: str) -> Survey:
    """Look at every line of a CSV file once.

    Raises:
        TargetError: when header and lines don't agree on the number of fields, or most lines are broken.
    """
    csv.field_size_limit(LONGEST_FIELD)
    found = _first_look(file, name)
    block: list[bytes] = []
    while (more := file.readlines(BLOCK)) or block:
        block += more
        del block[: _survey_block(block, found, last=not more)]
    if len(found.broken) > found.lines / 2:
        line, reason = next(iter(found.broken.items()))
        raise TargetError(
            f"{name} must have the same number of fields in every line, but {len(found.broken)} of {found.lines} lines "
            f"are broken: line {line} has {reason}"
        )
    return found


def _first_look(file: IO[bytes], name: str) -> Survey:
    start = file.readlines(1 << 20)[:FIRST_LINES]
    file.seek(0)
    lines = [line for line in start if line.strip(b" \r\n")]
    if not lines:
        raise TargetError(f"{name} must have at least one row, but it is empty")
    at, over = start.index(lines[0]) + 1, _over(lines)
    if over > 1:
        with contextlib.suppress(TargetError):  # a quote that is not closed, and no name over several lines
            return _headed(lines, over, at, name)
    return _headed(lines, 1, at, name)


def _headed(lines: list[bytes], over: int, at: int, name: str) -> Survey:
    """What the first lines are like, of which the header takes that many."""
    first = b"".join(lines[:over]).removeprefix(codecs.BOM_UTF8)
    if b"\0" in first:
        raise TargetError(f"{name} must have a header of text, but it has NUL bytes")
    separator = max(SEPARATORS, key=lambda mark: _marks(first, mark.encode()))
    mark = separator.encode()
    header, *rows = csv.reader(
        (as_text(line.replace(b"\r", b"")) for line in [first, *lines[over:]]), delimiter=separator
    )
    found = Survey(separator, header, len(header), at=at, over=over, sizes=_sizes(header, first))
    lines = lines[over - 1 :]
    counts, by_line = Counter(map(len, rows)), Counter(_marks(line, mark) + 1 for line in lines[1:])
    if not rows or len(header) in (_usual(counts), _usual(by_line)) or max(by_line.values()) <= len(lines) / 2:
        return found
    usual = _usual(counts)
    if usual == len(header) + 1:  # row names as R writes them, or a separator at the end of every line
        return replace(found, fields=usual, trailing=all(line.rstrip(b"\r\n").endswith(mark) for line in lines[1:]))
    if usual == len(header) - 1 and not header[-1].strip():
        return replace(found, fields=usual)
    raise TargetError(
        f"{name} must have as many fields in a line as its header, which has {len(header)}, but most lines have {usual}"
    )


def _sizes(header: list[str], first: bytes) -> range:
    """The lengths of a line that is the header again: with or without its line end, the mark of UTF-8, and quotes or
    blanks about the names.
    """
    names = {name.strip() for name in header}
    told = len(header) > 1 and len(names) == len(header) and not any(map(_is_number, names))
    bare = sum(len(name.encode()) for name in names) + len(names) - 1
    most = max(bare, len(first.rstrip(b"\r\n"))) + 4 * len(names) + len(b"\r\n" + codecs.BOM_UTF8)
    return range(bare, most + 1) if told else range(0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def _over(lines: list[bytes]) -> int:
    """Over how many lines the header goes: those that close the quotes of a name; one, where none closes them."""
    open_ = re.search(rb'(^|[,;\t|])"', lines[0].removeprefix(codecs.BOM_UTF8)) and lines[0].count(b'"') % 2
    if not open_:
        return 1
    closed = next((at for at, line in enumerate(lines[1:MOST_HEADER_LINES], 1) if line.count(b'"') % 2), 0)
    return closed + 1


def _usual(counts: Counter[int]) -> int | None:
    return max(counts, key=lambda size: counts[size], default=None)


def _survey_block(block: list[bytes], found: Survey, *, last: bool) -> int:
    """Judge the lines of a block; how many of them are done with. The rest waits for the lines that follow."""
    mark, wanted, cut = found.separator.encode(), found.fields - 1, _is_cut(b"".join(block))
    sizes = found.sizes
    special = [
        at
        for at, line in enumerate(block)
        if (_is_special(line, mark, wanted) if b'"' in line else line.count(mark) != wanted)
        or (cut and _is_cut(line))
        or (len(line) in sizes and found.header_again(line))
    ]
    done = 0
    for at in special:
        if at < done:
            continue
        span, reason = _record(block, at, found) if found.lines + at + 1 != found.at else (found.over, None)
        if span is None and not last and len(block) - at < LONGEST_RECORD:
            return _counted(block[:at], found)
        done = at + (span or 1)
        if reason is None and found.lines + at + 1 != found.at and (why := _cut_by(block[at:done])):
            found.broken |= dict.fromkeys(range(found.lines + at + 1, found.lines + done + 1), why)
        elif reason is not None:
            found.broken[found.lines + at + 1] = reason
    return _counted(block, found)


def _is_special(line: bytes, mark: bytes, wanted: int) -> bool:
    """Whether a line with quotes may end within them, or has another number of separators outside of them."""
    return line.count(b'"') % 2 == 1 or _marks(line, mark) != wanted


def _is_cut(text: bytes) -> bool:
    """Whether there are NUL bytes or line ends of old Macs, the two at which pandas cuts a value or a line."""
    return b"\0" in text or (b"\r" in text and text.count(b"\r") != text.count(b"\r\n"))


def _cut_by(lines: list[bytes]) -> str | None:
    """What would cut the fields of a record: a line end only where no quotes are around it."""
    record = b"".join(lines)
    if b"\0" in record:
        return "a NUL byte"
    return "a line end within a field" if _has_stray_end(record) else None


def _has_stray_end(record: bytes) -> bool:
    return b"\r" in record.rstrip(b"\r\n") and b"\r" in b"".join(record.split(b'"')[::2]).replace(b"\r\n", b"").rstrip(
        b"\r\n"
    )


def _counted(lines: list[bytes], found: Survey) -> int:
    """Count lines that are judged, and those that need UTF-8 or are none."""
    text = b"".join(lines)
    if not text.isascii():
        try:
            text.decode("utf-8")
            found.utf8 += sum(not line.isascii() for line in lines)
        except UnicodeDecodeError:
            for number, line in enumerate(lines, found.lines + 1):
                _note_encoding(line, number, found)
    found.lines += len(lines)
    return len(lines)


def _record(block: list[bytes], at: int, found: Survey) -> tuple[int | None, str | None]:
    """How many lines the record that begins at a line takes, and what is wrong; None where its quote stays open."""
    line = block[at]
    if not line.strip(b" \r\n") or _has_stray_end(line):
        return 1, None
    if (again := found.header_again(line)) is not None:
        return 1, again
    size, count = _parsed([line], found.separator)
    if size == 1:
        return 1, None if count == found.fields else f"{count} fields instead of {found.fields}"
    size, count = _parsed(block[at : at + LONGEST_RECORD], found.separator)
    if size is not None and count == found.fields:
        return size, None
    return size and 1, "a quote that is not closed"


def _parsed(lines: list[bytes], separator: str) -> tuple[int | None, int]:
    """How many lines the first record takes, None where its quote stays open, and how many fields it has."""
    reader = csv.reader(map(as_text, lines), delimiter=separator, strict=True)
    try:
        return (reader.line_num, len(row)) if (row := next(reader)) else (1, 0)
    except csv.Error as error:
        if len(lines) > 1 or "unexpected end" in str(error):
            return None, 0
    return 1, len(next(csv.reader([as_text(lines[0].replace(b"\r", b""))], delimiter=separator)))


def _marks(line: bytes, mark: bytes) -> int:
    """How many separators a line has outside of its quotes."""
    return line.count(mark) if b'"' not in line else b"".join(line.split(b'"')[::2]).count(mark)


def _note_encoding(line: bytes, number: int, found: Survey) -> None:
    line = line.removeprefix(codecs.BOM_UTF8)
    if line.isascii():
        return
    try:
        line.decode("utf-8")
        found.utf8 += 1
    except UnicodeDecodeError:
        found.foreign.append(number)


def mended(file: IO[bytes], found: Survey) -> IO[bytes]:
    """A copy of the file without its broken lines, in UTF-8 throughout."""
    foreign = set(found.foreign)
    made = tempfile.TemporaryFile()  # noqa: SIM115 (it is handed on, and gone once closed)
    for number, line in enumerate(file, 1):
        if number not in found.broken:
            made.write(as_text(line).encode() if number in foreign else line)
    made.seek(0)
    return made
