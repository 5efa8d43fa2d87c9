"""A rollout as its processes: decided, interrupted, with a dead analysis, killed and begun again."""

import contextlib
import json
import os
import signal
import socket
import urllib.request

import psutil
import pytest
from arms import both, dead, predicting
from command_line import begin, call_here
from servers import answered, asked_json

from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store


@pytest.fixture(scope="module")
def servers():
    """A champion, and a challenger that fails on multiples of three."""
    with both(predicting(), predicting(lambda x: x % 3 == 0)) as ports:
        yield ports


class Live:
    """One call of the command, with its port."""

    def __init__(self, folder, servers, *options):
        self.port, self.folder = dead(), folder
        urls = [f"http://127.0.0.1:{port}" for port in servers]
        options = ["--port", self.port, "--store", "store", "--json", "out.json", "--every", "0.1", *options]
        self.process = begin(folder, "rollout", "--champion", urls[0], "--challenger", urls[1], *options)

    def ask(self, n):
        """Requests by ids; their statuses."""
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
                break
            assert self.process.poll() is None, self.process.stdout.read()
        return [
            int(answered(self.port, asked_json("/predict", {"x": x}, x_request_id=f"r{x}"))[9:12] or 0)
            for x in range(n)
        ]

    def child(self, name):
        """The process that analyses, or mirrors, once it is there."""
        while True:
            for child in psutil.Process(self.process.pid).children():
                if any(f"rollout.{name}" in word for word in child.cmdline()):
                    return child

    def child_lives(self, name):
        return any(
            f"rollout.{name}" in " ".join(child.cmdline()) for child in psutil.Process(self.process.pid).children()
        )

    def end(self, number=None):
        """Exit code and output, after a signal or without."""
        if number is not None:
            self.process.send_signal(number)
        output = self.process.communicate(timeout=120)[0]
        return self.process.returncode, output

    def await_worse(self, place):
        """Ask the endpoint until it says so; an analysis that is gone never will."""
        self.child("analysis")
        while self.process.poll() is None and self.child_lives("analysis"):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{place}/metric", timeout=20) as answer:
                if json.load(answer)["failed"]:
                    return

    def await_records(self, n):
        """Wait until so many are in the store."""
        store = Store(settings_of(store=self.folder / "store"))
        while len(store.records()) < n:
            assert self.process.poll() is None

    def told(self):
        return json.loads((self.folder / "out.json").read_text())


@pytest.fixture
def begun(servers, tmp_path):
    """Begins rollouts between these servers, and leaves none behind."""
    known = []

    def start(*options):
        known.append(Live(tmp_path, servers, *options))
        return known[-1]

    yield start
    for live in known:
        if live.process.poll() is None:
            live.end(signal.SIGKILL)


def test_a_worse_challenger_is_left_out_at_once_and_told_with_1(begun):
    """The endpoint says it; the champion goes on alone until Ctrl-C; the requests that show it are in the JSON."""
    place = f"127.0.0.1:{dead()}"
    live = begun("--share", "0.5", "--serve", place)
    assert 500 in live.ask(150)
    live.await_worse(place)
    while 500 in live.ask(30):  # the same ids had the challenger before
        assert live.process.poll() is None
    code, output = live.end(signal.SIGINT)
    assert code == 1 and "worse after" in output and "ended    decided" in output
    told = live.told()
    assert told["conclusion"] == "worse" and len(told["shown"]) == 10 and told["challenger"] >= 10


@pytest.mark.parametrize(
    ("mode", "name", "ended"),
    [("canary", "analysis", "the analysis died (exit status -9)"), ("shadow", "mirror", "the mirror died")],
)
def test_what_dies_leaves_it_undecided(begun, mode, name, ended):
    """However bad the challenger looked."""
    live = begun("--mode", mode, "--share", "0.5", "--alpha", "1e-99")
    live.ask(20)
    live.child(name).kill()
    code, output = live.end()
    assert code == 4 and f"ended    {ended}" in output and live.told()["conclusion"] == "undecided"


def test_a_rollout_that_was_killed_goes_on_from_its_store(begun):
    """kill -9, then the same call: its analysis is gone with it, what was recorded counts, and Ctrl-C is undecided."""
    first = begun("--share", "0.5", "--alpha", "1e-9")
    first.ask(40)
    first.await_records(40)
    analysis = first.child("analysis")
    first.process.kill()
    assert first.end()[0] == -signal.SIGKILL
    analysis.wait(60)
    second = begun("--share", "0.5", "--alpha", "1e-9")
    assert len(second.ask(40)) == 40
    second.await_records(80)
    code, output = second.end(signal.SIGINT)
    assert code == 4 and "this rollout goes on" in output and "it was interrupted" in output
    told = second.told()
    assert told["champion"] + told["challenger"] == 80


def test_shadows_are_made_by_a_process_that_ends_with_the_rollout(begun):
    """The client gets the champion's answers, copies that fail decide, and no process is left."""
    place = f"127.0.0.1:{dead()}"
    live = begun("--mode", "shadow", "--serve", place)
    assert set(live.ask(60)) == {200}
    live.await_worse(place)
    family = psutil.Process(live.process.pid).children(recursive=True)
    code, output = live.end(signal.SIGINT)
    assert code == 1 and "copied" in output, output
    told = live.told()
    assert (
        20 < told["copies"]["copied"] <= 60
        and told["first_cut"] is None
        and told["shown"][0]["champion"]["status"] == 200
    )
    assert psutil.wait_procs(family, 60)[1] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "must be told two servers"),
        (["--champion", "http://x"], "both --champion and --challenger"),
        (["--champion", "x/path", "--challenger", "http://y"], "--champion must be the URL of a server"),
        (["--store", ".", "--mode", "blue"], "mode must be shadow, canary or ab, but got 'blue'"),
        (["--store", ".", "--share", "2"], "share must be between 0 and 1, but got 2.0"),
        (["--store", ".", "--for", "0"], "--for must be above 0 seconds"),
        (["--store", ".", "--negligible", "1"], "negligible must be at least 0 and below 1, but got 1.0"),
        (["--store", ".", "--serve", "nowhere"], "--serve must be HOST:PORT"),
        (["--store", ".", "--serve", "203.0.113.1:1"], "--serve must be an address to listen at"),
        (["--champion", "x", "--challenger", "y", "--limit", "speed=3"], "--limit must be one of concurrency"),
        (["--champion", "x", "--challenger", "y", "--limit", "seconds=fast"], "--limit must be NAME=NUMBER"),
        (["--champion", "x", "--challenger", "y", "--limit", "concurrency=0"], "--limit must be at least 0"),
    ],
)
def test_a_bad_call_gets_one_sentence(options, sentence, tmp_path, monkeypatch, capsys):
    """What was expected and what came, and exit code 2."""
    monkeypatch.chdir(tmp_path)
    code, out, err = call_here(monkeypatch, capsys, "rollout", *options)
    assert code == 2 and sentence in err and len(err.strip().splitlines()) == 1 and out == ""


def test_a_port_that_is_taken_gets_one_sentence(servers, tmp_path, monkeypatch, capsys):
    """Nothing is begun."""
    monkeypatch.chdir(tmp_path)
    urls = [f"http://127.0.0.1:{port}" for port in servers]
    call = ["rollout", "--champion", urls[0], "--challenger", urls[1], "--port", servers[0], "--store", "s"]
    code, _, err = call_here(monkeypatch, capsys, *call)
    assert code == 2 and "must be an address to listen at" in err
    living = [child for child in psutil.Process(os.getpid()).children() if child.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in living if "rollout" in " ".join(child.cmdline())]
