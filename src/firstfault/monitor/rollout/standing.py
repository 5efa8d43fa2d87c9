"""How a rollout stands: the last comparison, how many requests it rests on, and whether and why it has ended."""

from __future__ import annotations

from typing import Any

import msgspec

from firstfault.monitor.rollout.comparison import Comparison, Conclusion

PASSES = (Conclusion.BETTER, Conclusion.NO_WORSE)
_VALUES = {Conclusion.WORSE: -1, Conclusion.UNDECIDED: 0, Conclusion.BETTER: 1, Conclusion.NO_WORSE: 1}


class Standing(msgspec.Struct, frozen=True):
    """How a rollout stands."""

    comparison: Comparison
    champion: int = 0
    """Requests that can be compared."""
    challenger: int = 0
    disagreed: int = 0
    """Shadow answers that are others than the champion's."""
    time: float = 0.0
    """When it was looked at, in seconds since 1970."""
    ended: str = ""
    """Why the analysis has ended; nothing while it goes on."""

    @property
    def conclusion(self) -> Conclusion:
        """What is concluded so far."""
        return self.comparison.conclusion

    @property
    def passed(self) -> bool:
        """Whether the challenger may take over: what is undecided, for whatever reason, may not."""
        return self.conclusion in PASSES

    @property
    def decided(self) -> bool:
        """Whether no more requests are needed: something is concluded, or nothing ever can be."""
        return self.conclusion is not Conclusion.UNDECIDED or self.comparison.fault is not None

    def metric(self, now: float) -> dict[str, Any]:
        """What a controller of rollouts asks for; no request is quoted in it."""
        comparison = self.comparison
        return {
            "conclusion": str(self.conclusion),
            "value": _VALUES[self.conclusion],
            "passed": self.passed,
            "failed": self.conclusion is Conclusion.WORSE,
            "decided": self.decided,
            "fault": comparison.fault,
            "why": comparison.why,
            "after": comparison.after,
            "champion": self.champion,
            "challenger": self.challenger,
            "disagreed": self.disagreed,
            "rates": comparison.rates,
            "ended": self.ended,
            "age_seconds": round(max(0.0, now - self.time), 1),
        }

    def __str__(self) -> str:
        told = f"{str(self.conclusion).replace('_', ' ')} after {self.comparison.after} requests"
        counted = f"{self.champion} of the champion, {self.challenger} of the challenger"
        if self.disagreed:
            counted += f", {self.disagreed} answered otherwise"
        return f"{told} ({counted}): {self.comparison.why}"


def nothing_yet(why: str) -> Standing:
    """How one stands of which nothing is known."""
    return Standing(Comparison(Conclusion.UNDECIDED, 0, why))
