"""The writer's process: what it loses when either side is killed, and what a full disk or a dead database costs."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from firstfault.monitor import monitored, segments
from firstfault.monitor.database import Database, StoreError
from firstfault.monitor.recorder import recorder_of
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store
from firstfault.monitor.writer import Writer

SERVER = """
import os, signal, sys, time
from firstfault.monitor import monitored
from firstfault.monitor.recorder import recorder_of
from firstfault.monitor.settings import settings_of

options = {"store": sys.argv[1], "sample": 1.0}
recorder = recorder_of(settings_of(**options))
recorder.start()
while not recorder._ring.reader:
    time.sleep(0.01)
predict = monitored(**options)(lambda number: number)
for number in range(300):
    predict(number)
os.kill(os.getpid(), signal.SIGKILL)
"""


def until(holds, seconds=30.0):
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def writers_of(store):
    """The processes that write to a store."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if "firstfault.monitor.writer" in (process.info["cmdline"] or []) and any(
                file.path.startswith(str(store)) for file in process.open_files()
            ):
                found.append(process)
    return found


def test_a_writer_that_is_killed_loses_nothing(settings, options):
    """Serving goes on without a writer, and its successor writes what the queue holds: each request once."""
    predict = monitored(**options)(lambda number: number)
    recorder = recorder_of(settings)
    for number in range(100):
        predict(number)
    until(lambda: recorder._writer is not None and recorder._ring.reader)
    os.kill(recorder._writer.pid, signal.SIGKILL)
    recorder._writer.wait()
    for number in range(100, 200):
        predict(number)
    assert recorder.close(30.0)
    store = Store(settings)
    assert sorted(record.values["raw"] for record in store.records()) == list(range(200))
    assert (store.counted()["requests"], store.losses()) == (200, {})


def test_a_server_that_is_killed_loses_nothing_and_leaves_nobody(tmp_path):
    """The writer empties the queue of a server that is gone, and ends."""
    done = subprocess.run([sys.executable, "-c", SERVER, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    settings = settings_of(store=tmp_path, sample=1.0)
    until(lambda: len(Store(settings).records()) == 300)
    until(lambda: not writers_of(tmp_path))


FORKED = """
import os, sys
from firstfault.monitor import monitored, request_id
from firstfault.monitor.recorder import close_all

predict = monitored(store=sys.argv[1], sample=1.0)(lambda number: request_id())
ids = [predict(0)]
child = os.fork()
ids += [predict(number) for number in range(1, 11)]
close_all(60)
print(*ids, flush=True)
if child:
    os.waitpid(child, 0)
"""


def test_a_fork_has_a_queue_and_a_writer_of_its_own(tmp_path):
    """As workers of gunicorn are made: what each of them answers is recorded once, under ids of its own."""
    done = subprocess.run([sys.executable, "-c", FORKED, str(tmp_path)], capture_output=True, text=True, check=True)
    ids = {name for line in done.stdout.splitlines() for name in line.split()}
    records = Store(settings_of(store=tmp_path, sample=1.0)).records()
    assert len(ids) == len(records) == 21 and ids == {record.request_id for record in records}


def test_a_writer_may_be_made_by_a_fork_of_pythons_own(settings, options, monkeypatch):
    """As gevent makes processes, after what a fork has to forget: the writer has its queue all the same."""
    monkeypatch.setattr(subprocess, "Popen", partial(subprocess.Popen, preexec_fn=os.getpid))
    predict = monitored(**options)(lambda number: number)
    predict(7)
    assert recorder_of(settings).close(30.0)
    assert [record.values["raw"] for record in Store(settings).records()] == [7]


def test_what_was_written_before_a_kill_is_not_counted_twice(recorder, captured, settings):
    """A writer that is killed between its records and the queue leaves its successor the counts as they are."""
    for number in range(10):
        recorder.take(captured(f"r{number}"))
    first = Writer(settings, recorder.queue, os.getppid())
    first.take()
    recorder.queue.release, kept = (lambda position: None), recorder.queue.release
    first.write()
    recorder.queue.release = kept
    recorder.take(captured("r10"))
    assert len(recorder.written()) == 11
    assert Store(settings).counted()["requests"] == 11


def test_a_full_disk_costs_the_records_and_is_counted(recorder, captured, settings, monkeypatch):
    """Records that the disk does not take are counted as lost; those before and after them are written."""
    whole, torn = os.write, []

    def full(file, data):
        if torn:
            raise OSError(errno.ENOSPC, "No space left on device")
        torn.append(whole(file, data[: len(data) // 2]))
        return torn[0]

    writer = Writer(settings, recorder.queue, os.getppid())
    for name in ("before", "torn", "lost"):
        recorder.take(captured(name))
    monkeypatch.setattr(segments.os, "write", full)
    writer.take()
    writer.write()
    monkeypatch.setattr(segments.os, "write", whole)
    recorder.take(captured("after"))
    assert sorted(record.request_id for record in recorder.written()) == ["after", "before"]
    assert Store(settings).losses() == {"disk": 2}


def test_a_dead_database_keeps_records_and_counts_waiting(recorder, captured, settings, monkeypatch):
    """Records are written without a database; the counts of that time follow when it answers again."""
    writer = Writer(settings, recorder.queue, os.getppid())
    alive = Database.write

    def dead(self, steps):
        raise StoreError("gone")

    monkeypatch.setattr(Database, "write", dead)
    recorder.take(captured("during"))
    writer.take()
    writer.write()
    monkeypatch.setattr(Database, "write", alive)
    store = Store(settings)
    assert [record.request_id for record in store.records()] == ["during"] and store.counted() == {}
    recorder.take(captured("after"))
    writer.take()
    writer.write()
    assert store.counted()["requests"] == 2


def test_what_the_queue_dropped_is_in_the_losses(recorder, captured, settings):
    """Drops are exported with their number."""
    writer = Writer(settings, recorder.queue, os.getppid())
    for _ in range(400):
        recorder.take(captured(request=b"x" * 60_000))
    writer.take()
    writer.write()
    dropped = recorder.counts["dropped"]
    assert dropped > 0 and Store(settings).losses() == {"queue": dropped}


def test_one_request_that_can_not_be_read_ends_nothing(recorder, captured, settings):
    """It is counted, and the others are written."""
    recorder.queue.put(b"\xc1 no record")
    recorder.take(captured("good"))
    assert [record.request_id for record in recorder.written()] == ["good"]
    assert Store(settings).losses() == {"analysis": 1}


def test_an_odd_body_costs_no_record(recorder, captured, settings):
    """Numbers of any size, thousands of levels, rows of other lengths and broken chunks are recorded all the same."""
    bodies = {
        "large": (b"application/json", b'{"a": 1%s}' % (b"0" * 400)),
        "deep": (b"application/json", b"[" * 5_000),
        "nested": (b"application/json", b"[" * 400 + b"]" * 400),
        "wide": (b"text/csv", b"a,b\n1,2,3\n"),
        "chunk": (b"text/event-stream", b'data: {"choices": 5}\r\n\r\n'),
        "named": (b"application/json", b'{"~array": 5}'),
    }
    for name, (kind, body) in bodies.items():
        told = {"headers": [(b"content-type", kind)], "response_type": kind, "path": "/v1/completions"}
        sizes = {"request_bytes": len(body), "response_bytes": len(body)}
        values = {"raw": {"~array": ["x", [1], b""]}, "label": {"~part": 1}} if name == "named" else {}
        recorder.take(captured(name, request=body, response=body, values=values, **told, **sizes))
    assert sorted(record.request_id for record in recorder.written()) == sorted(bodies)
    assert Store(settings).losses() == {}


@pytest.mark.parametrize(
    ("header", "queue"),
    [(b"t=1699999999.5", 0.5), (b"1699999999500", 0.5), (b"inf", None), (b"-inf", None), (b"nan", None), (b"t=", None)],
)
def test_a_front_servers_time_is_read_or_left_alone(recorder, captured, header, queue):
    """In seconds or milliseconds it says how long a request has waited; what is no time holds no writer up."""
    recorder.take(captured(headers=[(b"x-request-start", header)]))
    (record,) = recorder.written()
    assert record.stages.queue == queue


@pytest.mark.parametrize("line", [b'{"request_id": "half', b"\x00\x00", b"{}", b""])
def test_a_torn_line_is_no_record(recorder, captured, settings, line):
    """What a full disk or a power cut left of a line is passed over."""
    recorder.take(captured("whole"))
    recorder.written()
    (segment,) = (settings.folder / "segments").glob("*/*.jsonl")
    with segment.open("ab") as file:
        file.write(line)
    assert [record.request_id for record in Store(settings).records()] == ["whole"]


def test_a_clock_that_jumps_harms_nothing(recorder, captured, settings, monkeypatch):
    """Back and forth, every record is written once, and can be read."""
    writer = Writer(settings, recorder.queue, os.getppid())
    now = time.time()
    for number, jump in enumerate((0, 86_400 * 40, -86_400 * 400, 0)):
        monkeypatch.setattr("firstfault.monitor.writer.time.time", lambda jump=jump: now + jump)
        recorder.take(captured(f"r{number}"))
        writer.take()
        writer.write()
    assert sorted(record.request_id for record in Store(settings).records()) == ["r0", "r1", "r2", "r3"]
