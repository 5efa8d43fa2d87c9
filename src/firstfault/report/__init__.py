"""The report of a run: one HTML file, and the verdict as markdown and in the terminal."""

from firstfault.report.context import ReportContext, context_of
from firstfault.report.html import write_report

__all__ = ["ReportContext", "context_of", "write_report"]
