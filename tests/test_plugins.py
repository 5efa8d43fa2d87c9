"""Checks, faults, swaps and sinks of other distributions, which are really installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firstfault.errors import PrerequisiteError, TargetError
from firstfault.probe.sinks.registry import sinks_named

HERE = Path(__file__).parent / "third_party"
CHECK = """
from firstfault.check import check, passed
from firstfault.finding import Layer

@check(layer=Layer.DATA, detects={{{faults}}})
def {name}(subject):
    \"\"\"Look at nothing.\"\"\"
    yield passed("fine")
"""
MUTED = ("--mute", "near_duplicates=few rows")
BROKEN = {
    "acme-absent": ("checks", "import no_such_module\n"),
    "acme-twice": ("checks", CHECK.format(name="duplicate_rows", faults="")),
    "acme-unknown": (
        "checks",
        CHECK.format(name="before_it", faults="") + CHECK.format(name="meter", faults="'reversed_metre': 0.5"),
    ),
    "acme-taken": (
        "faults",
        "from firstfault.faults import fault\nfrom firstfault.finding import Layer\n"
        "fault('label_noise', layer=Layer.DATA, wrong='labels are wrong', remedy='mend them')\n",
    ),
}


def install(site, name, group, text, value="{module}"):
    """Write a distribution with one entry point as an installer does: a module, and its metadata."""
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(text)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[firstfault.{group}]\nit = {value.format(module=module)}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages: one distribution that pip built and installed, and four that can't be used."""
    site, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "acme"
    shutil.copytree(HERE / "acme", source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", site, source], check=True)
    for name, (group, text) in BROKEN.items():
        install(site, name, group, text)
    return site


@pytest.fixture(scope="module")
def call(site, tmp_path_factory):
    """A function that runs the command line beside these packages; the folder it runs in is its attribute."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".firstfault").mkdir()
    for name in ("target.py", "loop.py"):
        shutil.copy(HERE / name, folder)
    ours = {"PREFECT_API_URL", "MLFLOW_TRACKING_URI", "FIRSTFAULT_HOME"}
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [environment.get("PYTHONPATH")])])

    def run(*arguments):
        command = [sys.executable, "-m", "firstfault", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def debugged(call):
    """A debug run of a target with the third party's fault: what was printed, and the verdict."""
    ended = call("debug", "target.py", "--only", "data", "--depth", "deep", "--json", "verdict.json", *MUTED)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stdout, json.loads((call.folder / "verdict.json").read_text())


def test_a_third_partys_check_fires_and_its_swap_confirms_its_fault(debugged):
    """The verdict names the third party's fault first, with its layer and remedy, restored by its own swap."""
    printed, verdict = debugged
    assert verdict["first_faulty_layer"] == "data"
    first = verdict["faults"][0]
    assert (first["fault"], first["confirmed"]) == ("reversed_meter", True)
    assert first["remedy"] == "turn the sign of the flow at that site"
    assert first["swap"]["change"] == "turn the sign of the flow at site 1"
    assert first["swap"]["after"] > first["swap"]["before"] + 0.3
    assert "Meters of one site count backwards" in printed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("acme-absent", "No module named 'no_such_module'"),
        ("acme-twice", "'duplicate_rows' must have a name of its own, but firstfault has one of that name"),
        ("acme-unknown", "'meter' must name known faults, but names 'reversed_metre'; did you mean reversed_meter"),
        ("acme-taken", "a fault's id must be a name that is not taken, but got 'label_noise'"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence_and_the_run_goes_on(debugged, name, why):
    """The sentence names the distribution; it is printed once while the run goes, and kept in the verdict."""
    printed, verdict = debugged
    [sentence] = [line for line in verdict["not_loaded"] if line.startswith(f"{name} 1.0")]
    assert why in sentence and printed.count(f"! {sentence}") == 1
    assert f"{name} 1.0" in (verdict_folder(debugged) / "report.html").read_text()


def verdict_folder(debugged):
    """The run's folder, as the command line says it."""
    [line] = [line for line in debugged[0].splitlines() if line.startswith("report ")]
    return Path(line.split()[1]).parent


def test_a_module_that_fails_leaves_nothing_behind(debugged):
    """What it had registered before it failed is taken back."""
    _, verdict = debugged
    ran = {finding["check"] for report in verdict["layers"] for finding in report["findings"]}
    assert "reversed_meter" in ran and not {"before_it", "meter"} & ran


def test_the_command_line_mutes_a_check(debugged):
    """It is skipped with the reason, and the verdict, the terminal and the report say so."""
    printed, verdict = debugged
    [finding] = [each for each in verdict["layers"][0]["findings"] if each["check"] == "near_duplicates"]
    assert (finding["status"], finding["message"]) == ("skipped", "muted: few rows")
    assert verdict["muted"] == {"near_duplicates": "few rows"}
    assert "near_duplicates is muted: few rows" in printed
    assert "near_duplicates is muted: few rows" in (verdict_folder(debugged) / "report.html").read_text()


def test_a_third_partys_check_is_listed_with_its_distribution(call):
    """`firstfault checks` shows it in its layer."""
    listed = call("checks")
    data = listed.stdout.partition("\npreprocessing\n")[0].splitlines()
    [line] = [line for line in data if line.split()[:1] == ["reversed_meter"]]
    assert line.endswith("(acme-meters 1.2)") and "Find a site whose flow goes down" in line
    assert listed.stderr.count("acme-absent 1.0 is installed, but") == 1


def test_a_third_partys_sink_receives_the_numbers(call):
    """`--sink` takes the name of the entry point."""
    ended = call("run", "--sink", "acme", "loop.py")
    assert ended.returncode in (0, 4), ended.stderr
    [file] = call.folder.glob(".firstfault/runs/*/acme.jsonl")
    steps = [json.loads(line) for line in file.read_text().splitlines()]
    assert steps[0]["step"] == 1 and steps[-1]["loss"] < steps[0]["loss"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raise RuntimeError('no meter')", "must be a callable that makes a sink, but: RuntimeError: no meter"),
        ("make = object", "must make something with write and close, but made: object"),
    ],
)
def test_a_sink_that_is_asked_for_and_cannot_be_made_is_a_bad_call(tmp_path, monkeypatch, text, expected):
    """A run without the sink that was asked for would not be what was asked for."""
    name = f"acme-sink-{len(text)}"
    install(tmp_path, name, "sinks", text, "{module}:make")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PrerequisiteError, match=f"--sink it of {name} 1.0 {expected}"):
        sinks_named(["it"])


def test_a_sink_that_nobody_has_is_refused_with_those_that_there_are(tmp_path, monkeypatch):
    """The sinks of other distributions are among them."""
    install(tmp_path, "acme-sink", "sinks", "")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TargetError, match="--sink must be one of json, .*, aim, clearml, it, but got 'no'"):
        sinks_named(["no"])
