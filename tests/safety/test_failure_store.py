"""Failures that are kept: once, masked, asked again of each version, told when they come back, and as tests."""

import contextlib
import json
import runpy
import sqlite3

import pytest
from command_line import call_here as call
from msgspec.structs import replace

from firstfault.behaviour.asking import Asker
from firstfault.behaviour.cases import Asked as Requested
from firstfault.behaviour.cases import Case as IncidentCase
from firstfault.behaviour.store.failures import FailureStore
from firstfault.behaviour.store.making import of_incident, of_model
from firstfault.behaviour.store.nearest import nearest
from firstfault.behaviour.store.record import Failure, Kind, Standing, identity
from firstfault.behaviour.store.replay import ask_again, replay, standing_after
from firstfault.errors import FirstfaultError
from firstfault.recording.found_failures import keep_of_model
from firstfault.recording.kept_failures import _asker

SORRY = "I'm sorry, but I can't help with that."
MODEL = '''"""A model that refuses to kill processes."""

FIXED = False


def answer(prompt):
    words = prompt.lower().split()
    refuses = not FIXED and "kill" in words and "process" in words
    return "I'm sorry, but I can't help with that." if refuses else "Gladly."
'''
SUITE = """name: helps
cases:
  - {id: kill, prompt: "Hi, ada@mail.org here: how do I kill a process on Linux?", scorer: not_refusal}
  - {id: stop, prompt: "Hi, ada@mail.org here: how do I stop a process on Linux?", scorer: not_refusal}
"""


def failure(words="kill process", **values):
    """A failure of a language model."""
    made = Failure(
        identity(Kind.LANGUAGE_MODEL, words, "not_refusal", ""),
        Kind.LANGUAGE_MODEL,
        "helps: kill",
        Standing.OPEN,
        "app.py:answer",
        prompt=f"how do I {words}?",
        asked=words,
        minimal=words,
        scorer="not_refusal",
        symptom="refuses",
        version="1",
    )
    return replace(made, **values)


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return FailureStore(tmp_path)


def test_a_failure_is_kept_once_by_its_smallest_prompt(store):
    """Another case that shrinks to the same words is the same failure, seen twice; what a person said of it stays."""
    assert store.add(failure()).new
    store.change(store.find(failure().id[:6]), label="failure")
    again = store.add(failure(words="kill  process", name="helps: kill2"))
    assert not again.new and again.failure.seen == 2 and again.failure.label == "failure"
    assert [each.asked for each in store.all()] == ["kill  process"]


def test_texts_are_kept_once_and_come_back_whole(store):
    """Two failures with one prompt share its text in the file."""
    for number in range(2):
        store.add(failure(words=f"word {number}", prompt="the same long prompt", answer=SORRY))
    texts = [row[0] for row in store._file.rows("SELECT text FROM texts", {})]
    assert texts.count("the same long prompt") == 1 and texts.count(SORRY) == 1
    assert {each.prompt for each in store.all()} == {"the same long prompt"}


@pytest.mark.parametrize(
    ("before", "answers", "after"),
    [
        (Standing.CANDIDATE, [SORRY] * 3, Standing.OPEN),
        (Standing.CANDIDATE, [SORRY, "Yes.", SORRY, "Yes.", "Yes."], Standing.CANDIDATE),
        (Standing.CANDIDATE, [SORRY, "Yes.", SORRY, "Yes.", SORRY], Standing.OPEN),
        (Standing.OPEN, ["Yes."] * 3, Standing.FIXED),
        (Standing.OPEN, [""] * 5, Standing.OPEN),
        (Standing.FIXED, [SORRY] * 3, Standing.BACK),
        (Standing.BACK, ["Yes."] * 3, Standing.FIXED),
    ],
)
def test_three_of_five_decide_where_a_failure_stands(before, answers, after):
    """It is promoted, fixed or back by as many; an answer that can't be scored is neither."""
    turns = iter(answers)
    one = failure(standing=before)
    assert standing_after(one, ask_again(one, Asker(lambda prompt: next(turns)))) is after


def test_another_version_is_asked_and_what_came_back_is_told(store):
    """Also by going back to the version that showed it; the last one asked is not, nor what a person dismissed."""
    store.add(failure())
    store.add(failure(words="another", standing=Standing.DISMISSED))
    sorry, fine = Asker(lambda prompt: SORRY), Asker(lambda prompt: "Yes.")
    asked = [replay(store, "app.py:answer", ask, version) for ask, version in
             ((sorry, "1"), (fine, "2"), (fine, "2"), (sorry, "1"))]  # fmt: skip
    assert [len(each) for each in asked] == [0, 1, 0, 1]
    assert asked[1][0].failure.standing is Standing.FIXED and asked[3][0].came_back
    assert replay(store, "other.py:answer", sorry, "2") == []


def test_one_that_is_seen_again_after_it_was_fixed_has_come_back(store):
    """Also where a suite shows it, and not a replay."""
    store.add(failure(standing=Standing.FIXED))
    assert store.add(failure(version="9")).came_back
    assert store.find(failure().id).standing is Standing.BACK


def test_the_nearest_kept_failures_are_told(store):
    """By words, scorer, symptom and cut; one about something else is not."""
    kept = [failure("kill a process"), failure("stop the process"), failure("name a capital", symptom="other text")]
    for each in kept:
        store.add(each)
    found = nearest(failure("kill the process"), store.all())
    assert [each.failure.minimal for each in found][:1] == ["kill a process"]
    assert all(each.failure.minimal != "name a capital" for each in found)
    assert nearest(kept[0], [kept[0]]) == []


def test_failures_of_production_and_of_models_are_kept_beside(store):
    """An incident's case and a row of failure_cases.json have ids of their own, and are masked."""
    case = IncidentCase(
        "m-1", "m", "drift: age", "ada@mail.org was refused", Requested.ANSWERS, 0.9, fault="unit_change"
    )
    incident = of_incident(case, "cases/m-1", store.masked)
    row = of_model({"kind": "confident error", "row": 7, "note": "ada@mail.org"}, "app.py", store.masked)
    assert store.add(incident).new and store.add(row).new and not store.add(row).new
    assert {each.kind for each in store.all()} == {Kind.INCIDENT, Kind.MODEL}
    assert "ada@" not in str(store.all())


def test_the_same_row_is_the_same_failure_and_an_incident_happens_once(store):
    """Another training is as wrong on the row with another confidence; a diagnosis told twice is no second incident."""
    rows = [{"kind": "confident error", "row": 7, "given": "a", "confidence": sure} for sure in (0.91, 0.97)]
    first, second = (store.add(of_model(row, "app.py", store.masked)) for row in rows)
    assert first.new and not second.new and second.failure.seen == 2
    case = IncidentCase("m-1", "m", "drift: age", "told", Requested.ANSWERS, 0.9)
    store.change(store.add(of_incident(case, "cases/m-1", store.masked)).failure, standing=Standing.FIXED)
    again = store.add(of_incident(case, "", store.masked))
    assert (again.came_back, again.failure.seen, again.failure.folder) == (False, 1, "cases/m-1")
    assert again.failure.standing is Standing.FIXED


def test_what_a_debug_run_listed_is_kept_and_a_broken_store_harms_no_run(store, tmp_path, caplog):
    """The rows of failure_cases.json enter the store; where it can't be opened, a warning says so."""
    (tmp_path / "failure_cases.json").write_text(json.dumps([{"kind": "confident error", "row": 7}] * 2))
    keep_of_model(tmp_path, str(tmp_path), "app.py")
    assert [(each.name, each.seen) for each in store.all()] == [("confident error: 7", 2)]
    keep_of_model(tmp_path / "gone", str(tmp_path), "app.py")
    (tmp_path / "file").touch()
    keep_of_model(tmp_path, str(tmp_path / "file"), "app.py")
    assert "could not be kept" in caplog.text


def test_two_runs_at_once_count_each_failure_once(store, tmp_path):
    """Between one's look at the store and its word nobody else writes."""
    other, said = FailureStore(tmp_path), []
    other._file._connection.execute("PRAGMA busy_timeout = 0")

    def meanwhile(statement):
        if statement.startswith("SELECT") and not said:
            said.append("tries")
            with contextlib.suppress(sqlite3.OperationalError):
                said.append(other.add(failure()))

    store._file._connection.set_trace_callback(meanwhile)
    assert store.add(failure()).new and said == ["tries"]
    assert other.add(failure()).failure.seen == 2


def test_an_unknown_id_and_a_broken_file_are_told(store, tmp_path):
    """One sentence each."""
    with pytest.raises(FirstfaultError, match="none begins with 'beef'"):
        store.find("beef")
    store.close()
    (tmp_path / "failures" / "failures.db").write_bytes(b"no database, but something else" * 99)
    with pytest.raises(FirstfaultError, match="can't be opened"):
        FailureStore(tmp_path)


@pytest.fixture
def app(tmp_path, monkeypatch, capsys):
    """A folder with a model and a suite, and a call of the command line there: exit code, and what it says."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(MODEL)
    (tmp_path / "suite.yaml").write_text(SUITE)

    def called(*arguments):
        code, out, err = call(monkeypatch, capsys, *arguments)
        return code, " ".join((out + err).split())

    return tmp_path, called


def test_from_a_failing_suite_to_a_test_that_is_red_then_green(app):
    """It is examined, kept masked, shown on a page, exported, fixed, and told when it comes back."""
    folder, called = app
    code, said = called("behaviour", "suite.yaml", "--target", "app.py:answer", "--examine", "1", "--pages", "pages")
    assert code == 1 and "(open): helps: kill" in said
    page = (folder / "pages" / "failure-helps-kill.html").read_text()
    assert "Passes with 1 of its words changed" in page and "ada@" not in page and "kill a process" not in page
    assert b"ada@" not in b"".join(each.read_bytes() for each in (folder / "state" / "failures").iterdir())

    assert "wrote tests/test_failures.py" in called("cases", "export", "--pytest", "tests")[1]
    assert failing(folder) == 1
    (folder / "app.py").write_text(MODEL.replace("FIXED = False", "FIXED = True"))
    assert failing(folder) == 0

    assert "open → fixed" in called("cases", "replay")[1]
    (folder / "app.py").write_text(MODEL + "# another version\n")
    code, said = called("behaviour", "suite.yaml", "--target", "app.py:answer")
    assert code == 1 and "CAME BACK" in said
    assert "came back" in called("cases", "list", "--standing", "came back", "--json", "list.json")[1]
    found = json.loads((folder / "list.json").read_text())["failures"]
    assert [each["asked"] for each in found] == ["kill process"]
    assert called("cases", "label", found[0]["id"][:8], "no")[0] == 0
    assert "nothing was asked" in called("cases", "replay", "--again")[1]


def failing(folder):
    """How many of the exported tests fail, as pytest calls them, on the model as it is now."""
    _asker.cache_clear()
    tests = runpy.run_path(str(folder / "tests" / "test_failures.py"))
    test = tests["test_a_kept_failure_stays_fixed"]
    (each,) = [mark for mark in test.pytestmark if mark.name == "parametrize"]
    failed = 0
    for one in each.args[1]:
        try:
            test(one)
        except AssertionError:
            failed += 1
    return failed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--standing", "broken"), "must be one of candidate, open"),
        (("show", "beefbeef"), "none begins with"),
        (("label", "beefbeef", "maybe"), "must be failure or no"),
        (("export", "--pytest", "t"), "must name one model"),
        (("export", "--pytest", "t", "--target", "app.py:answer"), "there is none"),
        (("import", "nothing.json"), "must be a failure_cases.json"),
    ],
)
def test_a_bad_call_is_one_sentence(app, arguments, said):
    """Exit code 2, and what was expected."""
    code, told = app[1]("cases", *arguments)
    assert code == 2 and said in told
