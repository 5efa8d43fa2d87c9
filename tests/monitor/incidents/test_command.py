"""`firstfault incident`: from an id, or a time, to the verdict, the report, and what is kept."""

import json
import sys
from pathlib import Path

import msgspec
import pytest
from served import START, Server
from target import rows

from firstfault.cli.app import command_line
from firstfault.errors import TargetError
from firstfault.monitor.diagnosing import judge, subject_of
from firstfault.monitor.found import window
from firstfault.monitor.incidents import Incident, Incidents
from firstfault.monitor.segments import Segment, hour_of
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store
from firstfault.output.whole_files import write_text
from firstfault.subject.offline import offline
from firstfault.subject.opening import subject_with_model

TARGET = Path(__file__).parent / "target.py"
SEEN = "the share of the answer 1 went from 52 % to 97 %"


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command in this process; its exit code, and what it said."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["firstfault", "incident", *map(str, words)])
        code = command_line()
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def store(base, tmp_path):
    """A store of 300 healthy requests and 200 whose amount is in cents, with the incident that these opened."""
    settings = settings_of(store=str(tmp_path / "store"), model="plans", sample=1.0)
    server, hour = Server(offline(base), settings), hour_of(START)
    frame, truth = rows(500, 21)
    frame.loc[300:, "amount"] *= 100
    served = server.serve(frame.to_dict("records"), truth)
    records = [msgspec.structs.replace(each, raw=f"{hour}/w:{place}") for place, each in enumerate(served)]
    segment = Segment(settings.folder, hour, "w")
    segment.write(records)
    segment.close()
    opened = records[340].time
    Incidents(Store(settings).database).keep(
        Incident(
            "i-7",
            "plans",
            "scores",
            records[300].time,
            opened,
            9.2,
            SEEN,
            closed=records[-1].time,
            requests=tuple(record.raw for record in records[300:340]),
            control=tuple(record.raw for record in records[:300]),
        )
    )
    return settings.folder


def test_an_incident_is_judged_reported_recorded_and_kept(command, store, tmp_path):
    """All requests of its time are looked at; the verdict is in the file, the report, MLflow and the store."""
    code, said = command("i-7", "--store", store, "--target", TARGET, "--bare", "--json", tmp_path / "v.json")
    assert (
        code == 1 and "unit_change" in said and "amount put back, and 200 samples replayed" in said.replace("\n", " ")
    )
    verdict = json.loads((tmp_path / "v.json").read_text())
    assert (verdict["subject"], verdict["target"], verdict["first_faulty_layer"]) == ("incident", "plans", "data")
    kept = Incidents(Store(settings_of(store=str(store))).database).get("i-7")
    assert kept.verdict["faults"][0]["fault"] == "unit_change" and kept.verdict["mlflow_run_id"]
    page = next((tmp_path / "home" / "runs").glob("*/report.html")).read_text()
    for words in (SEEN[1:], "Control beside incident", "The proof", 'class="cut red first"', "likeness to the control"):
        assert words in page
    assert "incident, amount put back" in page and "answered otherwise with amount put back" in page
    assert _mlflow_run(kept.verdict["mlflow_run_id"], tmp_path) == {"incident", "report.html", "verdict.json", "faulty"}
    code, said = command("list", "--store", store)
    assert code == 0 and "i-7  closed" in said and "data: unit_change" in said


def _mlflow_run(run_id, folder):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'home' / 'mlflow.db'}")
    files = {item.path for item in client.list_artifacts(run_id)}
    run = client.get_run(run_id)
    kind = (
        "incident" if "incident" in run.data.params["target"] or run.data.params["target"].endswith(":target") else ""
    )
    return {kind, *(files & {"report.html", "verdict.json"}), run.data.tags["firstfault.status"]}


def test_a_time_is_judged_without_a_target(store, tmp_path):
    """What can be judged by records alone is, and the rest is unproven."""
    found = window(Store(settings_of(store=str(store))), START + 299, START + 600, "plans")
    verdict = judge(subject_of(found.evidence, None, tmp_path / "run", "plans"))
    assert (len(found.records), len(found.control)) == (201, 299)
    assert [(fault.fault, fault.confirmed) for fault in verdict.faults] == [("unit_change", None)]
    assert verdict.outcomes[0].reason == "unproven: no target is given: what was served can't be replayed"


BAD = {
    "unknown": (("i-9",), "'i-9' must be an incident of"),
    "nothing": ((), "Usage"),
    "two things": (("i-7", "--since", "1"), "incident must be told one thing to look at"),
    "no time": (("--since", "noon", "--until", "1"), "--since must be a time as 2026-11-29T14:00"),
    "the wrong way round": (("--since", "9", "--until", "1"), "--since must lie before --until"),
    "an empty time": (("--since", "1", "--until", "9"), "there must be requests between"),
    "no such target": (("i-7", "--target", "nowhere.py"), "there is no target file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_gets_one_sentence(command, store, name):
    """What was expected and what came; exit 2."""
    words, sentence = BAD[name]
    code, said = command(*words, *(("--store", store, "--bare") if words else ()))
    assert (code if words else 2, sentence in " ".join(said.split())) == (2, True)


def test_an_empty_store_says_so(command, tmp_path):
    """Nothing was ever recorded there."""
    code, said = command("--since", "1", "--until", "9", "--store", tmp_path / "empty", "--bare")
    assert code == 2 and "there must be records in" in said


def test_a_target_of_other_columns_is_refused(command, store, tmp_path):
    """None of the requests has what it needs."""
    text = TARGET.read_text().replace('"age"', '"years"').replace("frame.age", "frame.years")
    write_text(tmp_path / "other.py", text)
    code, said = command("i-7", "--store", store, "--target", "other.py", "--bare")
    assert code == 2 and "none of them has years" in " ".join(said.split())


def test_a_dead_database_ends_with_3(command, store):
    """It does not answer."""
    code, said = command("i-7", "--store", store, "--bare", "--database", "sqlite:////nowhere/at/all.db")
    assert code == 3 and "the monitor's database must answer" in said


def test_the_model_of_the_last_debug_run_answers_again(base, tmp_path):
    """Its weights are taken, by whichever name of the target; a network that has changed since is refused."""
    from firstfault.runs.ref import RunRef
    from firstfault.subject.kept_model import keep

    run = tmp_path / "runs" / "20260101-000000-aaaa"
    run.mkdir(parents=True)
    keep(base.trained, run)
    RunRef(f"{TARGET.resolve()}:target", str(run), str(tmp_path)).keep()
    subject = subject_with_model(str(TARGET), {}, tmp_path / "now", tmp_path / "runs")
    asked = offline(subject).prepared(rows(20, 3)[0].to_dict("records"))
    assert (offline(subject).outputs(asked) == offline(base).outputs(asked)).all()
    changed = tmp_path / "changed" / "target.py"
    changed.parent.mkdir()
    write_text(changed, TARGET.read_text().replace("16", "24"))
    RunRef(f"{changed.resolve().parent}:target", str(run), str(tmp_path)).keep()
    with pytest.raises(TargetError, match="must hold the weights of the network that the target builds now"):
        offline(subject_with_model(str(changed), {}, tmp_path / "later", tmp_path / "runs"))


def test_a_lazy_network_of_which_no_model_is_kept_is_trained(tmp_path):
    """Its layers have weights that can be counted once they were called."""
    lazy = tmp_path / "lazy.py"
    write_text(lazy, TARGET.read_text().replace("nn.Linear(5, 16)", "nn.LazyLinear(16)"))
    subject = subject_with_model(str(lazy), {"training.epochs": "1"}, tmp_path / "now", tmp_path / "runs")
    asked = offline(subject).prepared(rows(20, 3)[0].to_dict("records"))
    assert offline(subject).outputs(asked).shape == (20, 2)
