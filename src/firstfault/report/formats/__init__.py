"""A verdict in the formats of other tools: annotations of GitHub, SARIF for code scanning, JUnit for test reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from firstfault.report.formats.github import github
from firstfault.report.formats.junit import junit
from firstfault.report.formats.sarif import sarif
from firstfault.verdict import Verdict

FORMATS: Mapping[str, Callable[[Verdict, str | None], str]] = {"github": github, "sarif": sarif, "junit": junit}
"""By name, what makes a text of a verdict and of the file that stands for what has no file of its own."""
