"""Targets over PostgreSQL and SQLite: types come out right; a wrong address is one sentence without the password."""

import datetime
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Data, Sql, Target, Training
from firstfault.ablation.sweeps.sweep import sweep
from firstfault.check import Depth, run_checks
from firstfault.cli import app as cli
from firstfault.data.expectations.by_column import run_by_column
from firstfault.data.expectations.in_database import InDatabase
from firstfault.data.expectations.suite import infer_suite
from firstfault.data.expectations.table import Table
from firstfault.data.splits import load_raw
from firstfault.diagnosis import diagnose
from firstfault.errors import TargetError
from firstfault.finding import Layer, Status
from firstfault.monitor.database import BEAT, COUNT, GET_ON, HOLD, LABEL, LOSE, TOTAL, Database
from firstfault.monitor.exporters.figures import families
from firstfault.monitor.exporters.outbox import Letter, Outbox
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store
from firstfault.runs.processes import free_port
from firstfault.subject.subject import Subject
from firstfault.verdict import VerdictStatus

pytest.importorskip("psycopg2", reason="the extra [postgres] is not installed")
PASSWORD = "s3cret/ünder:p@ss"
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def unprivileged():
    """What makes a child of root another user: the database refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        owner = pwd.getpwnam("postgres")
    except KeyError:
        owner = pwd.getpwnam("nobody")
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def server():
    """The URL of a PostgreSQL server of this test's own on a free port, with a password."""
    initdb = shutil.which("initdb") or (str(INSTALLED[-1]) if INSTALLED else None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed")
    # pytest's own is closed to other users
    folder, identity = Path(tempfile.mkdtemp(prefix="postgres")), unprivileged()
    folder.chmod(0o755)
    if identity:
        os.chown(folder, identity["user"], identity["group"])
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    subprocess.run(
        [
            initdb,
            "-D",
            folder / "data",
            "-U",
            "tester",
            "-A",
            "scram-sha-256",
            "--pwfile",
            secret,
            "-E",
            "UTF8",
            "--no-sync",
        ],
        check=True,
        capture_output=True,
        cwd=folder,
        **identity,
    )
    port = free_port()
    command = [
        Path(initdb).with_name("postgres"),
        "-D",
        folder / "data",
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={folder}",
        "-c",
        "fsync=off",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **identity)
    url = sqlalchemy.URL.create("postgresql+psycopg2", "tester", PASSWORD, "127.0.0.1", port, "postgres")
    try:
        _await(url, process, folder / "log")
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # the fast shutdown: it waits for no client
        process.wait(30)
        shutil.rmtree(folder)


def _await(url, process, log):
    engine = sqlalchemy.create_engine(url)
    for _ in range(100):
        try:
            engine.connect().close()
            break
        except sqlalchemy.exc.OperationalError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    engine.dispose()


@pytest.fixture(scope="module")
def url(server):
    """The URL of that server as a user writes it, with the tables of these tests."""
    rng = np.random.default_rng(0)
    age = rng.normal(40, 12, 400)
    churned = (age + rng.normal(0, 4, 400) > 42).astype(int)
    people = pd.DataFrame({"age": age, "visits": rng.integers(0, 9, 400), "churned": churned})
    engine = sqlalchemy.create_engine(server)
    people.to_sql("people", engine, index=False)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "create table kinds (price numeric(10, 2), big bigint, flag boolean, "
                "at timestamp, day date, told text, doc jsonb, y int)"
            )
        )
        connection.execute(
            sqlalchemy.text(
                "insert into kinds select case when i % 5 = 0 then null else i + 0.25 end, i * 10000000000, "
                "i % 2 = 0, timestamp '2020-01-01 12:30:00' + i * interval '1 day', "
                "case when i = 3 then date '9999-12-31' else date '2020-01-01' end, "
                "case when i % 4 = 0 then null else 'ünï 100%' end, '{\"k\": [1]}', i % 2 "
                "from generate_series(1, 40) i"
            )
        )
    engine.dispose()
    return server.render_as_string(hide_password=False)


def test_a_monitor_counts_in_postgresql(server, tmp_path):
    """Counts of two writers add up, and labels and what incidents hold are there for every reader."""
    settings = settings_of(store=tmp_path, database=server.render_as_string(hide_password=False))
    row = {"minute": 60, "model": "churn", "version": "", "arm": "champion", "name": "requests", "n": 2}
    progress = {"writer": "w", "position": 1 << 40, "time": 1.5}
    label = {"request_id": "a", "label": "1", "time": 1.5}
    for _ in range(2):
        database = Database(settings)
        database.write([(COUNT, [row]), (GET_ON, [progress]), (LABEL, [label]), (LOSE, []), (HOLD, [])])
        database.close()
    store = Store(settings)
    assert (store.counted(), store.losses(), store.labels()) == ({"requests": 4}, {}, {"a": 1})
    assert store.database.rows("SELECT position FROM progress WHERE writer = :writer", writer="w") == [(1 << 40,)]
    store.database.close()


def test_a_monitor_tells_from_postgresql(server, tmp_path):
    """What it has to tell is there for all machines: totals add up, and each letter is one process's at a time."""
    settings = settings_of(store=tmp_path, database=server.render_as_string(hide_password=False))
    one, other = Database(settings), Database(settings)
    row = {"model": "told", "version": "", "arm": "champion", "name": "requests", "n": 2, "since": 60, "last": 60}
    lost = {"model": "", "version": "", "arm": "", "name": "lost:disk", "n": 3, "since": 60, "last": 60}
    beat = {"writer": "w", "time": time.time(), "lag": 0.5}
    one.write([(TOTAL, [row, lost]), (BEAT, [beat])])
    other.write([(TOTAL, [{**row, "last": 120}])])
    points = {(family.name, *point.labels): point.value for family in families(other) for point in family.points}
    assert points["firstfault_requests", "told", "", "champion", "ok"] == 4
    assert points["firstfault_model_last_request_timestamp", "told", "", "champion"] == 120
    assert points["firstfault_requests_lost", "disk"] == 3 and points["firstfault_writer_lag",] == 0.5
    letter = Letter("i-1", "opened", "them")
    for database in (one, other):
        Outbox(database).add([letter], 10.0)
    claimed = Outbox(one).claim("them", 20.0)
    assert claimed is not None and Outbox(other).claim("them", 20.0) is None
    assert Outbox(one).refused(claimed, 20.0) and Outbox(other).next_due("them") > 20.0
    again = Outbox(other).claim("them", 1_000.0)
    Outbox(other).told(again)
    assert again.tries == 2 and Outbox(one).next_due("them") is None
    one.close()
    other.close()


def test_a_target_over_postgresql_is_debugged(url, tmp_path):
    """A healthy one comes out healthy."""
    target = Target(
        "people",
        data=Data(train=Sql(url, "select * from people"), label="churned"),
        preprocess=lambda X: (X - [40, 4]) / [12, 3],
        model=lambda: nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)),
        training=Training(
            loss=nn.CrossEntropyLoss(), optimizer=lambda weights: torch.optim.Adam(weights, lr=0.01), epochs=15
        ),
    )
    verdict = diagnose(Subject(target, tmp_path, Depth.QUICK), Depth.QUICK)
    assert verdict.status is VerdictStatus.HEALTHY and verdict.faults == ()


@pytest.mark.parametrize("spoilt", [False, True])
def test_expectations_are_validated_in_the_database(url, tmp_path, spoilt):
    """Every expectation has the same success and count in PostgreSQL as on the rows.

    Nothing but the types is asked of the rows.
    """
    columns = (
        "age, visits, churned"
        if not spoilt
        else "case when visits = 3 then null else age end as age, visits + 90 as visits, churned, 1 as extra"
    )
    query = f"select {columns} from people;"
    known = pd.read_sql("select * from people", engine := sqlalchemy.create_engine(url))
    rows = pd.read_sql(query, engine)
    engine.dispose()
    suite = infer_suite(Table([known]), "people")
    there = InDatabase([Sql(url, query)], tmp_path)(Table([rows]), suite, "SUMMARY")["results"]
    here = run_by_column(Table([rows]), suite, "SUMMARY")["results"]
    told = [
        [(entry["success"], entry["result"].get("unexpected_count")) for entry in results] for results in (there, here)
    ]
    assert told[0] == told[1] and all(success for success, _ in told[0]) is not spoilt


def test_types_of_postgresql_come_out_right(url, tmp_path):
    """Decimals as floats, timestamps as times, flags, dates beyond pandas' range, missing values and documents."""
    data = Data(train=Sql(url, "select * from kinds where told is null or told like 'ünï 100%'"), label="y")
    X = pd.concat([split.X for _, split in load_raw(Target("t", data=data)).items()])
    assert (
        X["price"].dtype == float
        and X["price"].isna().sum() == 8
        and X["price"].sum() == sum(i + 0.25 for i in range(1, 41) if i % 5)
    )
    assert (
        X["big"].dtype == np.int64
        and X["flag"].dtype == bool
        and X["at"].dtype.kind == "M"
        and X["at"].dt.hour.eq(12).all()
    )
    assert (
        datetime.date(9999, 12, 31) in set(X["day"]) and X["told"].isna().sum() == 10 and X["doc"].iloc[0] == {"k": [1]}
    )
    report = run_checks(Layer.DATA, Subject(Target("t", data=data), tmp_path, Depth.QUICK), Depth.QUICK)
    warned = {finding.check for finding in report.findings if finding.status is Status.WARN}
    assert {"impossible_dates", "mixed_columns"} <= warned and not [
        finding for finding in report.findings if finding.status is Status.ERROR
    ]


def refused(url, query="select * from people"):
    """The sentence with which reading ends."""
    with pytest.raises(TargetError) as told:
        load_raw(Target("t", data=Data(train=Sql(url, query), label="y")))
    sentence = str(told.value)
    assert (
        len(sentence.splitlines()) == 1
        and PASSWORD not in sentence
        and "p%40ss" not in sentence
        and "Background on this error" not in sentence
    )
    return sentence


def test_a_wrong_query_is_one_sentence(url):
    """It names the database without its password, and what the database says."""
    sentence = refused(url, "select * from nobody")
    assert 'relation "nobody" does not exist' in sentence and "tester:***@127.0.0.1" in sentence
    assert "syntax error" in refused(url, "selekt 1")
    assert "has no column 'y'; its columns are age, visits, churned" in refused(url)


def test_a_wrong_password_and_an_absent_server_are_one_sentence(server, url):
    """Neither shows what was tried as a password."""
    wrong = server.set(password="an0ther p@ss").render_as_string(hide_password=False)
    assert "password authentication failed" in refused(wrong) and "an0ther" not in refused(wrong)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        absent = server.set(port=free.getsockname()[1]).render_as_string(hide_password=False)
        assert "Connection refused" in refused(absent)
    assert "no database" not in refused("postgresql://tester:s3cret@[bad/x") and "s3cret" not in refused(
        "postgresql://tester:s3cret@[bad/x"
    )


def test_the_command_line_keeps_the_password_to_itself(server, tmp_path, monkeypatch, capsys):
    """Exit code 2 and one sentence."""
    wrong = server.set(password="an0therp4ss").render_as_string(hide_password=False)
    (tmp_path / "target.py").write_text(
        "from firstfault import Data, Sql, Target\n"
        f"target = Target('t', data=Data(train=Sql({wrong!r}, 'select 1'), label='y'))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("sys.argv", ["firstfault", "debug", "target.py"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert ended.value.code == 2 and "authentication failed" in told.err and "an0therp4ss" not in told.err + told.out


def test_a_source_shows_no_password():
    """Neither its text nor its representation, which messages quote."""
    source = Sql("postgresql://me:hidden@host/db", "select 1")
    assert "hidden" not in str(source) + repr(source) + source.place + repr(Data(train=source))
    with pytest.raises(TargetError, match=r"Sql\.query must be a query, but got ''"):
        Sql("sqlite:///x.db", "")
    with pytest.raises(TargetError, match=r"Sql\.url must be a database URL"):
        Sql("rows.db", "select 1")


def test_sqlite_is_looked_up_beside_the_target(tmp_path):
    """A query may hold percent signs and colons; an absent file is not created."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    pd.DataFrame({"a": range(40), "t": ["50% :x"] * 40, "y": [0, 1] * 20}).to_sql("rows", engine, index=False)
    engine.dispose()
    query = "select * from rows where t like '50% :x' and t <> '12:30'"
    splits = load_raw(Target("t", data=Data(train=Sql("sqlite:///rows.db", query), label="y"), root=tmp_path))
    assert sum(len(split.y) for _, split in splits.items()) == 40
    with pytest.raises(TargetError, match=r"data\.train: there is no file .*gone\.db"):
        load_raw(Target("t", data=Data(train=Sql("sqlite:///gone.db", query), label="y"), root=tmp_path))
    assert not (tmp_path / "gone.db").exists()


def test_a_sweep_is_kept_in_the_database_and_resumed(server, tmp_path):
    """Every training is a trial there; what has been trained is not trained again."""
    X, y = load_wine(return_X_y=True)
    training = Training(loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=2)
    target = Target(
        "wine",
        data=Data(train=(X, y)),
        preprocess=StandardScaler(),
        model=lambda: nn.Linear(13, 3),
        training=training,
        root=tmp_path,
    )
    place, trained = server.render_as_string(hide_password=False), []
    whole = sweep(Subject(target, tmp_path), factors=["adam"], seeds=2, storage=place)
    again = sweep(Subject(target, tmp_path), resume=True, storage=place, on_trial=trained.append)
    assert again.to_json() == whole.to_json() and not trained
    engine = sqlalchemy.create_engine(server)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select count(*) from trials where state = 'COMPLETE'")).scalar() == 4
    engine.dispose()
