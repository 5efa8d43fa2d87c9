"""--timings: where the time went from Enter to the verdict."""

from __future__ import annotations

import pytest
from rich.console import Console

from firstfault import progress
from firstfault.cli.timings import Timings
from firstfault.finding import Layer, LayerReport
from firstfault.standing import conclude


def ended(layer: Layer) -> progress.LayerEnded:
    """A layer of which nothing was found."""
    return progress.LayerEnded(LayerReport(layer, (), 0.0))


@pytest.fixture
def clock():
    """A run from the call to its verdict, as events."""
    timings = Timings()
    timings.begin("imports")
    events = [
        progress.Phase("MLflow"),
        progress.LayerStarted(Layer.DATA),
        progress.CheckStarted(Layer.DATA, "label_noise", 0, 1),
        ended(Layer.DATA),
        progress.Phase("MLflow"),
        progress.Concluded(conclude("net", [], [], seconds=1.0)),
        progress.Phase("report"),
    ]
    for event in events:
        timings(event)
    return timings


def printed(timings: Timings) -> str:
    """The table as text."""
    console = Console(width=100)
    with console.capture() as capture:
        console.print(timings.table())
    return capture.get()


def test_every_phase_has_one_line(clock):
    """Phases are listed in the order in which they began; what comes back is added to its line."""
    lines = [line.split("  ")[0].strip() for line in printed(clock).splitlines()]
    order = ["python and the command line", "imports", "MLflow", "data", "report"]
    assert [line for line in lines if line in order] == order


def test_the_phases_make_up_the_whole(clock):
    """No second between Enter and the end is lost, and the verdict comes before the end."""
    whole = clock._mark[0] - clock.entered
    assert sum(span.wall for span in clock.spans.values()) == pytest.approx(whole)
    assert clock.verdict is not None and 0 < clock.verdict <= whole


def test_a_short_check_has_no_line(clock):
    """Only checks of 0.3 s and more are named."""
    clock.spans["data"].checks["label_noise"].wall = 0.1
    assert "label_noise" not in printed(clock)
    clock.spans["data"].checks["label_noise"].wall = 0.5
    assert "label_noise" in printed(clock)
