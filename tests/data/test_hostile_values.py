"""Data and code that are hostile: texts without UTF-8, values whose own methods raise, and what is no Exception.

Never `it failed itself`.
"""

import asyncio
import contextlib
import datetime
import decimal
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet
import pytest
from command_line import call_here
from rich.console import Console
from torch import nn

from firstfault import Data, Safety, Target, Training, watch
from firstfault.check import Depth, run_checks
from firstfault.data.digest import data_digest
from firstfault.data.profile import _sample
from firstfault.diagnosis import diagnose
from firstfault.errors import FirstfaultError, UserCodeError, first_line
from firstfault.finding import Finding, Layer, Status
from firstfault.interrupts import is_interrupt, of_user
from firstfault.place import Kind, Place
from firstfault.report import context_of, write_report
from firstfault.report.markdown import verdict_markdown
from firstfault.report.terminal import render_verdict
from firstfault.subject.subject import Subject
from firstfault.texts import encodable, shown
from firstfault.verdict import VerdictStatus

N = 100
HALF = "\udce9\ud800"
"""Two halves of surrogate pairs: what a byte becomes that is no UTF-8, and what no UTF-8 can write."""


class Own(BaseException):
    """What a user's code may raise past `except Exception`."""


class Mute(Exception):
    """An exception that can't be told."""

    def __str__(self):
        raise RuntimeError("no message")


def raising(method, error):
    """Objects of a class whose `method` raises."""

    def fails(*_):
        raise error

    kind = type(f"No{method}", (), {method: fails, **({} if method == "__hash__" else {"__hash__": object.__hash__})})
    return objects(kind() for _ in range(N))


def objects(values):
    """Any values as a column of objects."""
    values = list(values)
    column = np.empty(len(values), object)
    for place, value in enumerate(values):
        column[place] = value
    return pd.Series(column, dtype=object)


def table(**columns):
    """A table with two numbers, a label, and the given columns."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=N), "b": rng.normal(size=N)})
    return frame.assign(**{"y": np.where(frame.a + 0.3 * rng.normal(size=N) > 0, "up", "down"), **columns})


def named(*names):
    """The table with other names of its columns."""
    return table(c=range(N)).set_axis(names, axis=1)


METHODS = ("__repr__", "__str__", "__eq__", "__hash__", "__bool__", "__len__", "__array__", "__lt__")
SOURCES = {
    "half in texts": table(z=[f"t{i % 3}{HALF}" for i in range(N)]),
    "half in a name": named(f"a{HALF}", "b", "y", "c"),
    "half in labels": table().assign(y=lambda frame: frame.y + HALF),
    "half in e-mails": table(email=[f"u{i}{HALF}@example.org" for i in range(N)]),
    "half in text samples": (np.array([f"some text {HALF} of {i}" for i in range(N)], object), np.arange(N) % 2),
    **{f"{method} raises": table(z=raising(method, RuntimeError("no"))) for method in METHODS},
    **{f"{method} of labels raises": table(y=raising(method, RuntimeError("no"))) for method in METHODS},
    "__eq__ ends": table(z=raising("__eq__", Own())),
    "__repr__ leaves": table(z=raising("__repr__", SystemExit(0))),
    "__hash__ interrupts": table(z=raising("__hash__", KeyboardInterrupt())),
    "__eq__ is mute": table(z=raising("__eq__", Mute())),
    "a name whose __str__ raises": named("a", raising("__str__", RuntimeError("no"))[0], "y", "c"),
    "bytes": table(z=objects(b"\xff\xfe%d" % (i % 4) for i in range(N))),
    "labels of bytes": table(y=objects(b"\xff%d" % (i % 2) for i in range(N))),
    "tables in cells": table(z=objects(pd.DataFrame({"q": [i, i]}) for i in range(N))),
    "huge whole numbers": table(z=objects(10**400 + i for i in range(N))),
    "digits without end": table(z=objects(10**5000 + i for i in range(N))),
    "labels without end": table(y=objects(10**5000 + i % 2 for i in range(N))),
    "signalling NaN": table(z=objects([decimal.Decimal("sNaN"), decimal.Decimal(1)] * (N // 2))),
    "labels of lists": table(y=objects([i] for i in range(N))),
    "void samples": (np.zeros(N, "V8"), np.arange(N) % 2),
    "huge samples": (np.array([[10**400, 1]] * N, object), np.arange(N) % 2),
    "names that are missing": named(np.nan, None, "y", "c"),
    "a missing label": named("a", "b", "x", "c"),
    "no rows": table().iloc[:0],
    "names of several kinds": named(0, ("t", 1), "y", pd.Timestamp("2024")),
    "names as long as books": named("a" * 100_000, "b/" * 500, "y", "c"),
}
FINE = {
    "lists": [[i, i] for i in range(N)],
    "mappings": [{"k": i} for i in range(N)],
    "decimals": [decimal.Decimal(i) / 7 for i in range(N)],
    "times with a zone": pd.date_range("2024", periods=N, tz="Europe/Berlin"),
    "days": [datetime.date(2024, 1, 1 + i % 28) for i in range(N)],
    "complex": np.arange(N) + 1j,
    "categories": pd.Categorical(["a", "b", None, "c"] * (N // 4)),
    "sparse": pd.arrays.SparseArray([0, 1] * (N // 2)),
    "categories of several kinds": pd.Categorical([1, "x", None, (1,)] * (N // 4)),
    "signs and emoji": ["\u202eabc \U0001f600", "مرحبا"] * (N // 2),
    "arrays": [np.arange(3) + i for i in range(N)],
}


def outcome(data, folder, depth=Depth.QUICK, **parts):
    """The exit code that data come to, and every sentence that would be told; all of what a run writes is written."""
    try:
        subject = Subject(Target("t", data=data, root=folder, **parts), folder / "run", depth)
        verdict = diagnose(subject, depth, only=Layer.DATA)
        written(subject, verdict)
    except FirstfaultError as error:
        return 2, str(error)
    told = " ".join(finding.message for report in verdict.layers for finding in report.findings)
    return {VerdictStatus.HEALTHY: 0, VerdictStatus.FAULTY: 1}.get(verdict.status, 3), told


def written(subject, verdict):
    """Write a verdict as a run does: JSON, the page, markdown and the terminal's text, all in UTF-8."""
    json.dumps(verdict.to_json(), ensure_ascii=False).encode()
    write_report(verdict, subject.folder, context=context_of(subject))
    verdict_markdown(verdict).encode()
    Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8")).print(render_verdict(verdict))
    with contextlib.suppress(UserCodeError):
        data_digest(subject.raw.train)


@pytest.mark.parametrize("name", SOURCES)
def test_hostile_data_come_to_a_verdict_or_to_a_sentence(tmp_path, name):
    """Whatever the values are, firstfault itself does not fail on them."""
    source = SOURCES[name]
    code, sentence = outcome(Data(train=source, label="y" if isinstance(source, pd.DataFrame) else None), tmp_path)
    assert code in (0, 1, 2) and sentence and encodable(sentence) == sentence


@pytest.mark.parametrize("name", FINE)
def test_columns_of_every_kind_are_no_fault_of_the_data(tmp_path, name):
    """What a model may be fed with is not blamed, nor refused, and a sample of it can be profiled."""
    frame = table(z=FINE[name] if hasattr(FINE[name], "dtype") else objects(FINE[name]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, sentence = outcome(Data(train=frame, label="y"), tmp_path)
        _sample(frame, 0).to_parquet(tmp_path / "sample.parquet")
    assert code == 0, sentence


@pytest.mark.parametrize("name", ["lists", "times with a zone", "complex", "sparse", "categories of several kinds"])
def test_expectations_are_inferred_of_columns_of_every_kind(tmp_path, name):
    """Those of train hold for rows that were drawn from it."""
    frame = table(z=FINE[name] if hasattr(FINE[name], "dtype") else objects(FINE[name]))
    subject = Subject(Target("t", data=Data(train=frame, label="y")), tmp_path)
    assert not subject.expected.broken()


def test_bytes_that_are_no_text_crash_no_check(tmp_path):
    """The checks that count categories show them by their escapes."""
    subject = Subject(Target("t", data=Data(train=SOURCES["bytes"], label="y")), tmp_path, Depth.STANDARD)
    subject.supply(Subject.profiling, UserCodeError(Layer.TRAINING, "left out", RuntimeError(), tmp_path))
    assert not [
        finding for finding in run_checks(Layer.DATA, subject).findings if finding.status in (Status.ERROR, Status.FAIL)
    ]


def test_parquet_of_bytes_and_json_of_halves_come_to_a_verdict_or_a_sentence(tmp_path):
    """Files may hold what no text is: bytes, a string of them, and half of a pair."""
    texts = pa.array([b"\xff\xfe%d" % (i % 3) for i in range(N)], pa.binary())
    spoilt = pa.Array.from_buffers(pa.string(), N, texts.buffers())
    for name, column in (("bytes.parquet", texts), ("spoilt.parquet", spoilt)):
        pa.parquet.write_table(pa.table({"a": range(N), "z": column, "y": [i % 2 for i in range(N)]}), tmp_path / name)
        assert outcome(Data(train=str(tmp_path / name), label="y"), tmp_path)[0] in (0, 2)
    rows = [json.dumps({"a": i, f"t{HALF}": f"x{HALF}{i % 3}", "y": i % 2}) for i in range(N)]
    (tmp_path / "half.jsonl").write_text("\n".join(rows))
    assert outcome(Data(train=str(tmp_path / "half.jsonl"), label="y"), tmp_path)[0] == 0


def network():
    """A small network."""
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def end(error):
    """A function of any arguments that ends with an exception."""

    def ends(*_, **__):
        raise error

    return ends


def broken_network(error):
    """A network whose forward pass ends with an exception."""
    return type("Broken", (nn.Module,), {"forward": end(error)})


ENDS = {
    "Own": Own("own"),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "Mute": Mute(),
}
PARTS = {
    "data": (Layer.DATA, lambda error: {"data": Data(train=end(error), label="y")}),
    "preprocess": (Layer.PREPROCESSING, lambda error: {"preprocess": end(error)}),
    "prepare": (Layer.PREPROCESSING, lambda error: {"prepare": end(error)}),
    "model": (Layer.MODEL, lambda error: {"model": end(error)}),
    "forward": (Layer.MODEL, lambda error: {"model": broken_network(error)}),
    "loss": (Layer.TRAINING, lambda error: {"training": Training(loss=end(error))}),
    "fit": (Layer.TRAINING, lambda error: {"training": Training(fit=end(error))}),
    "optimizer": (Layer.TRAINING, lambda error: {"training": Training(optimizer=end(error))}),
}


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("part", PARTS)
def test_whatever_the_users_code_ends_with_is_a_finding(tmp_path, part, kind):
    """A BaseException of a part is its failure, as an Exception is."""
    layer, parts = PARTS[part]
    whole = {
        "data": Data(train=table(), label="y"),
        "model": network,
        "training": Training(epochs=1),
        **parts(ENDS[kind]),
    }
    verdict = diagnose(Subject(Target("t", **whole), tmp_path), Depth.QUICK, only=layer)
    [fault] = {fault.fault for fault in verdict.faults}
    assert verdict.first_faulty_layer is layer and fault == "user_code_raises"


@pytest.mark.parametrize("kind", ENDS)
def test_a_generate_that_ends_so_fails_its_case_only(tmp_path, kind):
    """The suite is scored, and the sentence names what was raised."""
    (tmp_path / "suite.yaml").write_text("name: s\ncases: [{prompt: hello, scorer: contains, expect: x}]\n")
    target = Target("t", safety=Safety(suites=["suite.yaml"], generate=end(ENDS[kind])), root=tmp_path)
    verdict = diagnose(Subject(target, tmp_path / "run"), Depth.QUICK, only=Layer.SAFETY)
    [finding] = [finding for report in verdict.layers for finding in report.findings if finding.check == "behaviour"]
    assert finding.status is Status.FAIL and f"raised {kind}" in finding.message


def raised(error, context=None):
    """An exception as a `raise` in this file makes it, in the place of another one."""
    try:
        try:
            if context is not None:
                raise context
        finally:
            raise error
    except BaseException as known:
        return known


def pressed():
    """A KeyboardInterrupt as Ctrl-C makes it."""
    try:
        signal.raise_signal(signal.SIGINT)
        while True:
            pass
    except KeyboardInterrupt as known:
        return known


def test_a_ctrl_c_is_told_from_a_raise():
    """So is one that the user's code raises anew in its place.

    Prefect's and firstfault's own ends are nobody's failure.
    """
    assert is_interrupt(pressed()) and not of_user(pressed()) and not is_interrupt(raised(KeyboardInterrupt()))
    assert is_interrupt(raised(KeyboardInterrupt("stopped"), pressed()))
    assert not of_user(type("TerminationSignal", (BaseException,), {"__module__": "prefect.exceptions"})())
    assert of_user(raised(GeneratorExit())) and not of_user(GeneratorExit())


COMMAND = [sys.executable, "-m", "firstfault.cli.app"]
WAITS = """
import time
try:
    print("waiting", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    {then}
"""


@pytest.mark.parametrize("then", ["raise", "raise KeyboardInterrupt('stopped')"])
def test_ctrl_c_at_the_import_of_a_target_ends_with_130(tmp_path, then):
    """Whatever the target makes of it."""
    (tmp_path / "target.py").write_text(WAITS.format(then=then))
    process = subprocess.Popen(
        [*COMMAND, "debug", "target.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "waiting\n"
    psutil.Process(process.pid).send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """A function that runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    return partial(call_here, monkeypatch, capsys)


@pytest.mark.parametrize(
    "raises",
    [
        "KeyboardInterrupt",
        "SystemExit(0)",
        "GeneratorExit",
        "asyncio.CancelledError",
        "Own()",
        "Mute()",
        "KeyError('\\udce9')",
    ],
)
def test_a_target_that_ends_at_its_import_is_one_sentence_and_exit_code_2(call, tmp_path, raises):
    """CI must not read it as faulty, nor as healthy."""
    classes = "class Own(BaseException): pass\nclass Mute(Exception):\n    def __str__(self): raise RuntimeError\n"
    (tmp_path / "target.py").write_text(f"import asyncio\n{classes}raise {raises}\n")
    code, _, err = call("debug", "target.py")
    assert (
        code == 2
        and "target.py doesn't import" in err
        and "at target.py:5" in err
        and len(err.strip().splitlines()) == 1
    )


def test_a_target_of_a_name_without_utf8_is_one_sentence(call, tmp_path):
    """So is a file below a folder whose name is bytes; servers can be told of neither."""
    (tmp_path / "target.py").write_text(
        "from firstfault import Data, Target\ntarget = Target('na\\udce9', data=Data(train='x.csv', label='y'))\n"
    )
    code, _, err = call("debug", "target.py")
    assert code == 2 and "name must be text that UTF-8 can write" in err
    place = Path(os.fsdecode(os.fsencode(tmp_path / "f") + b"\xe9"))
    place.mkdir()
    (place / "target.py").write_text(
        "from firstfault import Data, Target\ntarget = Target('t', data=Data(train='x.csv', label='y'))\n"
    )
    code, _, err = call("debug", f"{place}/target.py")
    assert code == 2 and "the target must have a path that UTF-8 can write" in err


@pytest.mark.parametrize("raises", ["Own('own')", "KeyboardInterrupt", "asyncio.CancelledError"])
def test_a_script_that_ends_so_is_judged(call, tmp_path, raises):
    """`firstfault run` says what it raised, writes bytes of its own through, and its exit code is that of a faulty
    script.
    """
    lines = "import asyncio, sys\nclass Own(BaseException): pass\nsys.stderr.flush()\n"
    (tmp_path / "script.py").write_text(f"{lines}raise {raises}\n")
    code, out, _ = call("run", "script.py")
    assert code == 1 and f"raised {raises.partition('(')[0].rpartition('.')[2]}" in " ".join(out.split())


def test_a_whole_run_on_texts_without_utf8_writes_all_of_its_files(call, tmp_path):
    """Names, texts and labels with halves of pairs go through MLflow, Prefect, the page and the terminal."""
    (tmp_path / "target.py").write_text(
        "import pandas as pd\nfrom firstfault import Data, Target\nh = '\\udce9\\ud800'\n"
        "texts, labels = [f'x{i % 3}{h}' for i in range(100)], [f'c{i % 2}{h}' for i in range(100)]\n"
        "frame = pd.DataFrame({'a' + h: range(100), 'b': texts, 'y' + h: labels})\n"
        "target = Target('halves', data=Data(train=lambda: frame, label='y' + h))\n"
    )
    result = subprocess.run(
        [*COMMAND, "debug", "target.py", "--only", "data", "--depth", "quick"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    [folder] = (tmp_path / ".firstfault" / "runs").iterdir()
    assert result.returncode in (0, 1), result.stderr
    assert {"verdict.json", "report.html"} <= {
        path.name for path in folder.iterdir()
    } and "no longer answers" not in result.stdout + result.stderr
    subprocess.run([*COMMAND, "down"], cwd=tmp_path, capture_output=True, timeout=60, check=False)


def test_a_watched_loop_of_a_name_without_utf8_is_judged(tmp_path):
    """The name is shown by its escapes."""
    with watch(f"loop{HALF}", folder=tmp_path) as watched:
        pass
    assert watched.name == r"loop\udce9\ud800" and watched.verdict().target == watched.name


def test_texts_are_made_encodable_and_values_shown():
    """Escapes stand for what UTF-8 lacks; what can't show itself is shown by its class."""
    assert encodable("plain é \U0001f600") == "plain é \U0001f600" and encodable(f"x{HALF}") == r"x\udce9\ud800"
    assert "No__repr__ object at" in shown(raising("__repr__", Own())[0]) and "NoneType" not in shown(10**5000)
    assert (
        first_line(Mute()).startswith("its message can't be shown") and first_line(ValueError(HALF)) == r"\udce9\ud800"
    )


def test_a_finding_holds_no_text_that_utf8_lacks():
    """Its texts and values are what a file, a server and a page can take."""
    finding = Finding(
        "c",
        Layer.DATA,
        Status.FAIL,
        f"m{HALF}",
        value={HALF: [HALF]},
        where=Place(Kind.COLUMN, (HALF,), HALF, HALF, note=HALF),
        fix=HALF,
    )
    assert "\\ud800" in finding.message and json.dumps(finding.to_json(), ensure_ascii=False).encode()
