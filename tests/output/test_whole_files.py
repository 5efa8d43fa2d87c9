"""A file is whole, or it is what it was before: on a full disk, after an error, and beside a reader."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from firstfault.output.whole_files import replacing, write_bytes, write_json, write_text

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for part in ("src", "flows", "tasks") for path in (ROOT / part).rglob("*.py"))
WRITERS = {"write_text", "write_bytes", "to_csv", "to_parquet", "to_file", "savefig", "touch"}
DRAFTS = {"draft", "target", "buffer"}
"""What a writer may be given: the file beside the place, or bytes in memory."""
STREAMS = {
    "src/firstfault/monitor/detect/locking.py": "a lock: nothing is written into it",
    "src/firstfault/probe/sinks/base.py": "one line a step, read while the loop runs",
    "src/firstfault/probe/sinks/tensorboard.py": "events of a loop, read while it runs",
    "src/firstfault/runs/processes.py": "the log of a process, written by it",
    "src/firstfault/subject/http_service.py": "the log of a process, written by it",
    "src/firstfault/recording/flow_run.py": "the log of a process, written by it",
    "src/firstfault/monitor/hours.py": "a draft on any store of fsspec, moved to its place once it is whole",
    "src/firstfault/data/privacy/keyed.py": "a secret, which only the first of several processes may place",
    "src/firstfault/tracking/journal.py": "lines for the next run, where this one is killed",
    "src/firstfault/watcher/rerun/inside.py": "the answer of a child in its scratch folder, read once it has ended",
    "src/firstfault/runs/state.py": "an empty database, made so that its mode is known before SQLite writes it",
    "src/firstfault/runs/login.py": "a secret, which only the first of several processes may place",
    "src/firstfault/output/whole_files.py": "the one place where files are written",
    "flows/recorder.py": "a pipe to the process that is recorded",
}


def direct_writes(tree):
    """The lines on which a file is written by its own name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        of = node.func.value if isinstance(node.func, ast.Attribute) else None
        texts = [
            value.value
            for value in [*node.args, *(word.value for word in node.keywords)]
            if isinstance(value, ast.Constant)
        ]
        modes = [
            text
            for text in texts
            if (isinstance(text, str) and text.strip("btx+").strip() in ("w", "a")) or text == "x"
        ]
        opens = name in ("open", "fdopen") and bool(modes) and not (isinstance(of, ast.Name) and of.id in DRAFTS)
        first = node.args[0] if node.args else None
        writes = name in WRITERS and of is not None and not (isinstance(first, ast.Name) and first.id in DRAFTS)
        dumps = name == "dump" or (
            name == "save"
            and isinstance(of, ast.Name)
            and of.id in ("torch", "np")
            and getattr(node.args[-1], "id", "") != "file"
        )
        if opens or writes or dumps:
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_written_in_one_place(path):
    """No module writes a file by its own name, but by `firstfault.output.whole_files`.

    Streams that grow are named here, with their reason.
    """
    if str(path.relative_to(ROOT)) not in STREAMS:
        assert list(direct_writes(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_a_direct_write_is_seen():
    """The test above sees a path that writes itself, an open for writing, and a table or picture that is saved."""
    lines = [
        'path.write_text("x")',
        'path.open("w")',
        'open(path, mode="wb")',
        "frame.to_csv(path)",
        "torch.save(x, path)",
        "json.dump(x, file)",
    ]
    assert [next(direct_writes(ast.parse(line)), None) for line in lines] == [1] * len(lines)
    assert not list(direct_writes(ast.parse('frame.to_csv(draft)\nwrite_text(path, "x")\npath.open("rb")')))


FULL = """
import resource, signal, sys
from pathlib import Path
import firstfault.output.whole_files as whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
try:
    {write}
except (OSError, RuntimeError) as error:
    print("refused:", error)
"""
WRITES = {
    "text": "whole.write_text(path, 'x' * 100_000)",
    "json": "whole.write_json(path, list(range(100_000)))",
    "csv": "import pandas as pd; from firstfault.output.spreadsheets import write_frame; "
    "write_frame(path, pd.DataFrame({'a': range(100_000)}))",
    "weights": "import torch\n    with whole.replacing(path) as draft, draft.open('wb') as file:\n"
    "        torch.save(torch.zeros(100_000), file)",
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_full_disk_leaves_the_file_before(write, tmp_path):
    """Where the system refuses to write on, the older file stays whole, and nothing lies beside it."""
    path = tmp_path / "stages.json"
    path.write_text("[1, 2]")
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(write=write), str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith("refused:"), done.stderr[-500:]
    assert path.read_text() == "[1, 2]" and [file.name for file in tmp_path.iterdir()] == ["stages.json"]


def test_an_error_on_the_way_leaves_the_file_before(tmp_path):
    """A block that raises, by whatever exception, changes nothing."""
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), replacing(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == '{\n "a": 1\n}' and list(tmp_path.iterdir()) == [path]


def test_a_file_is_for_its_owner_alone(tmp_path):
    """What a run writes has mode 0600, whatever the umask, and also in the place of a file that others could read."""
    path = tmp_path / "b.csv"
    path.touch(0o644)
    before = os.umask(0)
    try:
        write_bytes(path, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_a_person_named_has_the_mode_of_their_files(tmp_path):
    """It follows the umask when it is new, and keeps its mode when it is not."""
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.touch()
    old.chmod(0o640)
    before = os.umask(0o022)
    try:
        for path in (new, old):
            write_text(path, "x", private=False)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (new, old)] == [0o644, 0o640]


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path):
    """Behind a link the file is replaced; a pipe and a device are written to."""
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "pipe"
    real.touch()
    link.symlink_to(real)
    write_text(link, "x")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "y")
    write_text(Path(os.devnull), "z")
    assert (
        link.is_symlink()
        and real.read_text() == "x"
        and os.read(reader, 9) == b"y"
        and Path(os.devnull).is_char_device()
    )
    os.close(reader)


def test_half_a_surrogate_pair_is_written_as_its_escape(tmp_path):
    """Text that has no UTF-8 does not keep a file from being written."""
    write_text(tmp_path / "c.html", "a\ud800b")
    assert (tmp_path / "c.html").read_text(encoding="utf-8") == "a\\ud800b"
