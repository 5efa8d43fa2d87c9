"""Checks are registered, run and judged, whatever happens inside them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from firstfault import check as checks
from firstfault.check import Check, Depth, judge, passed, run_checks
from firstfault.errors import Missing, TargetError, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.place import Kind, Place


class Parts:
    """A subject that knows one part."""

    target = SimpleNamespace(root=Path("nowhere"), mute={})

    def __init__(self, **parts):
        self.parts = parts

    def masked(self, text):
        return text

    def get(self, need):
        value = self.parts.get(need, Missing(f"the target declares no {need}"))
        if isinstance(value, Exception):
            raise value
        return value


def run(function, subject, monkeypatch, *, needs=(), depth=Depth.QUICK, thresholds=None, at=Depth.STANDARD):
    """Run one function as the only check of the model layer."""
    parameters = {"bound": 1.0}
    entry = Check(function.__name__, Layer.MODEL, function, frozenset(needs), {"dead_relu": 0.8}, depth, parameters)
    monkeypatch.setattr(checks, "checks_of", lambda layer, kind: (entry,))
    return run_checks(Layer.MODEL, subject, at, thresholds)


def high(subject, *, bound=1.0):
    """Judge a fixed value.

    Source: a book.
    """
    yield judge(2.0, above=bound, message="2.0 is high", fix="lower it")


def test_a_value_beyond_its_bound_fails_with_evidence(monkeypatch):
    """A failed judgement carries its check's name, layer, faults and source."""
    [finding] = run(high, Parts(), monkeypatch).findings
    assert (finding.check, finding.layer, finding.status) == ("high", Layer.MODEL, Status.FAIL)
    assert finding.faults == {"dead_relu": 0.8}
    assert finding.source == "a book."
    assert finding.fix == "lower it"


def labelled(subject, *, bound=1.0):
    """Find what is high.

    Measures: the height,
        in metres.
    Source: a book; and
        another: one.
    Not a fault when: it is meant.

    More of it.
    """
    yield judge(2.0, above=bound, message="2.0 is high")


def test_a_labelled_part_ends_at_the_next_label_or_a_blank_line(monkeypatch):
    """Each part of a docstring is known by its label, its wrapped lines as one, and the source is one of them."""
    entry = Check("labelled", Layer.MODEL, labelled, frozenset(), {}, Depth.QUICK)
    assert entry.parts == {
        "Measures": "the height, in metres.",
        "Source": "a book; and another: one.",
        "Not a fault when": "it is meant.",
    }
    [finding] = run(labelled, Parts(), monkeypatch).findings
    assert finding.source == "a book; and another: one."


def test_a_threshold_can_be_overridden(monkeypatch):
    """The target's threshold replaces the default, and a passing finding accuses nobody."""
    [finding] = run(high, Parts(), monkeypatch, thresholds={"high": {"bound": 3.0}}).findings
    assert finding.status is Status.PASS
    assert finding.faults == {}
    assert finding.fix is None


def test_a_missing_part_skips_the_check_with_the_reason(monkeypatch):
    """What the target does not declare is skipped, not failed."""
    [finding] = run(high, Parts(), monkeypatch, needs={"model"}).findings
    assert finding.status is Status.SKIPPED
    assert "declares no model" in finding.message


def test_the_users_code_raising_is_a_failed_finding(monkeypatch):
    """A part whose code raised fails its own layer, not the check."""
    error = UserCodeError(Layer.PREPROCESSING, "preprocess", ValueError("no such column"), Path("/nowhere"))
    [finding] = run(high, Parts(batch=error), monkeypatch, needs={"batch"}).findings
    assert finding.layer is Layer.PREPROCESSING
    assert finding.status is Status.FAIL
    assert "no such column" in finding.message


def test_the_users_line_is_the_place_of_what_it_raised(monkeypatch, tmp_path):
    """File, line and function are values; where no line is known, the part of the target is."""
    names, source = {}, "def build():\n    raise ValueError('no')"
    (tmp_path / "target.py").write_text(source)
    exec(compile(source, str(tmp_path / "target.py"), "exec"), names)
    with pytest.raises(ValueError) as raised:
        names["build"]()
    for cause, place in (
        (raised.value, Place(Kind.LINE, ("build",), file="target.py", line=2)),
        (ValueError("no"), Place.setting("model")),
    ):
        [finding] = run(
            high, Parts(model=UserCodeError(Layer.MODEL, "model", cause, tmp_path)), monkeypatch, needs={"model"}
        ).findings
        assert finding.where == place


def test_personal_data_in_the_names_of_a_place_are_masked(monkeypatch):
    """What a report may not quote is in no name of a place either."""

    class Masking(Parts):
        def masked(self, text):
            return text.replace("eve", "•")

    def named(subject, *, bound=1.0):
        yield judge(2.0, above=bound, message="eve is high", where=Place.columns("age", "eve"))

    [finding] = run(named, Masking(), monkeypatch).findings
    assert finding.where == Place.columns("age", "•") and "eve" not in finding.message


def test_a_text_in_place_of_a_place_is_an_error_of_the_check(monkeypatch):
    """A check of a third party that says where in prose is told what is expected, and the run goes on."""

    def prose(subject, *, bound=1.0):
        yield judge(2.0, above=bound, message="2.0 is high", where="fc1")

    [finding] = run(prose, Parts(), monkeypatch).findings
    assert (
        finding.status is Status.ERROR and "where must be a Place" in finding.message and "got str" in finding.message
    )


def test_a_bad_target_is_not_swallowed(monkeypatch):
    """A TargetError ends the run: it is the caller's mistake."""
    with pytest.raises(TargetError):
        run(high, Parts(raw=TargetError("data.train: there is no file x")), monkeypatch, needs={"raw"})


def test_a_crash_inside_a_check_is_an_error_and_keeps_what_it_found(monkeypatch):
    """Findings yielded before the crash stay."""

    def crashing(subject):
        yield passed("so far so good")
        raise RuntimeError("oh")

    findings = run(crashing, Parts(), monkeypatch).findings
    assert [finding.status for finding in findings] == [Status.PASS, Status.ERROR]


def test_a_check_that_finds_nothing_to_look_at_is_skipped(monkeypatch):
    """An empty generator is not a pass."""

    def silent(subject):
        yield from ()

    [finding] = run(silent, Parts(), monkeypatch).findings
    assert finding.status is Status.SKIPPED


def test_a_deep_check_does_not_run_at_standard_depth(monkeypatch):
    """A check runs at its own depth and deeper."""
    assert run(high, Parts(), monkeypatch, depth=Depth.DEEP).findings == ()
    assert len(run(high, Parts(), monkeypatch, depth=Depth.DEEP, at=Depth.DEEP).findings) == 1


def test_nan_lies_beyond_every_bound():
    """A value that is not a number fails."""
    assert judge(float("nan"), above=1.0, message="nan").status is Status.FAIL
    assert judge(float("nan"), below=1.0, message="nan").status is Status.FAIL


def test_judge_takes_exactly_one_bound():
    """Two bounds or none is a bad call."""
    with pytest.raises(ValueError, match="exactly one"):
        judge(1.0, message="?")
    with pytest.raises(ValueError, match="exactly one"):
        judge(1.0, above=0, below=2, message="?")


@pytest.mark.parametrize("layer", [Layer.DATA, Layer.PREPROCESSING, Layer.MODEL, Layer.TRAINING, Layer.DEPLOYMENT])
def test_every_layer_has_checks_that_accuse_known_faults(layer):
    """Each check's faults are ids of the fault reference, with weights between 0 and 1."""
    from firstfault.faults import FAULTS

    entries = checks.checks_of(layer)
    assert entries
    for entry in entries:
        assert set(entry.detects) <= set(FAULTS) | {"user_code_raises"}, entry.name
        assert all(0 < weight <= 1 for weight in entry.detects.values()), entry.name
        assert entry.doc, entry.name
