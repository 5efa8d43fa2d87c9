"""A verdict as annotations of GitHub, as SARIF and as JUnit."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.place import Kind, Place
from firstfault.report.formats import FORMATS
from firstfault.report.formats.github import github
from firstfault.report.formats.junit import junit
from firstfault.report.formats.sarif import sarif
from firstfault.verdict import Change, Fault, Swap, Verdict, VerdictStatus

BEFORE, AFTER = "    optimizer = SGD(net.parameters(), lr=3.0)", "    optimizer = SGD(net.parameters(), lr=0.3)"
EVIL = 'x\r::error file=other.py::owned %25 <b>&"\x1b[31m\udcff'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with a script and a module below it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my code").mkdir()
    for name in ("train.py", "my code/net.py"):
        (tmp_path / name).write_text("\n" * 40)
    return tmp_path


def verdict(*, message="the loss explodes", file="train.py", status=VerdictStatus.FAULTY, change=True):
    """A training at a rate that is too high, with one check of each status."""
    place = Place(Kind.LINE, ("main",), file=file, line=22)
    findings = (
        Finding(
            "large_updates", Layer.TRAINING, Status.FAIL, message, where=place, faults={"learning_rate_too_high": 0.9}
        ),
        Finding("steady_loss", Layer.TRAINING, Status.WARN, "the loss swings", where=Place.modules("fc1")),
        Finding("clipping", Layer.TRAINING, Status.SKIPPED, "no gradient was clipped"),
        Finding("zero_grad", Layer.TRAINING, Status.PASS, "gradients are cleared"),
        Finding("sampler", Layer.TRAINING, Status.ERROR, "KeyError in the check"),
    )
    fault = Fault(
        "learning_rate_too_high",
        Layer.TRAINING,
        0.95,
        True,
        (message,),
        "divide it by 10",
        (place,),
        Swap("learning rate ÷ 10", "accuracy", 0.5, 0.9, 3, 0.01, {"lr": 0.3}),
        Change(file, 22, BEFORE, AFTER) if change else None,
    )
    faults = (fault,) if status is VerdictStatus.FAULTY else ()
    return Verdict("toy", status, faults, (LayerReport(Layer.TRAINING, findings, 1.5),), 2.5)


def test_github_gets_one_line_for_each_note(here):
    """A fault is an error, a crashed check a warning, what is to look at a notice; the rest is not told."""
    lines = github(verdict(), "train.py").splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::notice", "::warning"]
    assert lines[0].startswith(
        "::error file=train.py,line=22,title=firstfault%3A The learning rate is too high::"
        "learning_rate_too_high (training, confidence 95 %25)%0Athe loss explodes%0A"
    )
    assert f"%0A- {BEFORE.strip()}%0A+ {AFTER.strip()}%0A" in lines[0]


def test_no_text_ends_a_command_of_github_or_begins_another():
    """Line ends, percent signs, colons and commas are written as GitHub wants them; control characters as pictures."""
    text = github(verdict(message=EVIL, file="my code/net.py"), "a,b:c.py")
    assert len(text.splitlines()) == 3 and "\x1b" not in text and text.encode()
    assert "file=my code/net.py,line=22" in text and "file=a%2Cb%3Ac.py,title" in text


def test_paths_are_relative_to_the_working_folder(here):
    """An absolute path below it is shortened; a name alone is looked for beside the anchor; others get the anchor."""
    inside = github(verdict(file=str(here / "my code" / "net.py"))).splitlines()[0]
    beside = github(verdict(file="net.py"), str(here / "my code" / "target.py")).splitlines()[0]
    assert "file=my code/net.py,line=22," in inside and "file=my code/net.py,line=22," in beside
    gone = github(verdict(file="gone.py"), "train.py").splitlines()[0]
    assert "file=train.py,title=" in gone


def test_sarif_has_what_version_2_1_0_requires(here):
    """The required properties of log, run, tool, rule, result and location, rules by index, and a fix of the line."""
    log = json.loads(sarif(verdict(file="my code/net.py"), "train.py"))
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    [run] = log["runs"]
    driver, results = run["tool"]["driver"], run["results"]
    assert driver["name"] == "firstfault" and driver["version"]
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    for result in results:
        assert result["message"]["text"] and result["level"] in ("none", "note", "warning", "error")
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    [place] = results[0]["locations"]
    assert place["physicalLocation"] == {"artifactLocation": {"uri": "my%20code/net.py"}, "region": {"startLine": 22}}
    assert all(isinstance(each["executionSuccessful"], bool) for each in run["invocations"])
    [change] = results[0]["fixes"][0]["artifactChanges"]
    [replacement] = change["replacements"]
    assert replacement["insertedContent"]["text"] == AFTER
    assert replacement["deletedRegion"] == {
        "startLine": 22,
        "startColumn": 1,
        "endLine": 22,
        "endColumn": len(BEFORE) + 1,
    }


def test_a_line_that_is_added_deletes_nothing():
    """The region of the fix is empty, and the text brings its own end of line."""
    [fault] = verdict().faults
    added = replace(fault, change=Change("train.py", 22, "", "    model.eval()"))
    log = json.loads(sarif(replace(verdict(), faults=(added,))))
    [replacement] = log["runs"][0]["results"][0]["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["deletedRegion"] == {"startLine": 22, "startColumn": 1, "endLine": 22, "endColumn": 1}
    assert replacement["insertedContent"]["text"] == "    model.eval()\n"


def test_junit_has_a_case_for_each_check_and_one_for_the_verdict():
    """Failures have fault and remedy, skipped ones their reasons, warnings pass with what they say."""
    root = ElementTree.fromstring(junit(verdict(), "train.py"))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    held = {name: [child.tag for child in case] for name, case in cases.items()}
    assert held == {
        "large_updates": ["failure"],
        "steady_loss": ["system-out"],
        "clipping": ["skipped"],
        "zero_grad": [],
        "sampler": ["error"],
        "verdict": ["failure"],
    }
    assert cases["clipping"][0].get("message") == "no gradient was clipped"
    assert (cases["large_updates"].get("file"), cases["large_updates"].get("line")) == ("train.py", "22")
    assert "Remedy: divide it by 10" in cases["large_updates"][0].text and AFTER.strip() in cases["verdict"][0].text
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["6", "2", "1", "1"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_undecided_verdict_is_no_green(name):
    """Its failed checks, and what was not examined enough, are told."""
    text = FORMATS[name](replace(verdict(status=VerdictStatus.UNDECIDED), not_cleared=("too little was seen",)), None)
    assert "the loss explodes" in text and "oo little was seen" in text


def test_a_healthy_verdict_says_nothing_bad():
    """No annotation, no result, and a case that passed."""
    finding = Finding("zero_grad", Layer.TRAINING, Status.PASS, "gradients are cleared")
    healthy = Verdict("toy", VerdictStatus.HEALTHY, (), (LayerReport(Layer.TRAINING, (finding,), 1.0),), 1.0)
    assert github(healthy, "train.py") == "" and json.loads(sarif(healthy))["runs"][0]["results"] == []
    assert all(len(case) == 0 for case in ElementTree.fromstring(junit(healthy)).iter("testcase"))


@pytest.mark.parametrize("name", ["sarif", "junit"])
def test_documents_can_be_read_whatever_the_texts_hold(name):
    """Control characters and halves of surrogate pairs don't break them."""
    text = FORMATS[name](verdict(message=EVIL), "train.py").encode().decode()
    assert ElementTree.fromstring(text) is not None if name == "junit" else json.loads(text)
