"""Reports of a verdict: an HTML page, markdown, and a panel in the terminal."""

from firstfault.report.collect import context_of
from firstfault.report.context import ReportContext
from firstfault.report.page import write_report

__all__ = ["ReportContext", "context_of", "write_report"]
