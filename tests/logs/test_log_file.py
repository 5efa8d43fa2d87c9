"""Files of lines: rotated, kept for a while, written by many processes, and never in the way."""

import json
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import textwrap
import time
import warnings

import pytest

from firstfault.logs.log_file import Keeping, LogFile

MIB = 2**20


def numbers(folder):
    """The numbers that were written as lines, over all files of a folder."""
    return sorted(int(line) for file in folder.glob("app*.jsonl") for line in file.read_text().split())


def test_a_file_is_rotated_by_size(tmp_path):
    """No file is larger than asked, no line is lost, and every file ends in .jsonl for those who collect them."""
    file = LogFile(tmp_path, "app", Keeping(rotate_bytes=1_000))
    for number in range(1_000):
        assert file.write(str(number).encode())
    found = list(tmp_path.iterdir())
    assert len(found) > 3 and all(path.suffix == ".jsonl" and path.stat().st_size <= 1_000 for path in found)
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert numbers(tmp_path) == list(range(1_000))


def test_a_file_is_rotated_by_age(tmp_path):
    """A file whose first line is old is put aside, also by a process that began today."""
    (tmp_path / "app.jsonl").write_text('{"@timestamp": "2020-01-01T00:00:00.000000Z"}\n')
    file = LogFile(tmp_path, "app")
    file.write(b"0")
    file.write(b"1")
    assert (tmp_path / "app.jsonl").read_text() == "1\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_rotated_files_are_kept_by_age_and_size(tmp_path):
    """What is too old goes, and then the oldest of what is too much; files of others stay."""
    for name, days, size in (("a", 30, 10), ("b", 3, 600), ("c", 2, 600), ("d", 1, 300)):
        path = tmp_path / f"app.{name}Z-0000.jsonl"
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - days * 86_400,) * 2)
    (tmp_path / "other.aZ-0000.jsonl").write_bytes(b"x" * 9_999)
    LogFile(tmp_path, "app", Keeping(keep_bytes=1_000)).write(b"1")
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"app.jsonl", "app.cZ-0000.jsonl", "app.dZ-0000.jsonl", "other.aZ-0000.jsonl"}


def _write(folder, first):
    file = LogFile(folder, "app", Keeping(rotate_bytes=2_000))
    for number in range(first, first + 2_000):
        file.write(str(number).encode())
    os._exit(0 if file.lost == 0 else 1)


def test_processes_that_rotate_at_once_lose_no_line(tmp_path):
    """Three processes write and rotate one file, and every line of each is there once and whole."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_write, args=(tmp_path, 2_000 * place)) for place in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert numbers(tmp_path) == list(range(6_000))


def test_a_file_that_somebody_removed_is_made_again(tmp_path):
    """Another's logrotate, or `rm`, costs the lines that it removed, and no later one."""
    file = LogFile(tmp_path, "app")
    file.write(b"1")
    file.path.unlink()
    file.write(b"2")
    assert file.path.read_text() == "2\n"


def test_a_forked_process_writes_and_counts_for_itself(make):
    """A worker's lines are in the file beside its parent's, and what the parent lost is the parent's."""
    log, logger, lines = make()
    logger.info("parent")
    log.handler.file.lost = 3
    child = os.fork()
    if child == 0:
        logger.info("child")
        os._exit(log.lost)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    told = lines()
    assert [line["message"] for line in told] == ["parent", "child"]
    assert told[0]["process.pid"] != told[1]["process.pid"]


@pytest.mark.parametrize("kind", ["below a file", "a folder in its place", "a pipe in its place"])
def test_a_place_that_cannot_be_written_is_said_and_harms_nothing(make, tmp_path, kind, capfd):
    """One warning at the start; logging goes on, lines are counted, and nothing is printed."""
    place = tmp_path / "place"
    if kind == "below a file":
        place.write_text("")
        place = place / "logs"
    else:
        place.mkdir()
        (os.mkdir if kind.startswith("a folder") else os.mkfifo)(place / "shop.jsonl")
    with pytest.warns(RuntimeWarning, match=r"the log .*shop\.jsonl loses lines: "):
        log, logger, _ = make(place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            logger.error("x", exc_info=True)
    assert log.lost == 5
    assert capfd.readouterr() == ("", "")


FULL = """
import json, logging, resource, sys, warnings
from firstfault import logs
warnings.simplefilter("error")
folder = sys.argv[1]
log = logs.setup(folder, service="shop", logger="shop")
logger = logging.getLogger("shop")
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
for number in range(50):
    logger.info("line %d", number)
lost = log.lost
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
logger.info("room again")
print(lost)
"""


def test_a_full_disk_loses_lines_and_says_how_many(tmp_path):
    """The program goes on; with room again, the log says what it lost, behind a line that was torn."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(FULL), tmp_path], capture_output=True, text=True)
    lost = int(done.stdout)
    assert done.returncode == 0 and done.stderr == "" and 30 < lost < 50
    *whole, torn, again, note = (tmp_path / "shop.jsonl").read_text().splitlines()
    assert len(whole) + lost == 50 and json.loads(again)["message"] == "room again"
    with pytest.raises(ValueError):
        json.loads(torn)
    assert json.loads(note)["labels"] == {"lost": lost}
    assert json.loads(note)["message"].startswith(f"{lost} lines of this process were lost until now: ")


SIGNALLED = """
import logging, signal, sys
from firstfault import logs
log = logs.setup(sys.argv[1], service="shop", logger="shop", rate=10_000)
logger, heard = logging.getLogger("shop"), []
def hear(*_):
    heard.append(1)
    logger.info("signal")
signal.signal(signal.SIGALRM, hear)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for number in range(3_000):
    logger.info("line")
signal.setitimer(signal.ITIMER_REAL, 0)
print(3_000 + len(heard), log.lost)
"""


def test_a_signal_handler_may_log_at_any_moment(tmp_path):
    """One that interrupts a line of the same thread waits for nothing that this thread holds."""
    command = [sys.executable, "-c", SIGNALLED, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(len((tmp_path / "shop.jsonl").read_text().splitlines())), "0"]


def test_nothing_reaches_the_caller(make, capfd):
    """A record that can't be made a line at all is counted."""
    log, logger, _ = make()
    log.handler.line.mask.more = lambda text: 1 / 0
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        logger.info("x")
    assert log.lost == 1 and capfd.readouterr() == ("", "")
    assert logging.raiseExceptions and resource.getrlimit(resource.RLIMIT_FSIZE)
