"""Requests from logs that others wrote."""

import gzip
import json
import zipfile

import pandas as pd
import pytest

from firstfault.errors import FirstfaultError
from firstfault.monitor.logged import columns_of, read_logs
from firstfault.monitor.store import Store

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROWS = [
    {
        "request_id": "a",
        "timestamp_ms": 1_700_000_000_000,
        "status_code": 200,
        "duration_ms": 12.5,
        "request": '{"age": 30, "name": "Ada Lovelace"}',
        "response": {"label": 1},
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    },
    {"request_id": "b", "timestamp": "2023-11-14T22:13:20Z", "status": "ERROR", "age": 31, "error": "KeyError: 'Ada'"},
]


def test_rows_become_records(settings, tmp_path):
    """Usual names are known, JSON within a text is read, other columns are the input, broken lines counted."""
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join([*map(json.dumps, ROWS), "no json", '{"time": "never"}', "[1]"]))
    assert str(read_logs(settings, str(file), {})) == "2 requests in 1 files; 3 rows could not be read as requests"
    one, two = Store(settings).records()
    assert (one.way, one.request_id, one.status, one.stages.total, one.trace_id) == ("logs", "a", 200, 0.0125, TRACE)
    assert one.values["raw"]["age"] == 30 and one.values["raw"]["name"].startswith("name •")
    assert one.values["label"] == {"label": 1} and one.cuts.raw and one.cuts.label
    assert (two.outcome, two.status, two.values["raw"]) == ("error", 500, {"age": 31})
    assert one.time == two.time == 1_700_000_000.0


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl.gz", "json", "zip"])
def test_every_kind_of_file_is_read(settings, tmp_path, kind):
    """Parquet, CSV, compressed lines, a list in JSON and lines in an archive hold the same rows, by names one tells."""
    rows = [{"key": f"r{number}", "when": 1.7e9 + number, "x": number, "y": number % 2} for number in range(20)]
    file = tmp_path / f"log.{kind}"
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(file)
    elif kind == "csv":
        pd.DataFrame(rows).to_csv(file, index=False)
    elif kind == "json":
        file.write_text(json.dumps(rows))
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("day/log.jsonl", "\n".join(map(json.dumps, rows)))
        file = f"zip://day/*.jsonl::{file}"
    else:
        file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    columns = columns_of(["request_id=key", "time=when", "output=y"])
    assert read_logs(settings, str(file), columns).requests == 20
    records = Store(settings).records()
    assert [record.request_id for record in records] == [f"r{number}" for number in range(20)]
    assert str(records[3].values) in ("{'raw': {'x': 3}, 'label': 1}", "{'raw': {'x': '3'}, 'label': '1'}")


def test_a_folder_is_read_once(settings, tmp_path):
    """Files that were read before are passed over until they change, so that a window can come again and again."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "one.jsonl").write_text(json.dumps(ROWS[0]))
    (folder / "notes.txt").write_text("no log")
    assert read_logs(settings, str(folder), {}).requests == 1
    (folder / "two.jsonl").write_text(json.dumps(ROWS[1]))
    found = read_logs(settings, f"{folder}/*.jsonl", {})
    assert (found.files, found.before, found.requests) == (1, 1, 1)
    assert read_logs(settings, str(folder), {}, again=True).requests == 2


def test_a_large_file_passes_through_a_small_queue(settings, tmp_path):
    """Whoever brings requests waits; none is dropped."""
    import msgspec

    settings = msgspec.structs.replace(settings, queue=1 << 20, body=1 << 10, sample=0.01, control=0)
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join(json.dumps({"request_id": f"r{n}", "input": "x" * 5000}) for n in range(600)))
    assert read_logs(settings, str(file), {}).requests == 600
    assert (Store(settings).counted()["requests"], Store(settings).losses()) == (600, {})


def test_a_time_without_end_is_no_time(settings, tmp_path):
    """A row whose time is no finite number is counted as broken, and holds nobody up."""
    file = tmp_path / "log.parquet"
    pd.DataFrame({"time": [1.7e9, float("inf"), float("-inf")], "x": [1, 2, 3]}).to_parquet(file)
    found = read_logs(settings, str(file), {})
    assert (found.requests, found.broken) == (1, 2)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("absent.jsonl", "there is none"),
        ("nothing/*.jsonl", "there is none"),
        ("nope://x.jsonl", "must be a path that fsspec can read here"),
    ],
)
def test_a_path_that_is_none_gets_a_sentence(settings, tmp_path, path, said):
    """What was expected and what came."""
    with pytest.raises(FirstfaultError, match=said):
        read_logs(settings, path if "://" in path else str(tmp_path / path), {})


def test_a_bad_column_gets_a_sentence():
    """The parts that a request has are listed."""
    with pytest.raises(FirstfaultError, match="did you mean input"):
        columns_of(["inptu=x"])
