"""Cases of production as tests: `pytest --firstfault cases/` gives one test per case, on the target that it names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from firstfault.behaviour.cases import Case
    from firstfault.subject.subject import Subject

GROUP = "firstfault"


class CaseTests(pytest.Collector):
    """The tests of one folder of cases; those of one target share its subject."""

    folder: Path
    subjects: dict[str, Subject]

    @classmethod
    def of(cls, session: pytest.Session, folder: Path, label: str) -> CaseTests:
        """The tests of a folder.

        Raises:
            TargetError: when one of its cases can't be read.
        """
        from firstfault.behaviour.cases import cases_in

        list(cases_in(folder))
        collector: CaseTests = cls.from_parent(session, name=GROUP, nodeid=f"{label}::{GROUP}", path=folder)
        collector.folder, collector.subjects = folder, {}
        return collector

    def collect(self) -> Iterator[CaseTest]:
        """A test per case."""
        from firstfault.behaviour.cases import cases_in

        for place, case in cases_in(self.folder):
            yield CaseTest.of(self, place, case)

    def subject_of(self, place: Path, case: Case) -> Subject:
        """The target of a case, opened once: with the model of its last debug run, or one trained now.

        Raises:
            TargetError: when it can't be loaded.
        """
        from firstfault.behaviour.cases import target_of
        from firstfault.runs.state import state_here
        from firstfault.subject.opening import subject_with_model

        spec = target_of(place, case)
        if spec not in self.subjects:
            folder = tempfile.TemporaryDirectory(prefix="firstfault-")
            self.config.add_cleanup(folder.cleanup)
            self.subjects[spec] = subject_with_model(spec, {}, Path(folder.name), state_here().runs)
        return self.subjects[spec]


class CaseTest(pytest.Item):
    """One case: red while the fault is there, green after its repair."""

    place: Path
    case: Case

    @classmethod
    def of(cls, parent: CaseTests, place: Path, case: Case) -> CaseTest:
        """The test of a case."""
        item: CaseTest = cls.from_parent(parent, name=case.id)
        item.place, item.case = place, case
        return item

    def runtest(self) -> None:
        """Ask the case's requests again; fail with what they were answered, skip where no request shows the fault."""
        import torch

        from firstfault.checks.deployment.kept_cases import judged_case
        from firstfault.errors import FirstfaultError
        from firstfault.finding import Status

        assert isinstance(self.parent, CaseTests)
        if not self.case.target:
            pytest.skip(self.case.why or "it names no target")
        with torch.random.fork_rng(devices=[]):  # the other tests draw what they would draw without these
            try:
                found = judged_case(self.parent.subject_of(self.place, self.case), self.place, self.case)
            except FirstfaultError as error:
                pytest.fail(str(error), pytrace=False)
        if found.status is Status.SKIPPED:
            raise pytest.skip.Exception(found.message, _use_item_location=True)
        if found.status is Status.FAIL:
            remedy = f"\n  remedy    {found.fix}" if found.fix else ""
            pytest.fail(f"{found.message}{remedy}", pytrace=False)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where the test is: the case's folder."""
        return self.place, 0, f"{GROUP}: {self.case.id} ({self.case.name})"
