"""The log of firstfault's own runs, and the command that shows lines across stages."""

import json
import logging
import sys
from functools import partial

import pytest
from command_line import call_here

from firstfault import logs, progress
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.logs.run_log import RunLog
from firstfault.logs.trace_context import begin
from firstfault.watcher.watch import watch


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with a state folder, in which commands are called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FIRSTFAULT_HOME", raising=False)
    (tmp_path / ".firstfault" / "runs" / "r1").mkdir(parents=True)
    return tmp_path / ".firstfault"


@pytest.fixture
def call(home, monkeypatch, capsys):
    """A function that runs the command line in this process: exit code, standard output, standard error."""
    return partial(call_here, monkeypatch, capsys)


def told(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_writes_what_it_does_and_finds(home):
    """Layers, findings that fail, and warnings of firstfault's own, each with the run's id and its stage."""
    folder = home / "runs" / "r1"
    finding = Finding("label_noise", Layer.DATA, Status.FAIL, "7% of the labels are wrong", faults={"label_noise": 0.8})
    with progress.in_run(), RunLog(folder).following():
        progress.emit(progress.LayerStarted(Layer.DATA))
        progress.emit(progress.Found(finding))
        progress.emit(progress.Found(Finding("duplicates", Layer.DATA, Status.PASS, "no duplicates")))
        progress.emit(progress.LayerEnded(LayerReport(Layer.DATA, (finding,), 0.0)))
        logging.getLogger("firstfault.ablation").warning("a swap could not be applied")
    logging.getLogger("firstfault.ablation").warning("later")
    lines = told(folder)
    assert [line["message"] for line in lines] == [
        "data is examined",
        "7% of the labels are wrong",
        "data: 1 of 1 findings fail",
        "a swap could not be applied",
    ]
    assert {(line["labels"]["run_id"], line["labels"]["stage"]) for line in lines} == {("r1", "data")}
    assert lines[1]["labels"]["faults"] == '["label_noise"]' and lines[1]["log.level"] == "warning"


def test_what_ends_a_run_is_in_its_log(home):
    """With its traceback, and without the values that the run knows to be personal."""
    folder = home / "runs" / "r1"
    log = RunLog(folder, lambda text: text.replace("Quendel", "•"))
    with pytest.raises(ValueError, match="Quendel"), log.following("training"):
        raise ValueError("no row for Quendel")
    [line] = told(folder)
    assert line["error.message"] == "no row for •" and "Quendel" not in json.dumps(line)
    assert line["labels"]["stage"] == "training"


def test_a_watched_loop_writes_a_log(home):
    """Its ids are on the lines of the loop's own logs too, and what broke it is written."""
    folder = home / "runs" / "r1"
    log = logs.setup(service="train", logger="loop")
    with pytest.raises(RuntimeError), watch("net", folder=folder):
        logging.getLogger("loop").info("epoch 1")
        raise RuntimeError("the loop broke")
    log.close()
    assert [line["event.action"] for line in told(folder)] == ["run_opened", "run_failed"]
    [epoch] = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert epoch["labels"] == {"run_id": "r1", "stage": "training"}


@pytest.mark.parametrize("handlers", [0, 1])
def test_a_run_takes_no_warning_from_the_screen(home, handlers, capsys, monkeypatch):
    """A library's warning is shown as Python would without the log, and once."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stderr)] * handlers)
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(sys.stderr))
    with RunLog(home / "runs" / "r1").following():
        logging.getLogger("firstfault.ablation").warning("look here")
    assert capsys.readouterr().err == "look here\n"


def test_a_run_whose_folder_cannot_be_written_goes_on(home, caplog):
    """It says how many lines of its log were lost."""
    folder = home / "runs" / "r1"
    (folder / "log.jsonl").mkdir()
    log = RunLog(folder)
    with pytest.warns(RuntimeWarning), log.following():
        log.opened("x")
    assert "1 lines of the run's log" in caplog.text


@pytest.fixture
def served(home):
    """Lines of one trace by two services and a run, beside those of another; the trace."""
    span = begin()
    for service, stage in (("gateway", "serving"), ("model", "deployment")):
        log = logs.setup(service=service, logger=f"{service}.app")
        with logs.bound(stage=stage, trace=span.child(), incident="i7" if service == "model" else None):
            logging.getLogger(f"{service}.app").info("%s has it", service, extra={"n": 3})
        with logs.bound(trace=begin()):
            logging.getLogger(f"{service}.app").info("something else")
        log.close()
    with logs.bound(trace=span), RunLog(home / "runs" / "r1").following("data"):
        logging.getLogger("firstfault.data").warning("odd row")
    with (home / "logs" / "model.jsonl").open("a") as file:
        file.write('{"@timestamp": "torn ' + span.trace_id + "\n")
    return span


def test_a_trace_is_shown_across_stages_in_the_order_of_time(call, served):
    """Out of all files of the state folder, by the id or by a whole traceparent; a torn line is counted."""
    code, out, err = call("logs", "--trace", served.trace_id)
    lines = out.splitlines()
    assert code == 0 and [line.split()[1] for line in lines] == ["serving", "deployment", "data"]
    assert lines[0].endswith("gateway.app: gateway has it (n=3)") and "1 lines were torn" in err
    assert call("logs", "--trace", served.header())[1] == out


def test_a_run_and_an_incident_are_shown(call, served, tmp_path):
    """By their ids, together with a trace too, and as JSON into a file."""
    assert call("logs", "--run", "last")[1].count("\n") == 1
    assert "model has it" in call("logs", "--incident", "i7", "--trace", served.trace_id)[1]
    assert call("logs", "--run", "r1", "--json", tmp_path / "lines.json")[0] == 0
    [line] = json.loads((tmp_path / "lines.json").read_text())["lines"]
    assert line["message"] == "odd row" and line["labels"]["run_id"] == "r1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "logs needs --trace, --run or --incident with an id"),
        (["--run", "nix"], "no line of run nix is in the 3 log files of"),
        (["--run", "r1", "--incident", "i7"], "no line of run r1 and incident i7"),
        (["--trace", "x", "--folder", "gone"], "--folder must be a folder, but got gone"),
    ],
)
def test_a_call_that_shows_nothing_is_a_bad_one(call, served, arguments, sentence):
    """One sentence, and exit code 2."""
    code, out, err = call("logs", *arguments)
    assert code == 2 and sentence in err and out == ""


def test_a_line_behind_a_torn_one_is_read(home):
    """What a full disk has cut hides no line of another process."""
    (home / "logs").mkdir()
    whole = {"@timestamp": "2026", "message": "here", "labels": {"run_id": "r9"}}
    (home / "logs" / "a.jsonl").write_text('{"@timestamp": "2026", "mess' + json.dumps(whole) + "\n")
    from firstfault.logs.reading import Wanted, find

    assert find(home, Wanted(run="r9")).lines == [whole]
