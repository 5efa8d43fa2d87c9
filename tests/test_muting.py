"""What a target mutes is not judged, and every place where a verdict is told says so."""

from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from firstfault import Data, Target
from firstfault.check import Check, Depth, judge, run_check
from firstfault.cli.preflight import expect_workable
from firstfault.errors import TargetError
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.place import Place
from firstfault.report.context import ReportContext
from firstfault.report.markdown import verdict_markdown
from firstfault.report.page import render_page
from firstfault.report.terminal import render_verdict
from firstfault.standing import conclude
from firstfault.target.loader import load_target
from firstfault.verdict import Verdict


def gaps(subject, *, share=0.1):
    """Find columns with gaps."""
    for column, missing in subject.missing.items():
        yield judge(
            missing,
            above=share,
            where=Place.columns(*column.split()),
            message=f"{missing:.0%} are missing",
            fix="impute",
        )


def found(mute, missing):
    """What the check finds on a subject whose target mutes something."""
    entry = Check("gaps", Layer.DATA, gaps, frozenset(), {"missing_values": 0.9}, Depth.QUICK)
    target = SimpleNamespace(root=Path("nowhere"), mute=mute)
    return run_check(entry, SimpleNamespace(target=target, missing=missing, masked=str), {})


def test_a_muted_check_does_not_run_and_is_skipped_with_the_reason():
    """Its finding accuses nobody; a subject that would make it crash is not looked at."""
    [finding] = found({"gaps": "optional by design"}, None)
    assert (finding.status, finding.message) == (Status.SKIPPED, "muted: optional by design")
    assert finding.muted == "optional by design" and finding.faults == {}


def test_a_muted_place_is_skipped_alone():
    """What the check finds elsewhere is judged as ever; what it measured at the muted place is still told."""
    age, sex = found({"gaps:age": "optional in the form"}, {"age": 0.5, "sex": 0.5})
    assert (age.status, age.message) == (Status.SKIPPED, "muted: optional in the form (50% are missing)")
    assert age.value == 0.5 and not age.faults and age.fix is None
    assert sex.status is Status.FAIL and sex.muted is None


def test_a_finding_of_several_columns_is_muted_by_all_of_them():
    """One that names a column beside the muted ones stands."""
    both = {"gaps:age": "optional", "gaps:sex": "optional"}
    assert found({"gaps:age": "optional"}, {"age sex": 0.5})[0].status is Status.FAIL
    assert found(both, {"age sex": 0.5})[0].message == "muted: optional (50% are missing)"


def test_a_place_that_passes_is_not_muted():
    """What is sound needs no mute: it counts as passed."""
    assert [finding.status for finding in found({"gaps:age": "optional"}, {"age": 0.0})] == [Status.PASS]


def healthy(muted=None):
    """A verdict over one layer that passed, in which something may be muted."""
    findings = [Finding("labels", Layer.DATA, Status.PASS, "the labels are fine")]
    if muted is not None:
        findings.append(Finding("gaps", Layer.DATA, Status.SKIPPED, f"muted: {muted}", muted=muted))
    return conclude("t", [LayerReport(Layer.DATA, tuple(findings), 0.1)], [], seconds=1.0)


@pytest.mark.parametrize(
    "told",
    [
        lambda verdict: printed(render_verdict(verdict)),
        verdict_markdown,
        lambda verdict: render_page(verdict, ReportContext()),
    ],
)
def test_a_green_with_mutes_says_so(told):
    """In the terminal, in markdown and in the report: the headline, and what is muted, with the reason."""
    green, muted = told(healthy()), told(healthy("optional by design"))
    assert "No fault found beside what is muted" in muted and "gaps is muted: optional by design" in muted
    assert "muted" not in green


def printed(renderable):
    """What the terminal shows."""
    file = StringIO()
    Console(file=file, width=100).print(renderable)
    return file.getvalue()


def test_the_verdict_holds_what_is_muted_there_and_back():
    """As a mapping of its own, which CI can read, and with the finding."""
    values = healthy("optional by design").to_json()
    assert values["muted"] == {"gaps": "optional by design"}
    assert Verdict.from_json(values).to_json() == values


def test_a_check_that_there_is_not_is_refused_with_what_is_near():
    """In mutes and in thresholds alike."""
    data = {"name": "t", "data": Data(train="x.csv")}
    with pytest.raises(
        TargetError, match="mute must name checks, but got 'duplicate_row'; did you mean duplicate_rows"
    ):
        expect_workable(Target(**data, mute={"duplicate_row:x": "copies are meant"}))
    with pytest.raises(TargetError, match="thresholds must name checks, but got 'duplicate_row'; did you mean"):
        expect_workable(Target(**data, thresholds={"duplicate_row": {}}))


@pytest.mark.parametrize("mute", [["gaps"], {"gaps": None}, {"gaps": " "}, {1: "why"}])
def test_a_mute_without_a_reason_is_refused(mute):
    """A reason is needed, since it is what the verdict says."""
    with pytest.raises(TargetError, match="mute must be"):
        Target("t", mute=mute)


def test_set_changes_one_mute_or_one_threshold_and_leaves_the_others(tmp_path):
    """A place may have dots, as modules have."""
    (tmp_path / "target.py").write_text(
        "from firstfault import Target\n"
        "target = Target('t', mute={'gaps': 'a'}, thresholds={'gaps': {'share': 0.1, 'most': 3}})\n"
    )
    overrides = {"mute.dead_relu:encoder.layers.0": "a mask: meant", "thresholds.gaps.share": "0.5"}
    target = load_target(str(tmp_path / "target.py"), overrides)
    assert target.mute == {"gaps": "a", "dead_relu:encoder.layers.0": "a mask: meant"}
    assert target.thresholds == {"gaps": {"share": 0.5, "most": 3}}
