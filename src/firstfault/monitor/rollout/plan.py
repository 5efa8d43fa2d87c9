"""What is planned of a rollout before its first request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from firstfault.errors import FirstfaultError


class Mode(StrEnum):
    """How requests came to the arms."""

    SHADOW = "shadow"
    CANARY = "canary"
    AB = "ab"


@dataclass(frozen=True)
class Plan:
    """What was planned before the first request.

    Attributes:
        mode: shadow (both arms answer each request), canary or ab (each request has one arm).
        share: of the requests that are given to the challenger at random; None where nobody drew them.
        alpha: the chance that equal arms are ever called worse; the same for better, and for no worse.
        margin: Δ: the rate of bad events, of slow answers or of low scores may be so much higher, as a share of it.
        quantile: of the seconds, beyond which an answer is slow.
        at_most: how many requests are looked at.
        negligible: a rate of bad events below it is no worse, whatever the champion's; 0 where none is.
    """

    mode: Mode = Mode.CANARY
    share: float | None = None
    alpha: float = 0.01
    margin: float = 0.25
    quantile: float = 0.95
    at_most: int | None = None
    negligible: float = 0.001

    def __post_init__(self) -> None:
        for name in ("alpha", "quantile", *(("share",) if self.share is not None else ())):
            if not 0 < getattr(self, name) < 1:
                raise FirstfaultError(f"{name} must be between 0 and 1, but got {getattr(self, name)}")
        if not 0 < self.margin < float("inf"):
            raise FirstfaultError(f"margin must be above 0, but got {self.margin}")
        if not 0 <= self.negligible < 1:
            raise FirstfaultError(f"negligible must be at least 0 and below 1, but got {self.negligible}")
        if self.at_most is not None and self.at_most < 1:
            raise FirstfaultError(f"at_most must be at least 1, but got {self.at_most}")

    @property
    def fair_share(self) -> float | None:
        """The challenger's share of what goes badly on one side, where the arms are equal; None where nobody drew."""
        return 0.5 if self.mode is Mode.SHADOW else self.share
