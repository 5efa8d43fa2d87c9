"""Text files of any encoding, read as UTF-8."""

from __future__ import annotations

import io
import tempfile
from typing import IO

BLOCK = 1 << 24
"""Characters that are read at once: bounds the memory."""
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def as_utf8(file: IO[bytes]) -> tuple[IO[bytes], str | None]:
    """The file with an encoding of two or four bytes, or line ends of old Macs, turned into UTF-8 lines.

    And the encoding it had.
    """
    start = file.read(1 << 16)
    file.seek(0)
    encoding = next((name for mark, name in MARKS if start.startswith(mark)), _unmarked(start))
    if encoding is None and start.count(b"\r") - start.count(b"\r\n") <= start.count(b"\n"):
        return file, None
    text = io.TextIOWrapper(file, encoding=encoding or "latin-1", newline=None)
    made = tempfile.TemporaryFile()  # noqa: SIM115 (it is handed on, and gone once closed)
    while part := text.read(BLOCK):
        made.write(part.encode("utf-8" if encoding else "latin-1"))
    made.seek(0)
    return made, encoding


def _unmarked(start: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of plain text is 0 there."""
    first, second = start[::2].count(0), start[1::2].count(0)
    if max(first, second) < len(start) / 4 or min(first, second) > len(start) / 20:
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def as_text(line: bytes) -> str:
    """A line as text: UTF-8, else Windows-1252, else Latin-1, in which every byte is a character."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")
