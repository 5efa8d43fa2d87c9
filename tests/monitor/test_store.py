"""Hours that are over, what is removed, and labels that come later."""

import json
from pathlib import Path

import fsspec
import msgspec
import pandas as pd
import pyarrow.parquet as pq
import pytest

from firstfault.errors import FirstfaultError
from firstfault.monitor.database import COUNT, HOLD, Database
from firstfault.monitor.hours import close_hours, drawn, hours_of, write_hour
from firstfault.monitor.labels import join
from firstfault.monitor.logged import read_logs
from firstfault.monitor.record import Arm, Cuts, Outcome, Record, Resources, Stages, Stream
from firstfault.monitor.retention import prune
from firstfault.monitor.segments import Segment
from firstfault.monitor.settings import DAY, settings_of
from firstfault.monitor.store import Store

NOW = 1_800_000_000.0
HOUR = 3600.0


def record(name, time=NOW, **more):
    """A record with some of everything."""
    return msgspec.structs.replace(
        Record(
            request_id=name,
            trace_id="1" * 32,
            span_id="2" * 16,
            time=time,
            way="asgi",
            model="churn",
            version="7",
            arm=Arm.CANARY,
            status=200,
            outcome=Outcome.OK,
            stages=Stages(0.5, model=0.25),
            cuts=Cuts(raw="~ab", label="cd"),
            raw=f"2027-01-15T08/w:{name}",
            values={"raw": {"age": 3, "more": [None, "é"]}},
            headers={"accept": "*/*"},
            resources=Resources(0.5, 1000),
            stream=Stream(0.1, 3, 0.2, 0.3),
            marks=("odd",),
            reasons=("sample",),
            weight=1.0,
        ),
        **more,
    )


def segment(settings, hour, records, writer="w"):
    """A segment that its writer has left."""
    written = Segment(settings.folder, hour, writer)
    written.write(records)
    written.close()


def test_an_hour_becomes_parquet_and_back(settings):
    """Every field comes back as it was, and the file is compressed with zstd."""
    there = [record("a"), record("b", control=0.5, weight=0.0, error="no", label={"truth": 1}, confidence=0.5)]
    segment(settings, "2027-01-15T07", there)
    assert close_hours(settings, NOW) == 1
    assert Store(settings).records() == there
    assert list((settings.folder / "segments").iterdir()) == []
    (path,) = hours_of(settings)
    assert pq.ParquetFile(path.removeprefix("file://")).metadata.row_group(0).column(0).compression == "ZSTD"


def test_past_hours_become_parquet_by_themselves(settings, tmp_path):
    """A writer that begins has them tidied by a program of its own."""
    segment(settings, "2027-01-15T07", [record("a")])
    (tmp_path / "log.jsonl").write_text('{"request_id": "b", "age": 3}')
    assert read_logs(settings, str(tmp_path / "log.jsonl"), {}).requests == 1
    assert [path.rpartition("/")[2][:13] for path in hours_of(settings)] == ["2027-01-15T07"]
    assert {found.request_id for found in Store(settings).records()} == {"a", "b"}


def test_an_hour_that_is_written_to_is_left_alone(settings):
    """The present hour, and a segment whose writer lives, stay lines; those of a dead writer do not."""
    segment(settings, "2027-01-15T08", [record("now")])
    segment(settings, "2027-01-15T07", [record("left")], "dead")
    alive = Segment(settings.folder, "2027-01-15T07", "alive")
    alive.write([record("going on")])
    assert close_hours(settings, NOW) == 1
    assert {found.request_id for found in Store(settings).records()} == {"now", "left", "going on"}
    assert len(list((settings.folder / "segments").glob("*/*.jsonl"))) == 2
    alive.close()
    assert close_hours(settings, NOW) == 1
    assert {found.request_id for found in Store(settings).records()} == {"now", "left", "going on"}


def test_a_record_that_was_written_twice_is_one(settings):
    """A writer that was killed may have written what its successor wrote again, or died between Parquet and lines."""
    segment(settings, "2027-01-15T07", [record("a"), record("b"), record("a")])
    write_hour([record("b")], str(settings.folder / "hours" / "2027-01-15T07-x.parquet"))
    assert [found.request_id for found in Store(settings).records()] == ["a", "b"]


def test_the_lottery_is_decided_when_the_hour_is_over():
    """Of the candidates, the lowest stay controls; one that is in the sample too stays a record."""
    places = [record(f"r{place}", control=place / 10, weight=0.0 if place % 2 else 20.0) for place in range(10)]
    kept = drawn(places, 4)
    assert [found.request_id for found in kept if found.control is not None] == ["r0", "r1", "r2", "r3"]
    assert sum(found.weight for found in kept) == 100.0 and len(kept) == 7
    assert [found.control for found in drawn(places, 0) if found.control] == []


def test_hours_lie_where_the_archive_says(settings):
    """Any path that fsspec knows takes them."""
    settings = msgspec.structs.replace(settings, archive="memory://archive/churn")
    segment(settings, "2027-01-15T07", [record("a")])
    close_hours(settings, NOW)
    assert fsspec.filesystem("memory").ls("/archive/churn", detail=False)
    assert [found.request_id for found in Store(settings).records()] == ["a"]
    assert prune(msgspec.structs.replace(settings, keep_bytes=0), NOW).files == 1
    assert hours_of(settings) == []


@pytest.fixture
def three_hours(settings):
    """Three hours, of which the oldest is two days old."""
    folder = settings.folder / "hours"
    for number, hour in enumerate(("2027-01-13T07", "2027-01-15T06", "2027-01-15T07")):
        write_hour([record(f"{number}{name}") for name in "ab"], str(folder / f"{hour}-x.parquet"))
    return [path.removeprefix("file://") for path in hours_of(settings)]


def test_what_is_too_old_is_removed(settings, three_hours):
    """By age, an hour as a whole."""
    gone = prune(msgspec.structs.replace(settings, keep_days=1.0), NOW)
    assert (gone.files, gone.held) == (1, 0)
    assert {found.request_id[0] for found in Store(settings).records()} == {"1", "2"}


def test_what_is_too_much_is_removed_from_the_oldest_on(settings, three_hours):
    """By bytes, until the rest fits."""
    most = Path(three_hours[-1]).stat().st_size + 10
    assert prune(msgspec.structs.replace(settings, keep_bytes=most), NOW).files == 2
    assert {found.request_id[0] for found in Store(settings).records()} == {"2"}


def test_what_an_incident_holds_stays(settings, three_hours):
    """Its records outlive their hour, through any number of removals."""
    store = Store(settings)
    held = [{"raw": found.raw, "incident": "incident-1"} for found in store.records() if found.request_id == "0b"]
    store.database.write([(HOLD, held)])
    assert prune(msgspec.structs.replace(settings, keep_bytes=0), NOW).held == 1
    prune(msgspec.structs.replace(settings, keep_bytes=0, keep_days=0.0), NOW + 400 * DAY)
    assert [found.request_id for found in Store(settings).records()] == ["0b"]


def test_old_counts_are_removed(settings):
    """Counts have the age of records."""
    rows = [
        {"minute": int(NOW - age * DAY), "model": "m", "version": "", "arm": "champion", "name": "requests", "n": 5}
        for age in (1, 40)
    ]
    Database(settings).write([(COUNT, rows)])
    prune(settings, NOW)
    assert Store(settings).counted() == {"requests": 5}


def test_another_database_counts_the_same(settings, tmp_path):
    """By its URL, through SQLAlchemy; counts of two writers add up."""
    settings = msgspec.structs.replace(settings, database=f"sqlite:///{tmp_path / 'other.db'}")
    row = {"minute": 60, "model": "m", "version": "", "arm": "champion", "name": "requests", "n": 2}
    for _ in range(2):
        Database(settings).write([(COUNT, [row])])
    assert Store(settings).counted() == {"requests": 4}
    with pytest.raises(FirstfaultError, match="must be the URL of one that SQLAlchemy knows"):
        Store(msgspec.structs.replace(settings, database="nonsense")).counted()


def labels_file(kind, path):
    """A file of labels: of a known request, of one that is unknown, and a line without a label."""
    rows = [{"request_id": "a", "label": 1}, {"request_id": "ghost", "label": 0}, {"request_id": "b", "label": None}]
    if kind == "jsonl":
        path.write_text("\n".join([*map(json.dumps, rows), "no json"]))
    elif kind == "csv":
        path.write_text("request_id,label\na,1\nghost,0\n,1\n")
    else:
        pd.DataFrame(rows).to_parquet(path)
    return str(path)


@pytest.mark.parametrize(("kind", "broken"), [("jsonl", 2), ("csv", 1), ("parquet", 1)])
def test_labels_join_their_requests(settings, tmp_path, kind, broken):
    """A label is on its record from then on; unknown ids and broken lines are counted and told."""
    segment(settings, "2027-01-15T07", [record("a")])
    close_hours(settings, NOW)
    segment(settings, "2027-01-15T08", [record("b")])
    joined = join(Store(settings), labels_file(kind, tmp_path / f"labels.{kind}"))
    assert (joined.known, joined.left_out, joined.unknown, joined.broken) == (1, 0, 1, broken)
    assert "1 are of unknown requests (ghost)" in str(joined)
    found = {each.request_id: each.label for each in Store(settings).records()}
    assert found["b"] is None and str(found["a"]).startswith("1")


def test_a_label_waits_for_its_request(settings, tmp_path):
    """A label that comes before its record is written is there when the record is."""
    join(Store(settings), labels_file("jsonl", tmp_path / "labels.jsonl"))
    segment(settings, "2027-01-15T08", [record("ghost")])
    assert [found.label for found in Store(settings).records()] == [0]


def test_ids_that_the_sample_leaves_out_are_told_apart(settings, tmp_path):
    """With a sample of half, an id is unknown for certain only where the sample would have kept it."""
    settings = msgspec.structs.replace(settings, sample=0.5)
    file = tmp_path / "labels.csv"
    file.write_text("id,truth\n" + "".join(f"r{number},1\n" for number in range(100)))
    joined = join(Store(settings), str(file), "id", "truth")
    assert joined.known == 0 and joined.left_out + joined.unknown == 100 and 30 < joined.unknown < 70
    assert str(joined).endswith(" …)")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("labels.csv", "request,label\na,1\n", "must have the columns request_id and label, but its columns are"),
        ("labels.csv", "request,label\na,1\n", "did you mean request?"),
        ("labels.jsonl", "", "it has no line that can be read"),
        ("labels.txt", "a", "name must end in .jsonl"),
        ("labels.parquet", "no parquet", "must be parquet, but"),
        ("labels.csv", None, "must be a file that can be read, but: No such file"),
    ],
)
def test_a_file_that_is_none_gets_a_sentence(settings, tmp_path, name, content, said):
    """What was expected and what came."""
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(FirstfaultError, match=said.replace("?", r"\?")):
        join(Store(settings), str(file))


def test_settings_of_a_store_are_known_to_its_readers(settings, recorder, tmp_path):
    """The command line needs a store's folder alone."""
    from firstfault.cli.monitor import settings_from

    recorder.written()
    found = settings_from(settings.folder, "", "")
    assert (found.sample, found.model, found.version) == (1.0, "churn", "7")
    assert settings_from(tmp_path / "none", "", "").sample == settings_of().sample
