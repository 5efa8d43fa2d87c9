"""How closely a layer was looked at, and whether that is enough to clear it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from firstfault.finding import Finding, Layer, LayerReport, Status

LEAST_SHARE = 1 / 3
"""Of the checks of a watched model: sound models of which a copy can be called have 14 to 23 of 31 looked at, others
none.
"""
LEARNING = ("underperforms", "no_better_than_constant")
"""The checks of which one must have judged what a watched training came to."""
BESIDE_THE_LOSS = ("return_does_not_rise", "generator_far_from_data")
"""Those that judge what no loss tells, of a policy and of an adversary: where one could look, its word counts alone."""


CUTS = (
    "other_rendered_text",
    "other_token_ids",
    "other_log_probs",
    "served_text",
    "served_ids",
    "served_otherwise",
    "other_token_counts",
)
"""The checks of a language model's cuts, of which one must have looked: without any, only answers were seen."""


@dataclass(frozen=True)
class Coverage:
    """Of a layer's checks, how many could look, and what most of the others missed."""

    layer: Layer
    looked: int
    checks: int
    missing: str

    @property
    def share(self) -> float:
        """0 to 1; 1 of a layer without checks."""
        return self.looked / self.checks if self.checks else 1.0

    def __str__(self) -> str:
        others = f"; the others: {self.missing}" if self.missing and self.looked < self.checks else ""
        return f"{self.layer.value}: {self.looked} of {self.checks} checks could look{others}"


def coverage_of(report: LayerReport) -> Coverage:
    """The coverage of one layer."""
    names = {finding.check for finding in report.findings}
    looked = {finding.check for finding in report.findings if finding.status not in (Status.SKIPPED, Status.ERROR)}
    reasons = Counter(finding.message for finding in report.findings if finding.check not in looked)
    reason, times = reasons.most_common(1)[0] if reasons else ("", 0)
    return Coverage(report.layer, len(looked), len(names), reason if 2 * times >= reasons.total() else "")


def not_cleared(reports: Sequence[LayerReport], *, watched: bool) -> tuple[str, ...]:
    """Why layers without a fault can't be called healthy; empty where they can.

    Nothing at all was looked at; or of a watched loop, fewer than a third of the checks of the model could look, or
    nothing judged whether the training learnt anything; or of a language model, no cut was seen. What a target leaves
    undeclared counts against nothing.
    """
    covered = {report.layer: coverage_of(report) for report in reports}
    if not any(each.looked for each in covered.values()):
        return ("nothing could be examined",)
    if _no_cut_seen(reports):
        return ("no cut of a request could be seen: a reference, /tokenize, or a model in this process shows them",)
    if not watched:
        return ()
    reasons = []
    model = covered.get(Layer.MODEL)
    if model is None or model.share < LEAST_SHARE:
        reasons.append(str(model) if model is not None else "the model was not looked at")
    if not any(_judges_learning(report) for report in reports):
        reasons.append("training: nothing could judge whether it learnt anything")
    return tuple(reasons)


def _no_cut_seen(reports: Sequence[LayerReport]) -> bool:
    cuts = [finding for report in reports for finding in report.findings if finding.check in CUTS]
    return bool(cuts) and all(finding.status is Status.SKIPPED for finding in cuts)


def _judges_learning(report: LayerReport) -> bool:
    beside = [finding for finding in _looked(report) if finding.check in BESIDE_THE_LOSS]
    if beside:
        return all(finding.status is Status.PASS or _within_its_bound(finding) for finding in beside)
    return any(finding.check in LEARNING for finding in _looked(report))


def _within_its_bound(finding: Finding) -> bool:
    """Whether what was measured is as it should be, and something beside it is to be looked at."""
    value, bound = finding.value, finding.threshold
    return isinstance(value, int | float) and isinstance(bound, int | float) and value <= bound


def _looked(report: LayerReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.status is not Status.SKIPPED]
