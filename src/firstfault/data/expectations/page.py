"""Results of Great Expectations as one HTML page without scripts, that opens offline."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

from firstfault.data.expectations.validation import Validation, broken_of, short
from firstfault.output.whole_files import write_text
from firstfault.values import Json


def write_page(validations: Mapping[str, Validation], path: Path) -> None:
    """Write the results as one HTML page without scripts, that opens offline."""
    sections = "".join(_section(name, validation) for name, validation in validations.items())
    write_text(path, _PAGE.replace("<!-- sections -->", sections))


def _section(name: str, validation: Validation) -> str:
    rows = "".join(map(_line, sorted(validation.result["results"], key=lambda entry: bool(entry["success"]))))
    met = validation.count - len(validation.broken)
    return (
        f"<h2>{html.escape(name)}: {met} of {validation.count} expectations met</h2><table><thead><tr>"
        "<th></th><th>column</th><th>expectation</th><th>severity</th><th>what came</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _line(entry: Json) -> str:
    config = entry["expectation_config"]
    told = "" if entry["success"] else broken_of(entry).detail
    kwargs = {
        name: value
        for name, value in config["kwargs"].items()
        if name not in ("batch_id", "column") and value is not None
    }
    wanted = ", ".join(f"{name} {short(value)}" for name, value in kwargs.items())
    cells = (
        "✓" if entry["success"] else "✗",
        str(config["kwargs"].get("column", "table")),
        f"{config['type'].removeprefix('expect_').replace('_', ' ')} {wanted}",
        str(config.get("severity", "critical")),
        told,
    )
    kind = "met" if entry["success"] else "broken"
    return f"<tr class={kind}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>Great Expectations</title><style>
body { font: 14px/1.45 system-ui, sans-serif; color: #1d2430; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top }
th { border-bottom: 2px solid #cfd6e0; font-weight: 600 }
td { border-bottom: 1px solid #e7ebf0; overflow-wrap: anywhere }
.broken { background: #fdf0ee } .broken td:first-child { color: #b3261e; font-weight: 700 }
.met td:first-child { color: #2e7d4f }
</style></head><body><h1>Great Expectations</h1><!-- sections --></body></html>
"""
