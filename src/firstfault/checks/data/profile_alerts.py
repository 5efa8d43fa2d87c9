"""What a ydata-profiling report of a sample draws attention to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from firstfault.check import Depth, Judgement, check, skipped
from firstfault.data.profile import ALERTS, COMPARED, LEFT_OUT, PAGE, SECONDS, Profiling
from firstfault.finding import Layer, Status
from firstfault.place import SHOWN, Place
from firstfault.subject.subject import Subject

ALIKE = ({"Categorical", "Text"}, {"Categorical", "Numeric"}, {"Categorical", "Boolean"}, {"Numeric", "Boolean"})
"""Types that ydata-profiling tells apart by the number of distinct values: two samples of a column may differ."""
WORRYING = {"missing", "constant", "infinite", "duplicates", "empty", "unsupported", "non_stationary"}


@check(layer=Layer.DATA, needs={"profiling"}, detects={}, depth=Depth.STANDARD)
def profile_alerts(subject: Subject) -> Iterator[Judgement]:
    """Report the alerts of a ydata-profiling report of a sample.

    Measures: the number of columns with an alert, one finding per kind, in at most 1,000 rows and 30 columns within 45
        s. Where the target declares a reference, `profile_compare.html` shows a sample of it beside this one; columns
        of another type can't be compared, and are named.
    Warns when: columns are empty, constant, infinite, missing, unsupported or not stationary, or rows are duplicates.
        The other alerts inform.
    Source: ydata-profiling's alerts with its default thresholds.
    """
    profiling = subject.profiling
    found = profiling.collect()
    if found is None:
        yield skipped(f"the profile did not end within {SECONDS:.0f} s of CPU time")
        return
    by_kind: dict[str, list[str]] = defaultdict(list)
    for alert in found:
        by_kind[alert["alert"]].append(str(alert["column"] or "table"))
    for kind, columns in by_kind.items():
        yield Judgement(
            Status.WARN if kind in WORRYING else Status.PASS,
            f"{kind.replace('_', ' ')}: {len(columns)} of {profiling.columns} columns "
            f"in a sample of {profiling.rows} rows",
            value=len(columns),
            where=Place.columns(*columns[:8]),
            faults={},
            artifacts=(PAGE, ALERTS),
        )
    if not by_kind:
        yield Judgement(
            Status.PASS, f"no alerts in a sample of {profiling.rows} rows", value=0, artifacts=(PAGE, ALERTS)
        )
    if (left_out := profiling.left_out()) is not None:
        yield _beside_reference(profiling, left_out)


def _beside_reference(profiling: Profiling, left_out: Mapping[str, tuple[str | None, str | None]]) -> Judgement:
    files = (COMPARED, LEFT_OUT)
    sample = f"a sample of the reference is profiled beside one of {profiling.rows} rows of train"
    if not left_out:
        return Judgement(Status.PASS, sample, artifacts=files)
    told = "; ".join(
        f"{name}: {before or 'absent'} in the reference, {after or 'absent'} here"
        for name, (before, after) in list(left_out.items())[:SHOWN]
    )
    worrying = [name for name, kinds in left_out.items() if set(kinds) not in ALIKE]
    return Judgement(
        Status.WARN if worrying else Status.PASS,
        f"{sample}, without {len(left_out)} columns of another type ({told})",
        value=len(left_out),
        where=Place.columns(*list(left_out)[:SHOWN]),
        faults={},
        artifacts=files,
        fix="see whether they are read as the same type" if worrying else None,
    )
