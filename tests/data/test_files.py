"""Sources as they come: broken lines, encodings, separators, damaged files, and tables that cannot be used."""

import datetime
import gzip
import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from firstfault import Data, Target, Training
from firstfault.check import Depth, run_checks
from firstfault.cli import app as cli
from firstfault.data.csv import survey
from firstfault.data.digest import data_digest
from firstfault.data.splits import Split, load_raw, load_reference
from firstfault.errors import TargetError
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject


def rows(splits):
    """How many rows the three splits have together."""
    return sum(len(split.y) for _, split in splits.items())


def lines(n=100, separator=","):
    """The lines of a CSV file with a number, a text and a label; the first is the header."""
    return [separator.join(line) for line in [("a", "b", "y"), *((str(i), f"text {i}", str(i % 2)) for i in range(n))]]


@pytest.fixture
def read(tmp_path):
    """A function that writes a file and gives its raw splits and the findings about its columns and files."""

    def through(content, name="rows.csv", **data):
        content = "\n".join(content) + "\n" if isinstance(content, list) else content
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        subject = Subject(
            Target("t", data=Data(**{"train": name, "label": "y", **data}), root=tmp_path),
            tmp_path / "run",
            Depth.QUICK,
        )
        report = run_checks(Layer.DATA, subject, Depth.QUICK)
        assert not [finding for finding in report.findings if finding.status is Status.ERROR]
        return subject.raw, {
            name: [finding for finding in report.findings if finding.check == name]
            for name in ("broken_files", "differing_columns")
        }

    return through


def test_a_sound_file_is_not_blamed(read):
    """All of its lines are read."""
    splits, found = read(lines())
    assert rows(splits) == 100 and [finding.status for finding in found["broken_files"]] == [Status.PASS]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7,text", "2 fields instead of 3"),
        ("7,text,1,9,9", "5 fields instead of 3"),
        ('7,"text,1', "a quote that is not closed"),
        ('7,"text","x",1', "4 fields instead of 3"),
    ],
)
@pytest.mark.parametrize("place", [1, 50, 100])
def test_a_broken_line_is_left_out_and_named(read, line, reason, place):
    """The good lines stay, wherever the broken one is, and the counts add up."""
    content = lines()
    content[place] = line
    splits, found = read(content)
    [finding] = found["broken_files"]
    assert rows(splits) == 99 and finding.status is Status.FAIL and finding.faults == {"noisy_features": 0.92}
    assert (
        f"1 lines of rows.csv are broken and left out, 99 rows are read: line {place + 1} has {reason}"
        in finding.message
    )


def test_many_unclosed_quotes_cost_their_own_lines_only(read):
    """A quote that a later stray one closes does not swallow the lines between."""
    content = lines(200)
    for place in (20, 60, 61, 150):
        content[place] = f'{place},"text,1'
    splits, found = read(content)
    assert rows(splits) == 196 and all(
        f"line {place + 1} " in found["broken_files"][0].message for place in (20, 60, 61, 150)
    )


def test_separators_quotes_and_lines_within_quotes_are_no_defect(read):
    """Fields may hold commas, doubled quotes, inches and line breaks."""
    content = [
        *lines(96),
        '96,"a, b",0',
        '97,"says ""hi"", twice",1',
        '98,"first\nsecond\nthird",0',
        '99,5" pipe,1',
        "",
    ]
    splits, found = read(content)
    texts = {text for _, split in splits.items() for text in split.X["b"]}
    assert rows(splits) == 100 and found["broken_files"][0].status is Status.PASS
    assert {"a, b", 'says "hi", twice', "first\nsecond\nthird", '5" pipe'} <= texts


def test_a_record_that_a_block_cuts_is_read_whole(read, monkeypatch):
    """Files are surveyed a block at a time, and multi-line records and broken lines lie on their borders too."""
    monkeypatch.setattr("firstfault.data.csv.BLOCK", 40)
    content = [line for i in range(60) for line in (f'{i},"one\ntwo, {i}",{i % 2}', f"{i},x,1")]
    content[31] = "1,2"
    splits, found = read(["a,b,y", *content])
    assert rows(splits) == 119 and "line 49 has 2 fields" in found["broken_files"][0].message


def test_a_file_of_other_lines_than_its_header_is_refused(read):
    """Header and lines disagree: no column would be what it is called."""
    with pytest.raises(
        TargetError,
        match=r"rows\.csv\) must have as many fields in a line as its header, which has 3, but most lines have 5",
    ):
        read(["a,b,y", *["1,2,3,4,5"] * 20])


def test_free_text_is_no_csv(read):
    """Most lines are broken."""
    with pytest.raises(TargetError, match=r"same number of fields in every line, but \d+ of 12 lines are broken"):
        read(
            [
                "a,b,y",
                "1",
                "1,2",
                "1,2,3,4",
                "1,2,3,4,5",
                "1,2,3,4,5,6",
                "7,7,7,7,7,7,7",
                "1",
                "1,2",
                "1,2,3,4",
                "1,2,3,4,5",
                "1,2,3",
            ]
        )


@pytest.mark.parametrize("end", [",", ""])
def test_a_separator_at_every_lines_end_shifts_no_column(read, end):
    """pandas alone would take the first column for row names."""
    splits, _ = read(["a,b,y", *(f"{i},{i + 500},{i % 2}{end}" for i in range(50))])
    assert list(splits.train.X.columns) == ["a", "b"] and splits.train.X["a"].max() < 500 <= splits.train.X["b"].min()


def test_lines_of_two_encodings_are_read_and_named(read):
    """UTF-8 and Latin-1 in one file: what pandas refuses as a whole."""
    content = [line.encode() for line in lines()]
    content[10], content[20] = "9,Zoë,1".encode(), "19,Zoë,1".encode("latin-1")
    splits, found = read(b"\n".join(content))
    [finding] = found["broken_files"]
    assert finding.status is Status.FAIL and "1 lines are UTF-8, but line 21 is not" in finding.message
    assert rows(splits) == 100 and sum((split.X["b"] == "Zoë").sum() for _, split in splits.items()) == 2


def test_a_file_of_one_other_encoding_is_a_warning(read):
    """It is read by a guess that fits all of it."""
    splits, found = read("\n".join([*lines(), "100,Zoë,1"]).encode("cp1252"))
    assert found["broken_files"][0].status is Status.WARN and rows(splits) == 101


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_at_the_start_tells_the_encoding(read, encoding):
    """A byte order mark is no part of the first column's name."""
    splits, found = read("\n".join([*lines(), "100,Zoë,1"]).encode(encoding))
    assert (
        list(splits.train.X.columns) == ["a", "b"]
        and rows(splits) == 101
        and found["broken_files"][0].status is Status.PASS
    )


@pytest.mark.parametrize(("separator", "spoken"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a bar")])
def test_another_separator_is_seen_and_told(read, separator, spoken):
    """Decimal commas in the fields do not hide it."""
    content = [line.replace("text ", "1,") for line in lines(separator=separator)]
    splits, found = read(content)
    assert (
        list(splits.train.X.columns) == ["a", "b"]
        and f"{spoken} between its fields" in found["broken_files"][0].message
    )


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_every_system_are_read(read, end):
    """Windows and old Macs."""
    assert rows(read(end.join(lines()))[0]) == 100


def test_a_file_of_carriage_returns_may_end_with_a_newline(read):
    """The line ends are those that most lines have."""
    assert rows(read("\r".join([*lines(), "\n"]))[0]) == 100


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (['"a', 'of two lines","b",y', *lines()[1:]], ["a\nof two lines", "b"]),
        (["", 'a;"b', "c;d", 'e";y', *lines(separator=";")[1:]], ["a", "b\nc;d\ne"]),
        (['\ufeff"a', 'b",b,y', *lines()[1:]], ["a\nb", "b"]),
    ],
)
def test_a_name_in_the_header_may_go_over_several_lines(read, content, columns):
    """In quotes, as any field may."""
    splits, found = read(content)
    assert (
        list(splits.train.X.columns) == columns
        and rows(splits) == 100
        and found["broken_files"][0].status is Status.PASS
    )


def test_a_quote_that_the_header_does_not_close_is_one_sentence(read):
    """A later line's quote does not make one name of all lines between."""
    with pytest.raises(TargetError, match="must be a whole csv file"):
        read(['a,"b,y', *lines()[1:50], '50,"text,1', *lines()[51:]])


def test_fields_may_be_long(tmp_path):
    """Longer than the 131,072 characters at which Python's own reader stops, in the first lines and in names.

    Its limit is the process's.
    """
    long = '"' + "x," * 100_000 + '"'
    content = [f"a,{'b' * 140_000},y", *(f"{i},{long if i == 5 else 'x'},{i % 2}" for i in range(40))]
    (tmp_path / "long.csv").write_text("\n".join(content))
    command = (
        "from pathlib import Path; from firstfault.data.files import *; "
        "print(read_file(Path('long.csv'), 'train', Read()).shape)"
    )
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "(40, 3)\n", done.stderr[-500:]


@pytest.mark.parametrize(
    ("line", "reason"),
    [("7,te\0xt,1", "a NUL byte"), ("1\x005,text,1", "a NUL byte"), ("7,te\rxt,1", "a line end within a field")],
)
@pytest.mark.parametrize("place", [1, 50, 100])
def test_a_line_that_pandas_would_cut_is_left_out_and_named(read, line, reason, place):
    """pandas reads 1 NUL 5 as 1, and two rows of a line with a lone carriage return, without a word."""
    content = lines()
    content[place] = line
    splits, found = read(content)
    assert rows(splits) == 99 and f"line {place + 1} has {reason}" in found["broken_files"][0].message


def test_a_record_of_several_lines_with_a_nul_byte_goes_as_a_whole(read):
    """What is left of it would open a quote; carriage returns within quotes are text."""
    content = lines()
    content[50], content[60] = '7,"one\nt\0o\nthree",1', '8,"one\rtwo",1'
    splits, found = read(content)
    assert rows(splits) == 99 and "line 53 has a NUL byte" in found["broken_files"][0].message
    assert any((split.X["b"] == "one\rtwo").any() for _, split in splits.items())


def test_a_file_of_nul_bytes_is_one_sentence(read):
    """Such as a disk leaves after a crash."""
    with pytest.raises(TargetError, match="must have a header of text, but it has NUL bytes"):
        read(b"\0" * 4096)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_seen_without_a_mark(read, encoding):
    """Every other byte is 0."""
    splits, found = read("\n".join(lines()).encode(encoding))
    assert rows(splits) == 100 and f"rows.csv is {encoding.upper()}" in found["broken_files"][0].message


def test_a_separator_at_the_end_of_header_and_lines_makes_no_column(read):
    """It is told."""
    splits, found = read([f"{line}," for line in lines()])
    assert (
        list(splits.train.X.columns) == ["a", "b"]
        and "a comma at the end of every line" in found["broken_files"][0].message
    )


def test_wide_files_are_read(tmp_path):
    """Five thousand columns."""
    content = [
        ",".join([*(f"c{i}" for i in range(5000)), "y"]),
        *(",".join([*map(str, range(row, row + 5000)), str(row % 2)]) for row in range(20)),
    ]
    (tmp_path / "wide.csv").write_text("\n".join(content))
    assert load_raw(Target("t", data=Data(train="wide.csv", label="y"), root=tmp_path)).train.X.shape[1] == 5000


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.csv.gz", lambda frame, path: frame.to_csv(path, index=False)),
        ("rows.tsv", lambda frame, path: frame.to_csv(path, index=False, sep="\t")),
        ("rows.jsonl.gz", lambda frame, path: frame.to_json(path, orient="records", lines=True)),
        ("rows.parquet", lambda frame, path: frame.to_parquet(path)),
    ],
)
def test_files_of_every_kind_give_the_same_table(tmp_path, name, write):
    """CSV, TSV, JSON lines and Parquet, compressed or not."""
    frame = pd.DataFrame(
        {"a": np.arange(40), "b": np.linspace(0, 1, 40).round(3), "c": ["x", "yz"] * 20, "y": [0, 1] * 20}
    )
    write(frame, tmp_path / name)
    splits = load_raw(Target("t", data=Data(train=name, label="y"), root=tmp_path))
    whole = pd.concat([split.X for _, split in splits.items()]).sort_values("a").reset_index(drop=True)
    pd.testing.assert_frame_equal(whole, frame.drop(columns="y"))


def test_repeated_names_in_a_header_are_told(read):
    """pandas renames the second, silently."""
    splits, found = read(["a,a,y", *(f"{i},{i},{i % 2}" for i in range(30))])
    assert (
        list(splits.train.X.columns) == ["a", "a.1"]
        and "header of rows.csv repeats a" in found["broken_files"][0].message
    )


def test_broken_lines_of_json_are_left_out_and_named(read):
    """A cut line, and one that is no object; nested values stay."""
    content = [f'{{"a": {i}, "n": {{"k": [{i}]}}, "y": {i % 2}}}' for i in range(50)]
    content[4], content[9] = '{"a": 4, "n"', "[1, 2]"
    splits, found = read(content, "rows.jsonl")
    message = found["broken_files"][0].message
    assert rows(splits) == 48 and "line 5 has no JSON" in message and "line 10 has a list, not an object" in message
    assert isinstance(splits.train.X["n"].iloc[0], dict)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("cut.parquet", b"PAR1....", "must be a whole parquet file, but cut.parquet can't be read as one"),
        (
            "cut.csv.gz",
            gzip.compress(b"a,y\n" + b"1,0\n" * 999, mtime=0)[:-12],
            "must be a whole csv file, but cut.csv.gz can't be read as one",
        ),
        ("empty.csv", b"", "must have at least one row, but it is empty"),
        ("head.csv", b"a,y\n", "must have at least one row, but it is an empty table"),
        ("empty.jsonl", b"", "at least one row"),
        ("text.jsonl", b"hello\nworld\n", "must have one JSON object per line, but 2 lines"),
        ("rows.xlsx", b"PK", "must be a .csv"),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_sentence(read, name, content, sentence):
    """What was expected, and what came."""
    with pytest.raises(TargetError) as told:
        read(content, name)
    assert sentence in str(told.value) and len(str(told.value).splitlines()) == 1


BASE = pd.DataFrame({"a": np.arange(20.0), "b": ["p", "q"] * 10, "y": [0, 1] * 10})


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (pd.concat([BASE, BASE[["a"]]], axis=1), "columns of distinct names, but has more than one 'a'"),
        (pd.concat({"p": BASE}, axis=1), "one name per column, but its columns have names of 2 levels"),
        (BASE[["y"]], "values beside the label"),
        (BASE.iloc[:0], "at least one row"),
        (BASE.drop(columns="y"), "has no column 'y'"),
        (BASE.assign(y=[[1], [2]] * 10), "labels that are single values, but y holds lists or mappings"),
        (([[1], [1, 2]], [0, 1]), "samples of one shape"),
        ((BASE, 3), "one label per sample"),
        ((BASE, BASE["y"], 1), "but got tuple of 3"),
        ({"a": 1}, "a path, a DataFrame, (X, y), a callable or Sql, but got dict"),
        (pa.table(BASE), "but got pyarrow.Table, which can be given as its to_pandas()"),
        ((np.zeros((3, 0)), [0, 1, 0]), "values beside the label"),
    ],
)
def test_a_table_that_cannot_be_used_gets_one_sentence(source, sentence):
    """Before any check runs."""
    with pytest.raises(TargetError) as told:
        load_raw(Target("t", data=Data(train=source, label="y")))
    assert sentence in str(told.value)


def test_the_command_line_ends_with_2_and_one_sentence(tmp_path, monkeypatch, capsys):
    """No traceback for a file that is none."""
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "target.py").write_text(
        'from firstfault import Data, Target\ntarget = Target("t", data=Data(train="rows.parquet", label="y"))\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["firstfault", "debug", "target.py"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and len(told.splitlines()) == 1 and "must be a whole parquet file" in told


@pytest.mark.parametrize(
    "labels",
    [
        pd.array([0, 1, None] * 10, dtype="Int64"),
        pd.array([True, None, False] * 10, dtype="boolean"),
        pd.array(["u", None, "v"] * 10, dtype="string"),
    ],
)
def test_labels_of_pandas_own_types_become_numpys(labels):
    """What is missing is NaN or None, and not a value of its own."""
    y = load_raw(Target("t", data=Data(train=pd.DataFrame({"a": range(30), "y": labels}), label="y"))).train.y
    assert isinstance(y, np.ndarray) and 0 < pd.isna(y).sum() < len(y) and not any(value is pd.NA for value in y)


def test_a_masked_array_keeps_its_gaps():
    """What is masked is missing."""
    X = np.ma.masked_greater(np.arange(60.0).reshape(20, 3), 50)
    splits = load_raw(Target("t", data=Data(train=(X, [0, 1] * 10))))
    assert sum(np.isnan(split.X).sum() for _, split in splits.items()) == 9


def test_parquet_is_read_as_pandas_reads_it(tmp_path):
    """Column by column: types, missing values, names and a stored index come out the same."""
    n = 60
    frame = pd.DataFrame(
        {
            "i": np.arange(n),
            "f": np.where(np.arange(n) % 7 == 0, np.nan, 1.5),
            "s": ["x", None, "z"] * 20,
            "c": pd.Categorical(["u", "v"] * 30),
            "n": pd.array([1, None] * 30, dtype="Int64"),
            "d": pd.date_range("2020", periods=n, tz="UTC"),
            "o": [{"k": 1}, {"k": 2}] * 30,
            "a.b": np.arange(n),
            "far": np.array([datetime.date(3000, 1, 1)] * n),
            "y": [0, 1] * 30,
        }
    ).set_index(pd.Index(np.arange(n) + 5, name="key"))
    frame.to_parquet(tmp_path / "rows.parquet")
    known = pd.read_parquet(tmp_path / "rows.parquet").drop(columns="y").reset_index(drop=True)
    whole = load_reference(
        Target("t", data=Data(train="rows.parquet", reference="rows.parquet", label="y"), root=tmp_path)
    )
    pd.testing.assert_frame_equal(whole.X, known)


def test_what_is_read_is_free_to_be_changed(tmp_path):
    """The user's own frame stays as it is, and no column is read-only."""
    frame = pd.DataFrame({"a": np.arange(30.0), "y": [0, 1] * 15})
    frame.to_parquet(tmp_path / "rows.parquet")
    for train in (frame, "rows.parquet"):
        splits = load_raw(Target("t", data=Data(train=train, validation=train, test=train, label="y"), root=tmp_path))
        for _, split in splits.items():
            split.X.loc[0, "a"], split.y[0] = -1, 9
    assert frame["a"].iloc[0] == 0 and frame["y"].iloc[0] == 0


def nested_hold_out(frame, seed, group):
    """The splits as two cuts made one after the other: an independent, slow reference."""

    def cut(part, seed):
        places = np.arange(len(part))
        if group:
            return next(GroupShuffleSplit(1, test_size=0.2, random_state=seed).split(part, groups=part["g"]))
        strata = pd.factorize(part["y"])[0]
        return train_test_split(places, test_size=0.2, random_state=seed, stratify=strata)

    kept, test = cut(frame, seed)
    rest = frame.iloc[kept].reset_index(drop=True)
    kept, validation = cut(rest, seed + 1)
    return rest.iloc[kept], rest.iloc[validation], frame.iloc[test]


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("group", [None, "g"])
def test_the_splits_are_those_of_two_cuts(seed, group):
    """All rows are dealt first and taken once, and the rows of every split stay what they were."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"a": np.arange(200), "g": rng.choice(list("abcdefghij"), 200), "y": rng.choice(["u", "v", "w"], 200)}
    )
    splits = load_raw(Target("t", data=Data(train=frame, label="y", group=group), training=Training(seed=seed)))
    for (_, split), known in zip(splits.items(), nested_hold_out(frame, seed, group), strict=True):
        assert split.X["a"].tolist() == known["a"].tolist() and split.y.tolist() == known["y"].tolist()


def digest(X, y):
    """The digest of a training split."""
    return data_digest(Split(X, np.asarray(y)))


def test_the_digest_is_that_of_the_content():
    """Equal content has one digest; a value, a name, an order or a late label changes it."""
    y = np.arange(20_000) % 2
    frame = pd.DataFrame({"a": np.arange(20_000.0), "b": ["p", None] * 10_000, "c": [[1], {"k": 2}] * 10_000})
    late, value = y.copy(), frame.copy()
    late[-1], value.loc[19_999, "b"] = 5, "z"
    others = [
        digest(frame, late),
        digest(value, y),
        digest(frame.rename(columns={"a": "x"}), y),
        digest(frame.iloc[::-1], y),
    ]
    assert digest(frame, y) == digest(frame.copy(), y.copy()) and len({digest(frame, y), *others}) == 5


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a mark"])
def test_a_header_among_the_rows_is_left_out_and_named(tmp_path, mark):
    """Files put one behind the other: the columns stay numbers, and every line is told, of another order too."""
    part = (
        mark
        + b"age,income,bought\r\n"
        + b"".join(b"%d,%d.5,%s\r\n" % (i, i, b"no" if i % 2 else b"yes") for i in range(50))
    )
    again = part.replace(b"age,income", b"income,age"), part.replace(b"age,income,bought", b'"age", "income" ,bought')
    (tmp_path / "rows.csv").write_bytes(part + part + b"".join(again))
    target = Target("t", data=Data(train="rows.csv", label="bought"), root=tmp_path)
    splits = load_raw(target)
    [defect] = splits.readings["train"].defects
    assert "line 52 has the header again; line 103 has the header again, in another order" in defect.message
    assert "line 154 has the header again" in defect.message
    assert rows(splits) == 200 and set(splits.train.X.dtypes.map(lambda dtype: dtype.kind)) <= {"i", "f"}


@pytest.mark.parametrize("content", ["1,2\n" * 60, "name\n" + "name\nother\n" * 30], ids=["numbers", "one column"])
def test_a_row_like_the_first_line_is_kept(content):
    """A header of numbers, or of one name, is no header again."""
    assert not survey(io.BytesIO(content.encode()), "data.train").broken
