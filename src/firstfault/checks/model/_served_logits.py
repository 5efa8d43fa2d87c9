"""How served answers differ from those of the offline model to the same tensors, and which fault gives them again."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.checks.model._answer_pairs import correlation, groups, near, pairs
from firstfault.checks.model._rounded_weights import rounded
from firstfault.checks.model._train_mode_answers import has_modes, in_train_mode
from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.harm import harm_beside
from firstfault.subject.memo import memo
from firstfault.subject.replays import CLOSE, Side, differ, known_in_both, replays
from firstfault.subject.subject import Subject

EXPLAINS = 0.7
"""Of the wrong answers that a fault must give again."""
RIGHT = 0.1
"""A process that answers fewer wrongly is sound beside one that does not."""
FEW = 0.02
"""The share of equal tensors that may be answered differently, by rounding or in another order of sums."""
NEW = 0.5
"""Of its share now, a version that is new had less in the control."""
UNCORRELATED, WEAKLY = 0.5, 0.95
"""Scores of other weights have nothing in common; above the second, only a part of the answers is others'."""


@dataclass(frozen=True)
class Explanation:
    """A fault that gives the wrong answers again, or whose mark they bear."""

    fault: str
    weight: float
    message: str


class Answers:
    """The answers of an incident's requests, served and offline, row by row."""

    def __init__(self, subject: Subject) -> None:
        both = replays(subject)
        self.truth = both.truth
        self.side, self.control = both.incident, both.control
        self.x = _inputs(self.side)
        self.base, self.served = self.side.answers(self.x), self.side.served
        if self.base.shape != self.served.shape or not np.isfinite(self.side.outputs).any():
            raise Missing("no logits or scores were recorded")
        self.known = known_in_both(self.base, self.served)
        self.wrong = differ(self.base, self.served)

    @property
    def share(self) -> float:
        """The share of answers that the offline model does not give."""
        return float(self.wrong[self.known].mean()) if self.known.any() else 0.0

    @functools.cached_property
    def control_share(self) -> float:
        """The same of the control; NaN where nothing of it can be compared."""
        try:
            base, served = self.control.answers(_inputs(self.control)), self.control.served
        except Missing:
            return float("nan")
        known = known_in_both(base, served) if base.shape == served.shape else np.zeros(len(served), bool)
        return float(differ(base, served)[known].mean()) if known.any() else float("nan")

    @functools.cached_property
    def replicas(self) -> list[str]:
        """The processes that alone answer wrongly, where there are others that don't."""
        by: dict[str, list[bool]] = {}
        for (request, _), wrong, known in zip(self.side.samples, self.wrong, self.known, strict=True):
            if known:
                by.setdefault(request.replica, []).append(bool(wrong))
        shares = {name: sum(rows) / len(rows) for name, rows in by.items()}
        bad = [name for name, share in shares.items() if share > 3 * min(shares.values()) + FEW]
        return bad if 0 < len(bad) < len(shares) and min(shares.values()) < RIGHT else []

    def explanations(self) -> Iterator[Explanation]:
        """What gives the wrong answers again, the most certain first."""
        looks = (
            self._another_version,
            self._another_answer,
            self._lower_precision,
            self._train_mode,
            self._by_batch,
            self._vary,
            self._other_weights,
        )
        for look in looks:
            if (found := look()) is not None:
                yield found

    def _requests(self) -> list[Any]:
        return [request for request, _ in self.side.samples]

    def _another_version(self) -> Explanation | None:
        requests = self._requests()
        wrong = Counter(request.version for request, bad in zip(requests, self.wrong, strict=True) if bad)
        version, times = wrong.most_common(1)[0]
        before = Counter(request.version for request in self.control.requests.all)
        now = sum(request.version == version for request in requests) / len(requests)
        usual = set(before) - {version}
        # it had begun to answer before this was noticed
        new = before[version] < NEW * now * before.total()
        if not new or times < 0.9 * self.wrong.sum() or not usual:
            return None
        rolled_out = any(request.arm != "champion" for request in requests if request.version == version)
        told = f"the answers of version {version or '(none)'} alone differ; the control has {', '.join(sorted(usual))}"
        rows = np.array([request.version == version for request in requests])
        seen = harm_beside(self.truth, self.served[rows], self.base[rows], self.side.true[rows])
        if seen.worse is False:
            return Explanation("wrong_version_routed", 0.0, f"{told}, and it answers as well: {seen.message}")
        certain = _is_older(version, usual) or bool(seen.worse)
        return Explanation(
            "wrong_version_routed", 0.8 if certain and not rolled_out else 0.45, f"{told}; {seen.message}"
        )

    def _another_answer(self) -> Explanation | None:
        """Answers that are those to other requests."""
        base, served = self.base[self.known], self.served[self.known]
        wrong = self.wrong[self.known]
        twins = near(served[wrong], base)
        chance = near(base, base, but_itself=True).mean()
        if twins.mean() < max(0.5, chance + 0.4):
            return self._repeats()
        return Explanation(
            "cache_corruption",
            0.8,
            f"{twins.mean():.0%} of the wrong answers are, to the last digit, the right ones to other requests",
        )

    def _repeats(self) -> Explanation | None:
        """Answers that are wrong only where the request came before."""
        seen: set[str] = set()
        again = []
        for request, _ in self.side.samples:
            key = request.hashes.get("raw", "")
            again.append(bool(key) and key in seen)
            seen.add(key)
        repeated = np.array(again, bool) & self.known
        first = ~np.array(again, bool) & self.known
        if repeated.sum() < 10 or first.sum() < 10:
            return None
        wrong, right = self.wrong[repeated].mean(), self.wrong[first].mean()
        if wrong < 0.2 or right > 0.25 * wrong:
            return None
        return Explanation(
            "cache_corruption",
            0.8,
            f"{wrong:.0%} of the requests that came before are answered otherwise, and {right:.0%} of the others",
        )

    def _lower_precision(self) -> Explanation | None:
        best: tuple[float, str] = (0.0, "")
        for name, outputs in rounded(self.truth, self.x[self.known]):
            scores = self.truth.scores(outputs)
            share = self._given_again(scores)
            best = max(best, (share, name))
        if best[0] < EXPLAINS:
            return None
        return Explanation(
            "precision_loss", 0.8, f"the offline model in {best[1]} gives {best[0]:.0%} of the wrong answers again"
        )

    def _given_again(self, scores: Array) -> float:
        """The share of the wrong answers that scores are close to, of those to which they are closer than the right."""
        served, base = self.served[self.known], self.base[self.known]
        wrong = self.wrong[self.known]
        if scores.shape != served.shape or not wrong.any():
            return 0.0
        left = np.abs(scores - served).max(1)[wrong]
        was = np.abs(base - served).max(1)[wrong]
        with np.errstate(invalid="ignore"):
            return float(np.mean((left < max(CLOSE / 2, 1e-9)) | (left < 0.2 * was)))

    def _train_mode(self) -> Explanation | None:
        """The answers of the offline model in train mode: of its batch statistics, or as scattered as dropout makes."""
        sims = in_train_mode(self.truth, self.x[self.known], self._batches())
        if sims is None:
            return None
        base, served = self.base[self.known], self.served[self.known]
        wrong = self.wrong[self.known]
        spread = np.abs(sims - base[None]).max(2)
        if np.median(spread[:, wrong]) < CLOSE / 4:
            return None
        if self._given_again(sims.mean(0)) >= EXPLAINS and np.ptp(sims, axis=0).max() < CLOSE:
            return Explanation("train_mode_serving", 0.8, "in train mode, the offline model gives these answers again")
        if not self._varies():
            return None
        apart = np.abs(served - base).max(1)
        inside = apart[wrong] <= 1.5 * np.quantile(spread[:, wrong], 0.95)
        ratio = float(np.median(apart[wrong]) / max(np.median(spread[:, wrong]), 1e-9))
        alike = correlation(served[wrong], base[wrong]) > 0.3
        if inside.mean() < 0.85 or not 0.3 < ratio < 3 or not alike:
            return None
        return Explanation(
            "train_mode_serving",
            0.8,
            f"the served answers lie as far from the offline ones as those of the model in train mode "
            f"({np.median(apart[wrong]):.3f} against {np.median(spread[:, wrong]):.3f} at the median)",
        )

    def _varies(self) -> bool:
        """Whether equal tensors were answered differently, or none came twice."""
        share = pairs(self.side)
        return share is None or share > FEW

    def _batches(self) -> list[list[int]]:
        """The samples of each request, by their places among those that are known."""
        place = np.cumsum(self.known) - 1
        return [[int(place[row]) for row in rows] for rows in groups(self.side, np.flatnonzero(self.known))]

    def _by_batch(self) -> Explanation | None:
        """Wrong in requests of several samples alone; or as each batch's own scale gives."""
        sizes = np.array([request.samples for request, _ in self.side.samples])
        several, single = self.known & (sizes > 1), self.known & (sizes == 1)
        if several.sum() < 10:
            return None
        wrong = self.wrong[several].mean()
        if single.sum() >= 10 and wrong > 0.1 and self.wrong[single].mean() < 0.25 * wrong:
            return Explanation(
                "batch_dependence",
                0.8,
                f"{wrong:.0%} of the answers in requests of several samples differ from those to each alone, and "
                f"{self.wrong[single].mean():.0%} of those that came alone",
            )
        made = np.full_like(self.x, np.nan)
        for rows in groups(self.side, np.flatnonzero(several)):
            x = self.x[rows]
            made[rows] = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6) if len(rows) > 1 else x
        if not several.any():
            return None
        scores = self.side.answers(made)[self.known]
        if self._given_again(np.nan_to_num(scores, nan=9.0)) < EXPLAINS:
            return None
        return Explanation("batch_dependence", 0.8, "they are the answers to samples scaled by their own batch")

    def _vary(self) -> Explanation | None:
        """Equal tensors that were answered differently, by a model that has no randomness of its own."""
        share = pairs(self.side)
        if share is None or share < 0.2:
            return None
        told = f"{share:.0%} of the tensors that came several times were answered differently"
        if has_modes(self.truth.model):
            return Explanation("train_mode_serving", 0.7, told)
        return Explanation("batch_dependence", 0.7, f"{told}, as by what else was in their batch")

    def _other_weights(self) -> Explanation | None:
        own = [request.replica in self.replicas or not self.replicas for request in self._requests()]
        rows = self.known & np.array(own)
        found = correlation(self.served[rows], self.base[rows])
        if found > WEAKLY and self.wrong[rows].mean() < 0.5:
            return Explanation("weights_not_loaded", 0.4, f"a part of the answers differs (correlation {found:.2f})")
        weight = 0.8 if found < UNCORRELATED else 0.7
        return Explanation(
            "weights_not_loaded",
            weight,
            f"served and offline scores correlate by {found:.2f}, and nothing else gives them",
        )


def _inputs(side: Side) -> Array:
    """The served tensors, else what the training's steps make of the raw requests."""
    try:
        return side.tensors
    except Missing:
        return side.prepared


def _is_older(version: str, usual: set[str]) -> bool:
    numbers = [_numbered(name) for name in usual]
    own = _numbered(version)
    return own is not None and all(number is not None and own < number for number in numbers)


def _numbered(version: str) -> tuple[int, ...] | None:
    parts = version.lstrip("vV").split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else None


@memo(of="trained")
def answers_of(subject: Subject) -> Answers:
    """The answers of the incident, served and offline.

    Raises:
        Missing: when there is no offline model, or nothing to compare.
    """
    return Answers(subject)
