"""`firstfault incident keep`, what becomes a case by itself, and `firstfault monitor to-label`."""

import csv
import json
from functools import partial

import numpy as np
import pytest
from command_line import call_here
from msgspec.structs import replace
from plans import write_target

from firstfault.behaviour.cases import cases_in
from firstfault.monitor.incidents import Incidents
from firstfault.monitor.keeping import keep_closed
from firstfault.monitor.segments import Segment
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store
from firstfault.monitor.to_label import UNSURE, Round, choose

KEEP = ("incident", "keep", "--store", "store")
TURNED = {"basic": "plus", "plus": "basic"}


@pytest.fixture
def store(plans, incident, tmp_path, monkeypatch):
    """A store with an incident that was judged, and its target beside it."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    _, rows, right = plans
    bad = [(row, TURNED[label]) for row, label in zip(rows[:60], right[:60], strict=True)]
    found = incident("label_map_mismatch", "deployment", bad, list(zip(rows[60:], right[60:], strict=True)))
    kept = Store(settings_of(store=tmp_path / "store", model="plans"))
    segment = Segment(kept.settings.folder, "2026-11-02T06", "000000000001")
    segment.write([*found.control, *found.records])
    segment.close()
    bad_ones, good_ones = (tuple(one.raw for one in side) for side in (found.records, found.control))
    closed = found.records[-1].time + 1
    Incidents(kept.database).keep(replace(found.incident, requests=bad_ones, control=good_ones, closed=closed))
    write_target(tmp_path)
    return kept


@pytest.fixture
def call(monkeypatch, capsys):
    """A function that runs the command line in this process."""
    return partial(call_here, monkeypatch, capsys)


def test_keep_writes_a_case_that_names_the_target_from_where_it_lies(store, call, tmp_path):
    """The folder is `cases` beside the target, and the case can be moved with both."""
    code, out, err = call(*KEEP, "inc-1", "--target", "target.py", "--json", "kept.json")
    assert code == 0 and "pytest --firstfault" in out, err
    told = json.loads((tmp_path / "kept.json").read_text())["case"]
    assert (told["target"], told["fault"], told["asked"]) == ("../target.py:target", "label_map_mismatch", "answers")


def test_what_cannot_be_kept_is_a_wrong_call(store, call):
    """An unknown id, and a target that is none: a sentence, exit 2."""
    code, _, err = call(*KEEP, "inc-9")
    assert code == 2 and "must be an incident of" in err
    code, _, err = call(*KEEP, "inc-1", "--target", "none.py")
    assert code == 2 and "none.py" in err


def test_what_closes_becomes_a_case_where_a_folder_is_set(store, tmp_path):
    """Each on its own: one whose requests are gone is told, and the other is kept."""
    closed = Incidents(store.database).all()
    gone = type(closed[0])("inc-0", "plans", "scores", 0.0, 0.0, 1.0, "", closed=1.0)
    kept = keep_closed(store, [gone, *closed], str(tmp_path / "target.py"), tmp_path / "kept")
    assert [case.id for case in kept] == ["inc-1"] == [case.id for _, case in cases_in(tmp_path / "kept")]


def test_what_to_label_next_is_written_as_a_table_to_be_filled_in(store, call, tmp_path):
    """By the user's assertion, severest first more often; what was chosen once is not chosen again."""
    (tmp_path / "own.py").write_text(
        "from firstfault.monitor import assertion\n\n\n@assertion\ndef large(asked, answered):\n"
        "    return max(0.0, asked['amount'] - 120)\n"
    )
    arguments = ("monitor", "to-label", "--assertions", "own.py", "--store", "store", "--budget", "5", "--to")
    codes = [call(*arguments, name)[0] for name in ("first.csv", "second.csv")]
    assert codes == [0, 0]
    chosen = [
        {row["request_id"] for row in csv.DictReader((tmp_path / f"{n}.csv").open())} for n in ("first", "second")
    ]
    assert len(chosen[0]) == 5 and not chosen[0] & chosen[1]


def test_the_bandit_asks_where_labels_have_helped(plans, incident):
    """An assertion that became rarer since the last round gets most of the budget; where none did, doubt decides."""
    _, rows, right = plans
    records = incident("label_map_mismatch", "deployment", list(zip(rows, right, strict=True)), []).records
    half = np.arange(len(records)) % 2 == 0
    found = {"helped": half * np.linspace(1, 2, len(records)), "not": ~half * 1.0}
    last = Round(0.0, {"helped": 0.9, "not": 0.5}, ())
    chosen = choose(records, found, 40, [last], np.random.default_rng(0))
    assert sum(choice.arm == "helped" for choice in chosen) > 28
    assert all(choice.severity > 0 for choice in chosen)
    same, sure = Round(0.0, {"helped": 0.5, "not": 0.5}, ()), [replace(one, confidence=0.9) for one in records]
    assert {choice.arm for choice in choose(sure, found, 40, [same], np.random.default_rng(0))} == {UNSURE}
