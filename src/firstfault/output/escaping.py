"""Text of users and data where it leaves firstfault: what a screen or a page would act on is shown instead.

HTML and SVG are escaped by jinja2 and markupsafe, markdown by `firstfault.report.markdown.escape`, spreadsheets by
`firstfault.output.spreadsheets`, names of files by `firstfault.output.file_names`.
"""

from __future__ import annotations

from typing import Any

PICTURES, REPLACEMENT = 0x2400, "\ufffd"
BIDIRECTIONAL = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
SHOWN = {
    **{code: chr(PICTURES + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys([*range(0x80, 0xA0), *BIDIRECTIONAL], REPLACEMENT),
}
"""Control characters as their pictures; C1 controls and what turns the direction of writing as a replacement."""
SURROGATES = dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT)
LOOK_ALIKE = str.maketrans({"<": "‹", ">": "›", "&": "＆", '"': "”", "'": "’", "`": "‘", "\\": "∖"})


def visible(text: str) -> str:
    """A text whose control characters a screen shows rather than obeys; what has no UTF-8 is replaced."""
    return text if text.isascii() and text.isprintable() else text.translate(SHOWN).translate(SURROGATES)


def visible_in(value: Any) -> Any:
    """A JSON value whose texts are visible, however deep they lie: a server takes no half of a surrogate pair."""
    if isinstance(value, dict):
        return {visible_in(name): visible_in(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [visible_in(item) for item in value]
    return visible(value) if isinstance(value, str) else value


def inert(text: str) -> str:
    """A text that is markup in no language, for pages whose templates are not ours.

    Its special letters become look-alikes.
    """
    return visible(text).translate(LOOK_ALIKE).replace("\t", " ").replace("\n", " ")
