"""The commands: what they say, and how they end."""

import json

import pytest
from typer.testing import CliRunner

from firstfault.cli.app import app
from firstfault.errors import FirstfaultError
from firstfault.monitor.overview import Overview


@pytest.fixture
def monitor(recorder, captured, settings):
    """Runs `firstfault monitor …` over a store with three requests."""
    for name, status in (("a", 200), ("b", 200), ("c", 503)):
        recorder.take(captured(name, status))
    recorder.written()

    def run(*arguments):
        return CliRunner().invoke(app, ["monitor", *arguments, "--store", settings.store])

    return run


def test_status_tells_what_there_is(monitor, tmp_path):
    """Requests, what is kept and why, and what was lost; the same as JSON."""
    found = monitor("status", "--json", str(tmp_path / "status.json"))
    assert found.exit_code == 0
    assert found.stdout.splitlines()[1:] == ["  of these 1 error", "3 are kept: 3 sample, 1 error", "nothing was lost"]
    *_, last = Overview("/srv/monitor", 3, {}, 3, {}, 0, {}, full=True).lines()
    assert last.startswith("the disk of /srv/monitor is full")
    assert json.loads((tmp_path / "status.json").read_text())["requests"] == 3


def test_labels_and_logs_and_prune(monitor, tmp_path):
    """Each says in a line what it did."""
    (tmp_path / "labels.csv").write_text("id,truth\na,1\nz,0\n")
    (tmp_path / "log.jsonl").write_text('{"key": "d", "age": 3}\n')
    labels = monitor("labels", str(tmp_path / "labels.csv"), "--id", "id", "--label", "truth")
    assert labels.stdout == "1 labels joined their requests; 1 are of unknown requests (z)\n"
    logs = monitor("logs", str(tmp_path / "log.jsonl"), "--column", "request_id=key")
    assert logs.stdout == "1 requests in 1 files\n"
    assert monitor("status").stdout.startswith("4 requests in")
    assert monitor("prune").stdout == "0 hours became Parquet; 0 files were removed (0 bytes)\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "must be told one thing to do"),
        (("--proxy", "http://x", "--receive"), "must be told one thing to do"),
        (("--receive", "--alert", "https://x"), "what records finds no incidents"),
        (("--receive", "--port", "1", "--host", "203.0.113.1"), "must be an address to listen at"),
    ],
)
def test_a_bad_call_ends_with_2(monitor, arguments, said):
    """What was expected and what came."""
    found = monitor(*arguments)
    assert found.exit_code == 2 and said in found.stderr


def test_a_bad_file_is_told(monitor, tmp_path):
    """The sentence is that of the error, which ends the command with 2."""
    found = monitor("labels", str(tmp_path / "absent.csv"))
    assert isinstance(found.exception, FirstfaultError) and "must be a file that can be read" in str(found.exception)


def test_a_dead_database_ends_with_3(monitor, tmp_path):
    """It is not the caller's mistake."""
    found = monitor("status", "--database", f"sqlite:///{tmp_path}/no/such/folder.db")
    assert found.exit_code == 3 and "database must answer" in found.stderr
