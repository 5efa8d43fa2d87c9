"""The command line: exit codes, sentences for bad calls, and what is left after an interruption."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest
from command_line import begin, call_here, environment, run_in
from mlflow import MlflowClient


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """A function that runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(environment()))
    return partial(call_here, monkeypatch, capsys)


@pytest.fixture
def spoilt(call, tmp_path):
    """A function that writes the starter target with one part of it replaced; the path of the file."""

    def write(old, new):
        assert call("init", tmp_path / "project")[0] == 0
        file = tmp_path / "project" / "target.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return file

    return write


FRAME = "return load_breast_cancer(as_frame=True).frame"
BAD = {
    "missing data file": ("train=load,", 'train="gone.csv",', r"data\.train: there is no file .*gone\.csv"),
    "unknown column": (
        'label="target"',
        'label="tarject"',
        r"data\.train has no column 'tarject'; its columns are mean radius",
    ),
    "empty table": (FRAME, FRAME + ".iloc[:0]", r"data\.train must have at least one row, but it is an empty table"),
    "wrong task": (
        'task="classification"',
        'task="clasification"',
        r"task must be one of classification, .* but got 'clasification'",
    ),
    "does not import": (
        "import torch\n",
        "import torch\nimport not_there\n",
        r"target\.py doesn't import: ModuleNotFoundError at target\.py:6",
    ),
    "syntax error": ("def load():", "def load(:", r"target\.py doesn't import: SyntaxError"),
    "unknown check": (
        'name="starter",',
        'name="starter", thresholds={"duplicates": {}},',
        r"thresholds must name checks, but got 'duplicates'",
    ),
    "unknown threshold": (
        'name="starter",',
        'name="starter", thresholds={"group_overlap": {"part": 1}},',
        r"must name share, but got 'part'",
    ),
    "bad number": ("epochs=15", "epochs=0", r"training\.epochs must be .*, but got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_target_gets_one_sentence_and_exit_code_2(call, spoilt, name):
    """It says what was expected and what came, without a traceback."""
    old, new, sentence = BAD[name]
    code, _, err = call("debug", spoilt(old, new))
    assert code == 2 and re.search(sentence, err) and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["debug", "gone.py"], "there is no target file"),
        (["debug", "not_a_module:target"], "not_a_module"),
        (["debug", "x.py", "--set", "training.epochs"], "--set must be K=V, but got 'training.epochs'"),
        (["debug", "x.py", "--depth", "deeper"], "deeper"),
        (["debug", "x.py", "--where", "head"], "--where must come with --only model"),
        (["sweep", "gone.py"], "there is no target file"),
        (["sweep", "x.py", "--factors", "magic"], "but got magic"),
        (["sweep", "x.py", "--grid", "lr=0.1..1"], "grid must list values, but got the range 'lr=0.1..1'"),
        (["sweep", "x.py", "--grid", "lr=1,2", "--tune", "lr=1..2"], "a sweep has one mode, but got grid and tune"),
        (["sweep", "x.py", "--seeds", "40"], "seeds must be 2 to 32, but got 40"),
        (["sweep", "x.py", "--workers", "0"], "--workers"),
        (["sweep", "x.py", "--engine", "clouds"], "clouds"),
        (["checks", "nonsense"], "there is no check 'nonsense'"),
        (["report"], "there is no run 'last'"),
        (["frobnicate"], "frobnicate"),
        (["debug", "x.py", "--json", "absent/v.json"], "its folder must exist"),
        (["debug", "x.py", "--json", "."], "is a folder"),
        (["sweep", "x.py", "--factors", ""], "factors must be among"),
        (["run", "gone.py"], "there is no script gone.py"),
        (["run", "-m", "gone_module"], "there is no module gone_module"),
        (["up", "--port", "99999"], "65535"),
        (["up", "--port", "4201", "--mlflow-port", "4201"], "must have a port each"),
        (["init", "/dev/null"], "must be a folder that can be written"),
    ],
)
def test_a_bad_call_gets_exit_code_2(call, arguments, sentence):
    """The sentence names what was wrong."""
    code, _, err = call(*arguments)
    assert code == 2 and sentence in err


def test_a_script_that_trains_nothing_is_not_called_healthy(call, tmp_path):
    """There was nothing to judge, and that is said; a script that leaves with an error is a finding."""
    (tmp_path / "empty.py").write_text("x = 1\n")
    code, _, err = call("run", "empty.py")
    assert code == 2 and "no backward pass was seen" in err
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit('no data')\n")
    code, out, _ = call("run", "leaves.py")
    assert code == 1 and "leaves.py:2" in out


def test_a_script_that_raises_shows_its_own_lines_only(call, tmp_path):
    """As Python would print it, without the frames that ran it."""
    (tmp_path / "raises.py").write_text("def broken():\n    raise ValueError('boom')\n\n\nbroken()\n")
    code, _, err = call("run", "raises.py")
    assert code == 1 and "ValueError: boom" in err and err.count("File ") == 2 and "runpy" not in err


RAISES = "print('of the script')\n\n\ndef broken():\n    raise ValueError('boom')\n\n\nbroken()\n"


def test_annotations_point_to_the_line_of_the_script(call, tmp_path):
    """GitHub's are on standard output beside what people read, or in the file that `--output` names."""
    (tmp_path / "raises.py").write_text(RAISES)
    code, out, _ = call("run", "--format", "github", "raises.py")
    assert code == 1 and "\n::error file=raises.py,line=5,title=" in out and "FAULTY" in out
    code, out, _ = call("run", "--format", "github", "--output", "notes.txt", "raises.py")
    assert code == 1 and "::error" not in out
    assert (tmp_path / "notes.txt").read_text().startswith("::error file=raises.py,line=5,")


def test_a_document_on_standard_output_is_alone_there(call, tmp_path):
    """What the script prints, and what people read, goes to standard error."""
    (tmp_path / "raises.py").write_text(RAISES)
    code, out, err = call("run", "--format", "sarif", "raises.py")
    [result] = json.loads(out)["runs"][0]["results"]
    assert code == 1 and result["ruleId"] == "user_code_raises" and "of the script" in err and "FAULTY" in err


def test_a_place_for_annotations_needs_their_format(call, tmp_path):
    """`--output` alone is a bad call, said before the script runs."""
    (tmp_path / "raises.py").write_text(RAISES)
    code, out, err = call("run", "--output", "notes.txt", "raises.py")
    assert code == 2 and "--output must come with --format" in err and "of the script" not in out + err


def test_a_run_whose_verdict_is_torn_is_told_in_a_sentence(call, tmp_path):
    """`report` names the file that can't be read."""
    folder = tmp_path / ".firstfault" / "runs" / "20260101-000000-aaaa"
    folder.mkdir(parents=True)
    (folder / "report.html").touch()
    (folder / "verdict.json").write_text('{"target": ')
    code, _, err = call("report")
    assert code == 2 and "verdict.json must hold what came of the run" in err


def test_init_does_not_overwrite(call, tmp_path):
    """A second `init` in the same folder is refused."""
    assert call("init", tmp_path / "a")[0] == 0
    code, _, err = call("init", tmp_path / "a")
    assert code == 2 and "must not exist yet" in err


def test_checks_are_listed_and_explained(call):
    """Every check is in the list; one is explained with its thresholds and source."""
    code, out, _ = call("checks")
    assert code == 0 and "missing_zero_grad" in out and "expectations" in out
    code, out, _ = call("checks", "dead_relu")
    assert code == 0 and "inactive_share" in out and "SageMaker" in out


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("PREFECT_API_URL", "Prefect must answer at http://127.0.0.1:9/api"),
        ("MLFLOW_TRACKING_URI", "MLflow must answer at http://127.0.0.1:9"),
    ],
)
def test_a_dead_server_gets_one_sentence(call, tmp_path, monkeypatch, variable, sentence):
    """A server that the user names, and that does not answer."""
    assert call("init", tmp_path)[0] == 0
    monkeypatch.setenv(variable, sentence.rpartition(" ")[2])
    code, _, err = call("debug", "target.py")
    assert code == 2 and sentence in err and len(err.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the starter target."""
    folder = tmp_path_factory.mktemp("project")
    run_in(folder, "init", ".")
    return folder


def runs_of(folder):
    """The parent runs of the project's experiment in MLflow, newest first."""
    client = MlflowClient(f"sqlite:///{folder / '.firstfault' / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("starter").experiment_id])
    return client, [run for run in found if "mlflow.parentRunId" not in run.data.tags]


def test_a_run_writes_its_verdict(project):
    """A healthy one: exit code 0, the JSON by the schema, a report, and a run tree in MLflow."""
    import jsonschema

    from firstfault.verdict import schema

    ended = run_in(project, "debug", "target.py", "--json", "v.json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    verdict = json.loads((project / "v.json").read_text())
    jsonschema.validate(verdict, schema())
    assert verdict["status"] == "healthy" and verdict["faults"] == []
    assert "HEALTHY" in ended.stdout and "Traceback" not in ended.stdout + ended.stderr
    client, parents = runs_of(project)
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert "\n**starter: healthy" in parents[0].data.tags["mlflow.note.content"]
    children = client.search_runs(
        [parents[0].info.experiment_id], f"tags.`mlflow.parentRunId` = '{parents[0].info.run_id}'"
    )
    assert {run.info.run_name for run in children} >= {
        "data",
        "preprocessing",
        "model",
        "training",
        "deployment",
        "safety",
    }
    expect_a_readable_page(client, parents[0])
    import mlflow.pyfunc

    model = client.search_logged_models([parents[0].info.experiment_id])[0]
    loaded = mlflow.pyfunc.load_model(model.artifact_location)
    assert loaded.metadata.signature is not None and model.source_run_id == parents[0].info.run_id
    assert run_in(project, "report").stdout.startswith("starter: healthy")


def expect_a_readable_page(client, run):
    """It is named by its verdict, has a row for the table, and its report's links lead to files that are there."""
    assert run.info.run_name == "✓ healthy"
    assert [run.data.tags[name] for name in ("verdict", "faulty_layer", "fault")] == ["healthy", "none", "none"]
    assert run.data.metrics["accuracy"] == round(run.data.metrics["validation_metric"], 4)
    kind = client.get_experiment(run.info.experiment_id).tags
    assert kind["mlflow.experimentKind"] == "custom_model_development"
    columns = json.loads(json.loads(kind["mlflow.sharedViewState.firstfault"])["state"])["selectedColumns"]
    assert {"metrics.`accuracy`", "tags.`verdict`", "tags.`faulty_layer`", "tags.`fault`"} <= set(columns)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"layers", "report.html", "verdict.json"}
    root = Path(client.download_artifacts(run.info.run_id, ""))
    shelves = {path.name: path.parent.name for path in (root / "layers").glob("*/*")}
    for name, layer in {
        "gx_result.html": "data",
        "profile.html": "data",
        "model_summary.txt": "model",
        "tensorboard": "training",
        "layer_5_deployment.json": "deployment",
        "failure_cases.json": "safety",
        "safety_evaluation_report.pdf": "safety",
    }.items():
        assert shelves[name] == layer, name
    page = (root / "report.html").read_text()
    links = re.findall(r'href="(\./[^"]+)"', page)
    assert len(links) > 10 and [link for link in links if not (root / unquote(link)).exists()] == []
    assert "http://127.0.0.1" not in page and "trained.pt" not in shelves


def test_nothing_is_lost_when_a_run_is_struck_down(project):
    """By kill -9 or Ctrl-C: what was measured stays on disk; the next run works, and MLflow shows both as killed."""
    folders = [struck_down(project, blow, code) for blow, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130))]
    assert run_in(project, "debug", "target.py", "--depth", "quick").returncode == 0
    _, parents = runs_of(project)
    for folder in folders:
        struck = next(run for run in parents if run.data.tags["firstfault.run_folder"] == str(folder))
        assert struck.info.status == "KILLED" and struck.data.tags["firstfault.status"] == "killed"


def struck_down(project, blow, code):
    """Begin a run whose training has no end, and strike it down after its second layer; the run's folder."""
    runs = project / ".firstfault" / "runs"
    before = set(runs.glob("*"))
    process = begin(project, "debug", "target.py", "--depth", "quick", "--set", "training.epochs=1000000")
    folder = wait_for(
        lambda: next((path.parent for path in runs.glob("*/layer_2_*") if path.parent not in before), None), process
    )
    process.send_signal(blow)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert (folder / "layer_1_data.json").is_file() and "Traceback" not in printed
    assert blow == signal.SIGKILL or f"interrupted; what was measured is in {folder}" in printed
    return folder


def test_a_sweep_that_is_struck_down_is_resumed(project, monkeypatch):
    """After Ctrl-C, and after kill -9 in a training that also tore the journal, what has ended is not trained again."""
    from firstfault.ablation.sweeps.sweep import sweep
    from firstfault.subject.subject import Subject
    from firstfault.target.loader import load_target

    settings = ("--factors", "lower_rate,longer", "--seeds", "2")
    assert "`--resume` goes on" in strike(project, signal.SIGINT, "training 2 of 6", *settings, code=130)
    workers = strike(project, signal.SIGKILL, "2 of 5 done", "--resume", "--workers", "2")
    assert len(workers) == 2 and not psutil.wait_procs(workers, timeout=30)[1]
    with (project / ".firstfault" / "optuna.journal").open("a") as file:
        file.write('{"op_code": 4, "wor')
    trained = []
    monkeypatch.chdir(project)
    result = sweep(
        Subject(load_target(str(project / "target.py")), project / "run"), resume=True, on_trial=trained.append
    )
    assert [row.seeds for row in result.rows] == [2, 2, 2] and result.left == 0
    assert len(trained) <= 3 and len(result.trials) == 6  # one had ended before Ctrl-C, and two before kill -9


def strike(folder, blow, line, *arguments, code=-signal.SIGKILL):
    """Begin a sweep, strike it down once it has printed a line; its workers, or what it said after Ctrl-C."""
    process = begin(folder, "sweep", "target.py", *arguments)
    printed = []
    for text in process.stdout:
        printed.append(text)
        if line in text:
            break
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    process.send_signal(blow)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, "".join(printed) + said
    return said if blow == signal.SIGINT else workers


def wait_for(found, process, seconds=240):
    """What `found` gives as soon as it gives something, while a process works on it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if result := found():
            return result
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"it did not happen in time, or at all: {process.communicate()[0]}")


def test_a_full_disk_is_said_before_anything_starts(tmp_path):
    """With 10 MB free, the run is refused."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", folder], check=False, capture_output=True
    ).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        assert run_in(folder, "init", ".").returncode == 0
        ended = run_in(folder, "debug", "target.py")
        assert ended.returncode == 2 and "must have 50 MB free" in ended.stderr
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def test_the_command_line_imports_nothing_heavy():
    """`--help` must not wait for torch, MLflow or Prefect, and a guard can fork only before they are there."""
    heavy = ("torch", "mlflow", "prefect", "pandas", "numpy", "rich")
    code = (
        "import sys, firstfault.cli.app; from firstfault.runs.guard_process import guardable; "
        f"print([name for name in {heavy} if name in sys.modules], guardable(['debug', 'target.py']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {sys.platform == 'linux'}"


def test_the_starter_is_where_it_was_promised(project):
    """`init` wrote a target with comments."""
    text = Path(project / "target.py").read_text()
    assert "target = Target(" in text and "#" in text
