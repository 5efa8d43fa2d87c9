"""An incident with a verdict, its records and those of its control, as the monitor keeps them."""

import itertools

import numpy as np
import pytest
from plans import write_target

from firstfault.monitor.found import Found
from firstfault.monitor.incidents import Incident
from firstfault.monitor.record import Arm, Cuts, Outcome, Record, Stages
from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target

BEGAN = 1_793_600_000.0
_numbers = itertools.count()


def record(raw, label, *, time=BEGAN, truth=None):
    """One request that was answered."""
    number = next(_numbers)
    return Record(
        request_id=f"r-{number}",
        trace_id="0" * 32,
        span_id="0" * 16,
        time=time + number,
        way="function",
        model="plans",
        version="1",
        arm=Arm.CHAMPION,
        status=200,
        outcome=Outcome.OK,
        stages=Stages(0.01),
        cuts=Cuts(),
        raw=f"2026-11-02T06/000000000001:{number}",
        values={"raw": raw, "label": label},
        reasons=("sample",),
        weight=1.0,
        label=truth,
    )


@pytest.fixture(scope="session")
def plans(tmp_path_factory):
    """The target as it ought to be served, trained once, and rows with its own answers."""
    folder = tmp_path_factory.mktemp("plans")
    subject = Subject(load_target(str(write_target(folder))), folder / "run")
    frame = subject.raw.test.X
    with_answers = np.array(subject.classes)[subject.trained.model(subject.recipe.test.x).argmax(1).numpy()].tolist()
    return subject, frame.to_dict("records"), with_answers


@pytest.fixture
def incident():
    """A function that makes an incident of a fault, from requests and their answers, and from healthy ones."""

    def make(fault, layer, bad, good, truths=None):
        verdict = {
            "status": "faulty",
            "first_faulty_layer": layer,
            "faults": [{"fault": fault, "layer": layer, "confirmed": True, "remedy": "repair it", "where": []}],
        }
        told = Incident("inc-1", "plans", "scores", BEGAN, BEGAN, 12.0, "the scores moved", verdict=verdict)
        truths = truths if truths is not None else [None] * len(bad)
        records = [record(raw, label, truth=truth) for (raw, label), truth in zip(bad, truths, strict=True)]
        control = [record(raw, label, time=BEGAN - 9_000, truth=label) for raw, label in good]
        return Found(told, records, control, [*control, *records], {})

    return make
