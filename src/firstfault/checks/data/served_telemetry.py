"""Before the layers: is what was recorded what was served?"""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import check
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.subject.incident import Telemetry, incident
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind

WORDS = {"queue": "dropped by a full queue", "disk": "refused by the disk", "analysis": "unreadable"}


@check(layer=Layer.DATA, needs={incident}, detects={"telemetry_loss": 0.9}, kind=SubjectKind.INCIDENT)
def served_unseen(
    subject: Subject, *, lost: float = 0.05, unlabelled: float = 0.5, jumps: int = 3
) -> Iterator[Judgement]:
    """Find that records were lost, that a clock went back, or that labels stay away which used to come.

    Measures: records lost in the incident's hours over those that were handed over; times that go back by more than a
        second within one process; the share of requests without a label, less that of the control.
    Fails when: the first is above `lost`, or labels stay away from more than `unlabelled` of the requests more than
        before; a clock that went back `jumps` times.
    Not a fault when: labels are late, as they are of all recent requests: they count where the monitor of the telemetry
        itself opened the incident.
    Source: Kohavi, Tang & Xu 2020, Trustworthy Online Controlled Experiments, chapter 3.
    """
    seen = incident(subject).telemetry
    gone = sum(seen.lost.values())
    share = gone / max(gone + seen.counted, 1)
    words = ", ".join(f"{n} {WORDS.get(cause, cause)}" for cause, n in seen.lost.items() if n)
    found = [
        f"{share:.0%} of the records of these hours were lost: {words}" if share > lost else "",
        f"clocks of serving processes went back {seen.jumps} times" if seen.jumps >= jumps else "",
        _without_labels(seen, unlabelled) if incident(subject).monitor.startswith("telemetry") else "",
    ]
    told = "; ".join(filter(None, found))
    if not told:
        yield passed(f"{share:.1%} of the records of these hours were lost", value=share)
        return
    yield Judgement(Status.FAIL, told, share, lost, fix=None)


def _without_labels(seen: Telemetry, more: float) -> str:
    if seen.unlabelled is None:
        return ""
    before, now = seen.unlabelled
    return f"{now:.0%} of the requests have no label, and {before:.0%} of the control" if now - before > more else ""


@check(layer=Layer.DATA, needs={incident}, detects={"sample_ratio_mismatch": 0.9}, kind=SubjectKind.INCIDENT)
def served_shares(subject: Subject, *, p_value: float = 1e-4, least: float = 0.05) -> Iterator[Judgement]:
    """Find arms of a rollout that get another share of the requests than before.

    Measures: the numbers of requests of each arm against the control's, by chi square.
    Fails when: the p-value is below `p_value`, and a share moved by more than `least`.
    Not a fault when: the rollout's share was changed: an arm that had none begins, or one that had some ends.
    Source: Fabijan et al. 2019, Diagnosing Sample Ratio Mismatch in Online Controlled Experiments.
    """
    from scipy.stats import chi2_contingency

    seen = incident(subject).telemetry
    arms = [arm for arm in seen.control_arms if seen.control_arms[arm] and seen.arms.get(arm)]
    if len(arms) < 2:
        yield skipped("there is one arm alone, or none that both sides have")
        return
    before, now = [seen.control_arms[arm] for arm in arms], [seen.arms[arm] for arm in arms]
    p = float(chi2_contingency([before, now]).pvalue)
    moved = max(abs(one / sum(before) - two / sum(now)) for one, two in zip(before, now, strict=True))
    told = ", ".join(
        f"{arm} {one / sum(before):.0%} → {two / sum(now):.0%}" for arm, one, two in zip(arms, before, now, strict=True)
    )
    if p >= p_value or moved <= least:
        yield passed(f"the arms have the shares that they had: {told}", value=p)
        return
    yield Judgement(Status.FAIL, f"the arms' shares of the requests moved: {told} (p = {p:.1g})", p, p_value)
