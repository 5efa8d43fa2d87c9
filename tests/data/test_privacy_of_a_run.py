"""What a run writes holds no personal value: planted ones are searched for in every file."""

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
import zlib
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from firstfault import Data, Target, Training
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.report import context_of, write_report
from firstfault.subject.subject import Subject

LOCAL = {"trained.pt", "quarantine.csv"}
FIRST, LAST = (
    ("Friederike", "Birgit", "Giulia", "Mehmet", "Natalia"),
    ("Quendelmann", "Ravensbuerg", "Silberhorn", "Trautwein", "Ueberall"),
)
IBAN = "DE89370400440532013000"
PLANTED = (*FIRST, *LAST, "@planted-mail", IBAN, "DE89 3704 0044", "4155552", "415-555-2", "Wolkengasse")


def people(n=240, seed=0):
    """A table of names, addresses, numbers and notes, with rows that break expectations, are extreme, or are copies."""
    rng = np.random.default_rng(seed)
    first, last = rng.choice(FIRST, n), rng.choice(LAST, n)
    age = rng.normal(40, 10, n).round(1)
    frame = pd.DataFrame(
        {
            "full_name": [f"{a} {b}" for a, b in zip(first, last, strict=True)],
            "reach": [
                f"{a}.{b}.{row}@planted-mail.org".lower() for row, (a, b) in enumerate(zip(first, last, strict=True))
            ],
            "phone": 4155552000 + np.arange(n),
            "callback": [f"415-555-2{row:03d}" for row in range(n)],
            "street": [f"Wolkengasse {row}" for row in range(n)],
            "account": [IBAN if row % 7 else f"broken {IBAN}" for row in range(n)],
            "notes": [
                f"{a} {b} wrote from {a.lower()}@planted-mail.org about order {row} and it came "
                + ("late" if row % 5 else "long ago")
                for row, (a, b) in enumerate(zip(first, last, strict=True))
            ],
            "referrer": [
                f"{a} {b}" if row % 9 else "unknown"
                for row, (a, b) in enumerate(zip(np.roll(first, 3), np.roll(last, 5), strict=True))
            ],
            "age": age,
            "income": np.where(rng.random(n) < 0.02, 1e6, rng.lognormal(1, 0.4, n)),
            "bought": (age + rng.normal(0, 3, n) > 40).astype(int),
        }
    )
    return pd.concat([frame, frame.iloc[:40]], ignore_index=True)


def numbers(X):
    """The user's preprocessing."""
    return ((X[["age", "income"]] - X[["age", "income"]].median()) / 10).to_numpy("float32")


def refusing(X):
    """The user's preprocessing, which quotes what it can't use."""
    return X["full_name"].map(float).to_numpy("float32")


def quoting(X):
    """The same, with a part of a row in the message."""
    row = X.iloc[0]
    raise ValueError(
        f"row {row['full_name']!r} of {row['reach']} at {row['street']}, {row['phone']}, {row['account']} is odd"
    )


def network():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def suite(folder):
    """A declared suite that planted rows break: sets, patterns, uniqueness and lengths of personal columns."""
    entries = [
        (
            "expect_column_values_to_be_in_set",
            {"column": "full_name", "value_set": ["Friederike Quendelmann", "Giulia Trautwein"]},
        ),
        ("expect_column_values_to_match_regex", {"column": "account", "regex": "^[A-Z]{2}[0-9]{20}$"}),
        ("expect_column_values_to_be_unique", {"column": "reach"}),
        ("expect_column_values_to_match_regex", {"column": "notes", "regex": "late$|early$"}),
        ("expect_column_values_to_be_between", {"column": "phone", "min_value": 4155552010, "max_value": 4155552200}),
        ("expect_column_values_to_be_in_set", {"column": "referrer", "value_set": ["unknown"]}),
        ("expect_column_values_to_be_between", {"column": "income", "max_value": 1000}),
    ]
    path = folder / "people.json"
    path.write_text(
        json.dumps(
            {
                "name": "people",
                "expectations": [{"type": kind, "kwargs": kwargs, "severity": "critical"} for kind, kwargs in entries],
            }
        )
    )
    return path


def unpacked(pdf):
    """The text of a PDF, whose streams are compressed."""
    return b"".join(
        zlib.decompress(base64.a85decode(stream.strip().removesuffix(b"~>")))
        for stream in re.findall(rb"FlateDecode.*?stream\r?\n(.*?)endstream", pdf, re.S)
    )


def leaks(folder, planted=PLANTED):
    """Every file below a folder that holds a planted value, with that value."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in LOCAL]
    assert files
    found = []
    for path in files:
        content = path.read_bytes() + (unpacked(path.read_bytes()) if path.suffix == ".pdf" else b"")
        found += [
            (str(path.relative_to(folder)), value)
            for value in planted
            if value.encode() in content
            or value.encode("utf-16-le") in content
            or value.lower().encode() in content.lower()
        ]
    return found


def examined(folder, depth, preprocess, **data):
    """A subject diagnosed through all layers, with its report."""
    target = Target(
        name="people",
        data=Data(train=people(), label="bought", **data),
        preprocess=preprocess,
        model=network,
        root=folder,
        training=Training(loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=0.01), epochs=3),
    )
    subject = Subject(target, folder / "run")
    # they take half a minute, and quote what checks quote
    swaps = {"confirm_report": lambda report: []} if depth is Depth.STANDARD else {}
    verdict = diagnose(subject, depth, keep_going=True, **swaps)
    (subject.folder / "verdict.json").write_text(json.dumps(verdict.to_json()))
    write_report(verdict, subject.folder, context=context_of(subject))
    return subject, verdict


@pytest.mark.parametrize("case", ["declared suite", "value in an exception", "row in an exception"])
def test_a_run_writes_no_planted_value(tmp_path, capfd, caplog, case):
    """Not in findings, results, pages, profiles, packages, logs or on the screen, whatever breaks or raises."""
    preprocess = {"value in an exception": refusing, "row in an exception": quoting}.get(case, numbers)
    whole = case == "declared suite"
    subject, verdict = examined(
        tmp_path,
        Depth.STANDARD if whole else Depth.QUICK,
        preprocess,
        **({"expectations": suite(tmp_path)} if whole else {}),
    )
    printed = "".join(capfd.readouterr()) + caplog.text
    assert leaks(subject.folder) == []
    assert [value for value in PLANTED if value in json.dumps(verdict.to_json(), ensure_ascii=False) + printed] == []
    assert "•••" in (subject.folder / "report.html").read_text()
    assert not whole or "Quendelmann" in (subject.folder / "quarantine.csv").read_text()


TARGET = """
from functools import partial
import torch
from torch import nn
from firstfault import Data, Target, Training

target = Target(
    name="people",
    data=Data(train="people.parquet", label="bought", expectations="people.json"),
    preprocess=lambda X: X[["age", "income"]].to_numpy("float32"),
    model=lambda: nn.Linear(2, 2),
    training=Training(loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=0.01), epochs=1),
)
"""


def test_prefect_and_mlflow_hold_no_planted_value(tmp_path):
    """The whole state folder after `firstfault debug`: data bases, artifacts and logs of both, and what was printed."""
    suite(tmp_path)
    people().to_parquet(tmp_path / "people.parquet")
    (tmp_path / "target.py").write_text(TARGET)
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FIRSTFAULT_"))
    }
    command = [sys.executable, "-m", "firstfault.cli.app"]
    try:
        ended = subprocess.run(
            [*command, "debug", "target.py", "--only", "data"],
            cwd=tmp_path,
            env=kept,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        subprocess.run([*command, "down"], cwd=tmp_path, env=kept, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1, ended.stderr
    assert leaks(tmp_path / ".firstfault") == []
    assert [value for value in PLANTED if value in ended.stdout + ended.stderr] == []


def test_the_search_finds_what_is_there(tmp_path):
    """A planted value in a binary file, a page or a data base is found."""
    (tmp_path / "a.bin").write_bytes(b"\x00\xffFriederike\x00")
    with sqlite3.connect(tmp_path / "b.db") as base:
        base.execute("create table t as select 'x@planted-mail.org' as v")
    assert leaks(tmp_path) == [("a.bin", "Friederike"), ("b.db", "@planted-mail")]
