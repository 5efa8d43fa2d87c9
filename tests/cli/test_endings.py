"""How runs end that are struck down, whose servers die, or whose own code ends the process.

In time, with a sentence, and nothing left.

One slow target serves all: its training starts a loader whose workers ignore signals, says so by a file, and waits
for another.
"""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from command_line import COMMAND, begin, environment

from firstfault.cli.endings import ended_itself
from firstfault.runs.guard_process import COMMANDS, Told
from firstfault.runs.processes import answers, free_port

SLOW = Path(__file__).parents[2] / "benchmarks" / "slow"
LIMIT = 5.0
NOISE = (
    "View run",
    "View experiment",
    "Background on this error",
    "[SQL",
    "sqlalche.me",
    "Retrying (",
    "UserWarning",
    "Traceback",
)
CALLS = {
    "debug": ("debug", "target.py", "--depth", "quick", "--keep-going"),
    "run": ("run", "train.py"),
    "sweep": ("sweep", "target.py", "--factors", "lower_rate", "--seeds", "2", "--workers", "2"),
}


def without_torchs_own(said):
    """What was said, without what a fork of torch's loader says of the iterator that it inherited."""
    return re.sub(
        r"Exception ignored in: <function _MultiProcessingDataLoaderIter.*?AssertionError: [^\n]*\n?",
        "",
        said,
        flags=re.S,
    )


@pytest.fixture
def project(tmp_path):
    """A folder with the slow target and the slow script, and a state of its own."""
    folder = tmp_path / "project"
    shutil.copytree(SLOW, folder)
    (folder / ".firstfault").mkdir()
    return folder


def until_training(project, process):
    """Wait until the user's loop runs; the processes below the command line."""
    deadline = time.monotonic() + 300
    while not (project / "training").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.1)
    return psutil.Process(process.pid).children(recursive=True)


def only_run(project):
    """The folder of the project's one run."""
    return next((project / ".firstfault" / "runs").iterdir())


@pytest.mark.parametrize(
    ("call", "blow", "code"),
    [("debug", signal.SIGTERM, 143), ("run", signal.SIGINT, 130), ("sweep", signal.SIGTERM, 143)],
)
def test_a_signal_ends_everything_within_five_seconds(project, call, blow, code):
    """The exit code is that of the signal, one sentence says where what was measured lies, and no process is left."""
    process = begin(project, *CALLS[call])
    below = until_training(project, process)
    struck = time.monotonic()
    process.send_signal(blow)
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - struck < LIMIT and process.returncode == code, said
    assert (
        not [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        and len(below) >= 3
    )
    last = said.strip().splitlines()[-1]
    assert (
        last.startswith("firstfault: " + ("interrupted; " if blow == signal.SIGINT else "ended by SIGTERM; "))
        and str(only_run(project)) in last
    )
    kept = {"debug": "layer_1_data.json", "run": "verdict.json"}
    assert call not in kept or (only_run(project) / kept[call]).is_file()


def test_what_is_judged_ends_with_its_guard(project):
    """kill -9 of the process that was started leaves none of the others."""
    process = begin(project, *CALLS["run"])
    below = until_training(project, process)
    process.kill()
    process.communicate(timeout=60)
    assert not psutil.wait_procs(below, timeout=30)[1]


ENDS = {
    "os._exit(0)": ("os._exit(0)", 3, "train.py ended its process by os._exit(0) before it could be judged"),
    "os._exit(7)": ("os._exit(7)", 1, "train.py ended its process by os._exit(7)"),
    "a segmentation fault": ("os.kill(os.getpid(), 11)", 1, "train.py ended its process by signal 11 (SIGSEGV)"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_script_that_ends_its_process_is_no_silent_success(project, how):
    """Its exit code never says healthy; where the script itself says that it failed, that is a finding."""
    line, code, sentence = ENDS[how]
    (project / "train.py").write_text(f"import os\n{line}\n")
    process = begin(project, "run", "--json", "v.json", "--format", "github", "train.py")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code and sentence in said
    if code == 1:
        assert "\n::error file=train.py,title=" in said
        verdict = json.loads((project / "v.json").read_text())
        assert verdict["status"] == "faulty" and [fault["fault"] for fault in verdict["faults"]] == ["user_code_raises"]
        assert verdict["subject"] == "watched"
        assert (
            json.loads((only_run(project) / "verdict.json").read_text()) == verdict
            and (only_run(project) / "report.html").is_file()
        )


def test_a_target_that_ends_the_process_is_a_finding_of_the_layer_that_was_examined(project):
    """What was measured before is in the verdict too, which fits the schema."""
    import jsonschema

    from firstfault.verdict import schema

    text = (project / "target.py").read_text()
    (project / "target.py").write_text(text.replace("    learn(model, batches, 20)", "    import os\n    os._exit(0)"))
    process = begin(project, "debug", "target.py", "--depth", "quick", "--json", "v.json")
    said, _ = process.communicate(timeout=240)
    verdict = json.loads((project / "v.json").read_text())
    jsonschema.validate(verdict, schema())
    assert process.returncode == 1 and verdict["faults"][0]["fault"] == "user_code_raises"
    assert verdict["first_faulty_layer"] in ("model", "training") and verdict["layers"][0]["layer"] == "data"
    assert "the code of slow ended the process by os._exit(0)" in said and "FAULTY" in said


def test_a_target_that_ends_the_process_while_it_is_loaded_is_a_bad_call(project):
    """Nothing was measured, as with any target that can't be loaded."""
    (project / "target.py").write_text("import os\nos._exit(0)\n")
    process = begin(project, "debug", "target.py")
    said, _ = process.communicate(timeout=120)
    assert (
        process.returncode == 2
        and said
        == "firstfault: the target's code ended the process by os._exit(0) while it was loaded; nothing was measured\n"
    )


def test_a_debugger_keeps_its_terminal(project):
    """In a script under `run`, pdb reads from the terminal, and Ctrl-C there belongs to it."""
    (project / "train.py").write_text("import pdb\nseen = 41\npdb.set_trace()\nprint('went on', seen)\n")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project)
        os.execve(sys.executable, [*COMMAND, "run", "train.py"], environment(TERM="dumb"))
    read(terminal, "(Pdb) ")
    interrupt(terminal, until="(Pdb) ")
    os.write(terminal, b"seen + 1\n")
    assert "42" in read(terminal, "42")
    os.write(terminal, b"continue\n")
    assert "went on 41" in read(terminal, "no backward pass was seen")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


def interrupt(terminal, until):
    """Press Ctrl-C until the terminal shows `until`: Python loses one that comes between a prompt and its reading."""
    for _ in range(60):
        os.write(terminal, b"\x03")
        with contextlib.suppress(AssertionError):
            return read(terminal, until, seconds=2)
    raise AssertionError(f"Ctrl-C never led to {until!r}")


def read(terminal, text, seconds=120):
    """What a terminal shows until it shows `text`."""
    import select

    shown, deadline = "", time.monotonic() + seconds
    while text not in shown:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], shown
        shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A Prefect and an MLflow server of this module's own."""
    home = tmp_path_factory.mktemp("servers")
    ports = {"prefect": free_port(), "mlflow": free_port()}
    commands = {
        "prefect": ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"])],
        "mlflow": [
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(ports["mlflow"]),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{home}/mlflow.db",
            "--serve-artifacts",
            "--artifacts-destination",
            str(home / "artifacts"),
        ],
    }
    quiet = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (home / "log").open("wb") as log:
        started = {
            name: subprocess.Popen(
                [sys.executable, "-m", *command],
                env=environment(**quiet),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=home,
            )
            for name, command in commands.items()
        }
    health = {"prefect": "/api/health", "mlflow": "/health"}
    deadline = time.monotonic() + 180
    for name, port in ports.items():
        while not answers(f"http://127.0.0.1:{port}{health[name]}"):
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.3)
    yield ports, started
    for process in started.values():
        send(process, signal.SIGKILL)
        process.wait()


def send(process, signum):
    """Send a signal to a server and its workers."""
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        each.send_signal(signum)


def recorded(project, servers, blow=None):
    """Debug the slow target on both servers, which get `blow` while it trains; exit code and what was said."""
    ports, started = servers
    process = begin(
        project,
        "debug",
        "target.py",
        "--depth",
        "quick",
        "--only",
        "training",
        PREFECT_API_URL=f"http://127.0.0.1:{ports['prefect']}/api",
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{ports['mlflow']}",
    )
    until_training(project, process)
    if blow is not None:
        for server in started.values():
            send(server, blow)
    (project / "go").touch()
    said, _ = process.communicate(timeout=180)
    return process.returncode, said


def test_a_run_on_servers_is_recorded_on_both_and_says_nothing_of_theirs(project, servers):
    """The flow run ends in the named state, and MLflow's run knows it; no library's own line is between ours."""
    code, said = recorded(project, servers)
    assert code == 0 and not [word for word in NOISE if word in without_torchs_own(said)], said
    url = next(line.split()[-1] for line in said.splitlines() if line.startswith("Prefect "))
    flow_run = asked(f"http://127.0.0.1:{servers[0]['prefect']}/api/flow_runs/{url.rpartition('/')[2]}")
    assert flow_run["state_name"] == "Healthy" and flow_run["parameters"]["only"] == "training"
    verdict = json.loads((only_run(project) / "verdict.json").read_text())
    assert verdict["prefect_flow_run_id"] == flow_run["id"] and verdict["mlflow_run_id"] in said


def asked(url):
    """The JSON that a server answers; asked again while it is too busy, as its own client does."""
    for _ in range(20):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            assert refused.code == 503
            time.sleep(1)
    raise TimeoutError(url)


@pytest.mark.parametrize("blow", [signal.SIGSTOP, signal.SIGKILL], ids=["fall silent", "are killed"])
def test_a_run_whose_servers_leave_it_keeps_its_verdict(project, servers, blow):
    """It says so in one sentence each, writes verdict and report, and gives the verdict's exit code."""
    code, said = recorded(project, servers, blow)
    if blow == signal.SIGSTOP:
        for server in servers[1].values():
            send(server, signal.SIGCONT)
    assert code == 0 and "HEALTHY" in said and not [word for word in NOISE if word in without_torchs_own(said)], said
    assert said.count("MLflow no longer answers") == 1 and said.count("Prefect no longer answers") == 1
    assert {"verdict.json", "report.html"} <= {path.name for path in only_run(project).iterdir()}
    assert json.loads((only_run(project) / "verdict.json").read_text())["status"] == "healthy"


def test_a_store_that_can_not_be_written_is_said_at_once(project):
    """Before anything is started, without MLflow's retries."""
    process = begin(project, "debug", "target.py", MLFLOW_TRACKING_URI="sqlite:////proc/x.db")
    said, _ = process.communicate(timeout=60)
    assert (
        process.returncode == 2
        and len(said.strip().splitlines()) == 1
        and "MLflow's store sqlite:////proc/x.db must be a file" in said
    )


@pytest.mark.parametrize("variable", ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"])
def test_a_server_that_takes_connections_without_a_word_is_said(project, variable):
    """As one that is not there at all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = begin(project, "debug", "target.py", **{variable: url})
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 2 and f"must answer at {url}, but it takes connections without a word" in said


def test_without_a_server_a_run_is_bare(project):
    """It never imports Prefect, starts no process that stays, and says how to have the flow run recorded."""
    (project / "go").touch()
    process = begin(
        project, "debug", "target.py", "--depth", "quick", "--only", "training", PYTHONPROFILEIMPORTTIME="1"
    )
    said, _ = process.communicate(timeout=180)
    assert (
        process.returncode == 0
        and "`firstfault up` starts one" in said
        and not [line for line in said.splitlines() if line.endswith("| prefect")]
    )
    assert not (project / ".firstfault" / "services").exists()


def test_a_target_that_ends_the_diagnosis_of_an_incident_is_no_fault_of_what_was_served(tmp_path, capsys):
    """The offline truth alone is gone: the command failed, says where its files are, and gives no verdict."""
    assert "incident" in COMMANDS
    told = Told("incident", {"home": str(tmp_path), "folder": str(tmp_path), "target": "plans", "doing": "data"})
    assert ended_itself(told) == 3 and not (tmp_path / "verdict.json").exists()
    said = capsys.readouterr().err
    assert said.startswith(
        "firstfault: the code of plans ended the process by os._exit(0) before the diagnosis came to"
    )
