"""New contents are found once, wherever they lie."""

import sqlite3

import pytest

from firstfault.data.new_data import new_contents, remember
from firstfault.errors import TargetError


def look(source, memory, **options):
    """One look: what is new, remembered."""
    found = new_contents(str(source), memory, **options)
    for content in found:
        remember(content, memory)
    return [content.uri for content in found]


def test_a_file_is_new_once_per_content(tmp_path):
    """The same bytes are not new again; changed bytes are."""
    file, memory = tmp_path / "a.csv", tmp_path / "state" / "seen.json"
    file.write_text("x\n1\n")
    assert look(file, memory) == [str(file)]
    assert look(file, memory) == []
    file.write_text("x\n2\n")
    assert look(file, memory) == [str(file)]


def test_a_glob_finds_each_file(tmp_path):
    """Every matching file counts by itself; folders don't."""
    memory = tmp_path / "seen.json"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "folder.csv").mkdir()
    for name in ("a.csv", "b.csv", "c.txt"):
        (tmp_path / "in" / name).write_text(name)
    assert len(look(tmp_path / "in" / "*.csv", memory)) == 2


def test_a_path_without_a_file_is_nothing_new(tmp_path):
    """The data set may arrive later."""
    assert look(tmp_path / "later.csv", tmp_path / "seen.json") == []


def test_a_query_is_new_when_its_result_changes(tmp_path):
    """An SQL source is watched by its result."""
    database, memory = tmp_path / "d.sqlite", tmp_path / "seen.json"
    with sqlite3.connect(database) as connection:
        connection.execute("create table t (x int)")
        connection.execute("insert into t values (1)")
    url, query = f"sqlite:///{database}", "select x from t order by x"
    assert len(look(url, memory, query=query)) == 1
    assert look(url, memory, query=query) == []
    with sqlite3.connect(database) as connection:
        connection.execute("insert into t values (2)")
    assert len(look(url, memory, query=query)) == 1


def test_a_query_is_sent_as_it_is(tmp_path):
    """Colons, per cents and a comment in a query are the database's own, and no parameters."""
    with sqlite3.connect(tmp_path / "d.sqlite") as connection:
        connection.execute("create table t (x int)")
    url = f"sqlite:///{tmp_path}/d.sqlite"
    assert len(new_contents(url, tmp_path / "seen.json", query="select x from t where 'a :b' <> '50% %s' -- :c")) == 1


def test_a_bad_query_is_refused_in_one_sentence(tmp_path):
    """The database's own reason is in the sentence."""
    with pytest.raises(TargetError, match="no such table"):
        new_contents(f"sqlite:///{tmp_path}/d.sqlite", tmp_path / "seen.json", query="select * from absent")


def test_a_damaged_memory_starts_afresh(tmp_path):
    """A half-written memory doesn't stop the watch."""
    file, memory = tmp_path / "a.csv", tmp_path / "seen.json"
    file.write_text("x")
    memory.write_text("{half")
    assert look(file, memory) == [str(file)]
