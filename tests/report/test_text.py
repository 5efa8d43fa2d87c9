"""The verdict in the terminal and in markdown says what the page says."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status
from firstfault.output.numbers import brief, duration, number, percent
from firstfault.place import Place
from firstfault.report.ladder_view import Standing, rungs_of
from firstfault.report.markdown import layer_markdown, verdict_markdown
from firstfault.report.terminal import render_verdict
from firstfault.verdict import Change, Fault, Outcome, Swap, Verdict, VerdictStatus

FAULT = Fault(
    "dead_relu",
    Layer.MODEL,
    0.9,
    True,
    ("80 % of the units are dead",),
    "use He initialisation",
    (Place.modules("fc1"),),
    Swap("reinitialise", "accuracy", 0.5, 0.9, 3, 0.01),
)


def report(layer, *statuses, suspect=False):
    findings = tuple(
        Finding(f"check{number}", layer, status, f"message {number}") for number, status in enumerate(statuses)
    )
    return LayerReport(layer, findings, 1.5, suspect)


def faulty(keep_going=False):
    layers = [
        report(Layer.DATA, Status.PASS),
        report(Layer.PREPROCESSING, Status.WARN),
        report(Layer.MODEL, Status.FAIL, Status.PASS),
    ]
    if keep_going:
        layers.append(report(Layer.TRAINING, Status.PASS, suspect=True))
    return Verdict("churn", VerdictStatus.FAULTY, (FAULT,), tuple(layers), 31.0)


def shown(verdict, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(render_verdict(verdict))
    return console.file.getvalue()


def test_a_panel_without_a_fault_tells_the_first_warnings():
    """What is odd but no fault is told by its words, a few of it, with how many more there are."""
    odd = Verdict("churn", VerdictStatus.HEALTHY, (), (report(Layer.TRAINING, *[Status.WARN] * 6),), 3.0)
    text = shown(odd)
    assert "to look at  check0: message 0" in text and "message 3" in text
    assert "message 4" not in text and "and 2 more in the report" in text


def test_the_panel_tells_fault_place_evidence_remedy_and_swap():
    """Everything to act on is in the panel."""
    text = shown(faulty())
    for words in (
        "FAULTY",
        "first in model",
        "dead_relu",
        "fc1",
        "80 % of the units",
        "use He initialisation",
        "0.500 → 0.900",
        "confirmed",
    ):
        assert words in text


CHANGE = Change("train.py", 22, "    sgd = SGD(net.parameters(), lr=3.0)", "    sgd = SGD(net.parameters(), lr=0.3)")


def test_a_change_is_shown_as_a_diff():
    """In the panel and in markdown, without the indentation of the line; an added line has no other beside it."""
    verdict = replace(faulty(), faults=(replace(FAULT, change=CHANGE),))
    panel, markdown = shown(verdict), verdict_markdown(verdict)
    for text in (panel, markdown):
        assert "- sgd = SGD(net.parameters(), lr=3.0)" in text and "+ sgd = SGD(net.parameters(), lr=0.3)" in text
    assert "train.py:22" in markdown and "```diff\n- sgd" in markdown
    added = replace(FAULT, change=Change("train.py", 22, "", "    model.eval() # ``` "))
    assert "change    + model.eval()" in shown(replace(faulty(), faults=(added,)))
    assert "\n````diff\n+ model.eval() # ``` \n````\n" in verdict_markdown(replace(faulty(), faults=(added,)))


def test_the_panel_has_the_ladder():
    """Each layer has its mark."""
    lines = {line.split()[2]: line for line in shown(faulty()).splitlines() if "┤" in line}
    marks = [lines[layer.value.capitalize()].split("├")[1][0] for layer in LADDER]
    assert marks == ["✓", "!", "✗", "·", "·"]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_panel_fits_any_width(width):
    """No line is longer than the terminal."""
    assert all(len(line) <= width for line in shown(faulty(), width).splitlines())


def test_markup_in_names_is_text():
    """A name in brackets is not taken for a style."""
    verdict = Verdict("[red]x[/red]", VerdictStatus.HEALTHY, (), (report(Layer.DATA, Status.PASS),), 1.0)
    assert "[red]x[/red]" in shown(verdict)


@pytest.mark.parametrize("status", list(VerdictStatus))
def test_every_status_has_a_panel_and_markdown(status):
    """Healthy, faulty and error, without any layer."""
    verdict = Verdict("t", status, (), (), 0.0)
    assert status.value.upper() in shown(verdict)
    assert f"# t: {status.value}" in verdict_markdown(verdict)


def test_a_layer_stands_where_its_findings_put_it():
    """Sound, noticed, faulty, suspect, unreached."""
    standings = {rung.layer: rung.standing for rung in rungs_of(faulty(keep_going=True))}
    assert standings == {
        Layer.DATA: Standing.SOUND,
        Layer.PREPROCESSING: Standing.NOTICED,
        Layer.MODEL: Standing.FAULTY,
        Layer.TRAINING: Standing.SUSPECT,
        Layer.DEPLOYMENT: Standing.UNREACHED,
        Layer.SAFETY: Standing.UNREACHED,
    }


def test_a_layer_that_was_not_asked_for_is_not_called_unreached():
    """With one layer alone examined, the others are left out."""
    verdict = Verdict("t", VerdictStatus.HEALTHY, (), (report(Layer.MODEL, Status.PASS),), 1.0)
    assert rungs_of(verdict)[0].state == "not examined"


def test_only_the_layer_that_ends_the_walk_stops_it():
    """After --keep-going, nothing is said to stop."""
    assert [rung.layer for rung in rungs_of(faulty()) if rung.stops] == [Layer.MODEL]
    assert not any(rung.stops for rung in rungs_of(faulty(keep_going=True)))


def test_markdown_tells_the_fault_and_the_ladder():
    """Fault, swap and a row for each layer."""
    text = verdict_markdown(faulty())
    for words in (
        "first in model",
        "`dead_relu`",
        "**Place**: fc1",
        "accuracy 0.500 → 0.900",
        "p = 0.01",
        "| ✗ | model | faulty |",
    ):
        assert words in text


def test_a_layer_in_markdown_has_its_bad_findings_in_full():
    """Good ones are counted."""
    text = layer_markdown(report(Layer.MODEL, Status.PASS, Status.FAIL, Status.SKIPPED))
    assert "✗ **check1**: message 1" in text and "1 passed, 1 skipped" in text and "check0" not in text


def test_markdown_of_users_takes_no_effect():
    """Tags, pipes, links and newlines in a message stay text."""
    evil = Finding("x", Layer.DATA, Status.FAIL, "<script>a</script> | [b](http://c)\n# d", where=Place.columns("*e*"))
    text = layer_markdown(LayerReport(Layer.DATA, (evil,), 0.1))
    assert "<script>" not in text and "\\| \\[b\\](http" in text and "\n# d" not in text and "\\*e\\*" in text


def test_many_bad_findings_are_cut_in_markdown():
    """An artifact stays readable."""
    assert "and 450 more" in layer_markdown(report(Layer.DATA, *[Status.FAIL] * 500))


def test_the_reason_of_an_untested_fault_is_told():
    """The panel says why no swap was run."""
    fault = Fault("dead_relu", Layer.MODEL, 0.7, None, (), "fix")
    verdict = Verdict(
        "t",
        VerdictStatus.FAULTY,
        (fault,),
        (),
        1.0,
        outcomes=(Outcome("dead_relu", None, reason="the model has no ReLU"),),
    )
    assert "not tested: the model has no ReLU" in shown(verdict)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (0, "0"),
        (12345, "12,345"),
        (-3, "−3"),
        (0.5, "0.5"),
        (0.123456, "0.1235"),
        (48211.4, "48,211"),
        (5.4e7, "5.4e7"),
        (1.25e-5, "1.25e−5"),
        (float("nan"), "NaN"),
        ("-inf", "−∞"),
        (-0.25, "−0.25"),
        (100.0, "100"),
    ],
)
def test_numbers_are_short(value, text):
    """Four significant digits, thousands apart."""
    assert number(value) == text


def test_small_words():
    """Durations, shares and nested values."""
    assert (duration(0.42), duration(31.2), duration(125), duration(120)) == ("0.4 s", "31 s", "2 min 5 s", "2 min")
    assert (percent(0.999), percent(1.0), percent(0.5)) == ("99 %", "100 %", "50 %")
    assert brief({"a": [1, 2.5], "b": None}) == "a 1, 2.5, b –"


def undecided():
    """A verdict with one failed check that no swap could try."""
    failed = Finding(
        "random_labels",
        Layer.DATA,
        Status.FAIL,
        "no order (undecided: no model)",
        where=Place.labels("train"),
        fix="check the join",
    )
    layers = (LayerReport(Layer.DATA, (failed,), 1.0), report(Layer.MODEL, Status.PASS))
    return Verdict("churn", VerdictStatus.UNDECIDED, (), layers, 31.0)


def test_an_undecided_verdict_says_what_failed_why_it_is_open_and_what_to_do():
    """In the terminal and in markdown; its layer is neither sound nor at fault."""
    for text in (shown(undecided()), verdict_markdown(undecided())):
        for words in (
            "1 check failed, and could be neither proven nor refuted",
            "random_labels",
            "no order (undecided: no model)",
            "check the join",
        ):
            assert words in text
    assert "UNDECIDED" in shown(undecided())
    assert rungs_of(undecided())[0].standing is Standing.UNDECIDED and rungs_of(undecided())[0].mark == "?"
