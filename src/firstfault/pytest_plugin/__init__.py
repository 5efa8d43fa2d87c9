"""Model unit tests in the user's own CI: `pytest --firstfault target.py` gives one test per check of the model layer.

A folder of cases in place of a target gives one test per case of production.

Loaded with every pytest of an environment that has firstfault, so nothing heavy is imported before `--firstfault` asks
for it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from firstfault.output.escaping import visible
from firstfault.pytest_plugin.cases import CaseTests

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from firstfault.check import Check, Depth
    from firstfault.finding import Finding
    from firstfault.subject.subject import Subject

WARNING = "firstfault_warning"
GROUP = "firstfault"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of firstfault."""
    group = parser.getgroup(GROUP, "model checks as tests")
    group.addoption(
        "--firstfault",
        action="append",
        default=[],
        metavar="TARGET",
        help="test the model of file.py[:name] or module:name, one test per check, or the cases of a folder, one test "
        "per case; may be given several times",
    )
    group.addoption(
        "--firstfault-depth",
        choices=("quick", "standard", "deep"),
        default="standard",
        help="how much the checks may cost",
    )
    group.addoption("--firstfault-where", metavar="MODULE", help="test this submodule alone, e.g. encoder.layers.0")
    group.addoption("--firstfault-strict", action="store_true", help="let warnings fail")


def pytest_configure(config: pytest.Config) -> None:
    """Keep ids of firstfault's tests, given to be run again, from being looked for in the file."""
    chosen = [argument for argument in config.args if "::firstfault" in argument] if config.option.firstfault else []
    config.args[:] = [argument for argument in config.args if argument not in chosen]
    config.stash[_CHOSEN] = chosen


_CHOSEN: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Look at the targets before pytest-xdist hands them to its workers, which could not say what is wrong."""
    if not hasattr(session.config, "workerinput") and session.config.getoption("dist", "no") != "no":
        for spec in session.config.option.firstfault:
            _collector(session, spec)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests of each target before anything is deselected."""
    chosen = config.stash[_CHOSEN]
    for spec in dict.fromkeys(config.option.firstfault):
        items.extend(
            item
            for item in _collector(session, spec).collect()
            if not chosen or any(item.nodeid.startswith(_as_id(argument, config)) for argument in chosen)
        )


def _as_id(argument: str, config: pytest.Config) -> str:
    place, _, rest = argument.partition("::")
    return f"{_label(place, config)}::{rest}"


def _label(place: str, config: pytest.Config) -> str:
    """A target as it stands in test ids: its path relative to pytest's root, or what was given."""
    path, colon, name = place.rpartition(":") if ":" in place[2:] else (place, "", "")
    file = (config.invocation_params.dir / path).resolve()
    inside = file.exists() and file.is_relative_to(config.rootpath)
    return f"{file.relative_to(config.rootpath).as_posix() if inside else path}{colon}{name}"


def _collector(session: pytest.Session, spec: str) -> TargetTests | CaseTests:
    from firstfault.behaviour.cases import holds_cases
    from firstfault.errors import FirstfaultError, Missing, UserCodeError

    folder = session.config.invocation_params.dir / spec
    try:
        if holds_cases(folder):
            return CaseTests.of(session, folder, _label(spec, session.config))
        return TargetTests.of(session, spec)
    except (FirstfaultError, Missing) as error:
        raise pytest.UsageError(f"--firstfault {spec}: {error}") from error
    except UserCodeError as error:
        raise pytest.UsageError(f"--firstfault {spec}: the model cannot be taken apart: {error}") from error


class TargetTests(pytest.Collector):
    """The tests of one target: a check each, all on the same subject."""

    subject: Subject
    raised: dict[str, str]

    @classmethod
    def of(cls, session: pytest.Session, spec: str) -> TargetTests:
        """The tests of a target.

        Raises:
            TargetError: when the target, its data or the name of the submodule is unusable.
        """
        from firstfault.check import Depth

        depth = Depth(session.config.option.firstfault_depth)
        subject = _subject(spec, depth, session.config)
        nodeid = f"{_label(spec, session.config)}::{GROUP}"
        collector: TargetTests = cls.from_parent(session, name=GROUP, nodeid=nodeid, path=subject.target.file)
        collector.subject, collector.raised = subject, {}
        return collector

    def collect(self) -> Iterator[CheckTest]:
        """A test per check of the model layer that runs at the chosen depth."""
        from firstfault.check import checks_of
        from firstfault.finding import Layer

        for entry in checks_of(Layer.MODEL):
            if self.subject.depth.includes(entry.depth):
                yield CheckTest.of(self, entry)


def _subject(spec: str, depth: Depth, config: pytest.Config) -> Subject:
    from firstfault.cli.preflight import preflight
    from firstfault.runs.ref import RunRef
    from firstfault.subject.opening import open_subject
    from firstfault.subject.submodule import submodule_subject

    folder = tempfile.TemporaryDirectory(prefix="firstfault-")
    config.add_cleanup(folder.cleanup)
    subject = open_subject(RunRef(spec, str(Path(folder.name)), folder.name, depth), preflight(spec))
    where = config.option.firstfault_where
    return submodule_subject(subject, where) if where else subject


class CheckTest(pytest.Item):
    """One check of the model layer on one target."""

    entry: Check

    @classmethod
    def of(cls, parent: TargetTests, entry: Check) -> CheckTest:
        """The test of a check."""
        item: CheckTest = cls.from_parent(parent, name=entry.name)
        item.entry = entry
        return item

    def runtest(self) -> None:
        """Run the check; fail, skip, or keep what it warns of."""
        from firstfault.finding import Status

        found = self._findings()
        strict = self.config.option.firstfault_strict
        bad = [
            finding
            for finding in found
            if finding.status in (Status.FAIL, Status.ERROR) or (strict and finding.status is Status.WARN)
        ]
        if bad:
            self._fail(bad)
        for finding in found:
            if finding.status is Status.WARN:
                self.user_properties.append((WARNING, f"{self.nodeid}: {finding.message}"))
                self.add_report_section("call", GROUP, told(finding))
        if all(finding.status is Status.SKIPPED for finding in found):
            raise pytest.skip.Exception("; ".join(finding.message for finding in found), _use_item_location=True)

    def _findings(self) -> list[Finding]:
        import torch

        from firstfault.check import run_check
        from firstfault.errors import FirstfaultError

        assert isinstance(self.parent, TargetTests)
        subject = self.parent.subject
        with torch.random.fork_rng(devices=[]):  # the other tests draw what they would draw without these
            try:
                found = run_check(self.entry, subject, subject.target.thresholds.get(self.entry.name, {}))
            except FirstfaultError as error:
                self._once(str(error))
                pytest.fail(str(error), pytrace=False)
            return self._placed(found)

    def _placed(self, found: list[Finding]) -> list[Finding]:
        from firstfault.check import Depth
        from firstfault.finding import Layer, LayerReport
        from firstfault.subject.isolation import placed

        assert isinstance(self.parent, TargetTests)
        subject = self.parent.subject
        if subject.depth is not Depth.DEEP:
            return found
        return list(placed(LayerReport(Layer.MODEL, tuple(found), 0.0), subject).findings)

    def _fail(self, found: list[Finding]) -> None:
        for finding in found:
            if finding.check != self.entry.name:  # the user's code raises: every check would say so
                self._once(finding.message)
        pytest.fail("\n\n".join(told(finding) for finding in found), pytrace=False)

    def _once(self, message: str) -> None:
        assert isinstance(self.parent, TargetTests)
        first = self.parent.raised.setdefault(message, self.name)
        if first != self.name:
            raise pytest.skip.Exception(f"{message} (see {first})", _use_item_location=True)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where the test is: the target's file."""
        return self.path, 0, f"{GROUP}: {self.name}"


def told(finding: Finding) -> str:
    """A finding as the message of a failed test: what was found, the fault, the place and the remedy."""
    faults = [f"{name} ({weight:.0%})" for name, weight in sorted(finding.faults.items(), key=lambda item: -item[1])]
    measured = (
        f"{finding.value:.4g}"
        if isinstance(finding.value, float)
        else str(finding.value)
        if finding.value is not None
        else None
    )
    if measured is not None and finding.threshold is not None:
        measured += (
            f" against {finding.threshold:.4g}"
            if isinstance(finding.threshold, float)
            else f" against {finding.threshold}"
        )
    rows = {
        "fault": ", ".join(faults),
        "evidence": measured,
        "place": finding.where,
        "remedy": finding.fix,
        "source": finding.source,
    }
    return visible(
        "\n".join(
            [f"{finding.check}: {finding.message}", *(f"  {name:<9} {text}" for name, text in rows.items() if text)]
        )
    )


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """List what the checks of passed tests warned of."""
    warned = [
        str(value)
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for name, value in report.user_properties
        if name == WARNING
    ]
    if warned and config.option.firstfault:
        terminalreporter.section("firstfault: warnings", "-")
        for line in warned:
            terminalreporter.write_line(visible(line))
