"""Which fault a swap is evidence for, and in which order swaps are tried where no finding calls for one."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from firstfault.ablation.confirm.look_alikes import absent
from firstfault.ablation.confirm.rules import Rules
from firstfault.ablation.swap import SwapKind, swaps
from firstfault.check import REGISTRY
from firstfault.faults import SYMPTOMS, layer_of
from firstfault.finding import Layer, LayerReport, Status
from firstfault.standing import PROOF, suspected
from firstfault.subject.subject import Subject

SEARCHED = (Layer.PREPROCESSING, Layer.MODEL, Layer.TRAINING)
"""The layers of which a fault is blamed that no finding points to."""
ORDER = (
    "proof_acquits",
    "searched_layers",
    "suspected_first",
    "suspected_before",
    "symptoms_last",
    "nearest_layer_first",
    "sign_is_there",
)
"""The rules by which a swap is given a fault, and a place in the order."""


class Blame:
    """Names the fault of each swap.

    Args:
        suspects: the faults that this layer's findings point to, with their weights.
        earlier: those that an earlier layer's findings pointed to.
        spared: faults that are not to be blamed.
    """

    def __init__(
        self,
        subject: Subject,
        report: LayerReport,
        suspects: Mapping[str, float],
        earlier: Mapping[str, float],
        spared: frozenset[str],
        rules: Rules,
    ) -> None:
        self.subject, self.report, self.suspects, self.earlier, self.rules = subject, report, suspects, earlier, rules
        self.spared, self.disproved = spared, disproved(report)

    def of(self, kind: SwapKind) -> str | None:
        """The fault that a swap would be evidence for; None where it may blame none."""
        return self.rules.matters(ORDER, lambda rules: self._of(kind, rules))

    def candidates(self) -> list[tuple[str, SwapKind]]:
        """Every swap with the fault that it would be evidence for, in the order in which they are tried."""
        return self.rules.matters(ORDER, self._candidates)

    def _of(self, kind: SwapKind, rules: Rules) -> str | None:
        faults = [fault for fault in kind.undoes if self._may_be_blamed(fault, rules)]
        return min(faults, key=lambda fault: self._order(fault, rules), default=None)

    def _candidates(self, rules: Rules) -> list[tuple[str, SwapKind]]:
        pairs = [(fault, kind) for kind in swaps().values() if (fault := self._of(kind, rules)) is not None]
        return sorted(
            pairs, key=lambda pair: (not self._suspected_before(pair[0], rules), *self._order(pair[0], rules)[1:3])
        )

    def _order(self, fault: str, rules: Rules) -> tuple[float, bool, int, bool, str]:
        """What the faults that one swap undoes are ordered by: the first is blamed."""
        layer = layer_of(fault, self.report.layer)
        near = 0 if layer is self.report.layer else len(Layer) - layer.rank
        return (
            -self._weight(fault, rules),
            rules.decides("symptoms_last", fault in SYMPTOMS),
            near if rules.decides("nearest_layer_first", near > 0) else 0,
            rules.decides("sign_is_there", lambda: fault in self._absent),
            fault,
        )

    def _may_be_blamed(self, fault: str, rules: Rules) -> bool:
        if fault in self.spared or rules.decides("proof_acquits", fault in self.disproved):
            return False
        outside = fault not in self.suspects and layer_of(fault, self.report.layer) not in SEARCHED
        return not rules.decides("searched_layers", outside)

    def _weight(self, fault: str, rules: Rules) -> float:
        if fault in self.suspects:
            return self.suspects[fault] if rules.decides("suspected_first") else 0.0
        return self.earlier[fault] / 2 if self._suspected_before(fault, rules) else 0.0

    def _suspected_before(self, fault: str, rules: Rules) -> bool:
        return rules.decides("suspected_before", fault in self.earlier)

    @functools.cached_property
    def _absent(self) -> frozenset[str]:
        return absent(self.subject)


def disproved(report: LayerReport) -> frozenset[str]:
    """The faults that a check of this report proves where they are, and did not find."""
    passed = [finding.check for finding in report.findings if finding.status is Status.PASS]
    return frozenset(
        fault
        for name in passed
        if name in REGISTRY
        for fault, weight in REGISTRY[name].detects.items()
        if weight >= PROOF
    ) - frozenset(suspected(report))
