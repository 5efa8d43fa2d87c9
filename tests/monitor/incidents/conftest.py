"""One small trained table and one tiny text model, served by a server of which one part may be broken."""

import sys
from pathlib import Path

import pytest

from firstfault.monitor.diagnosing import judge, subject_of
from firstfault.monitor.incidents import Incident
from firstfault.monitor.requests import evidence_of
from firstfault.monitor.settings import settings_of
from firstfault.report.incident_page import incident_page
from firstfault.subject.incident import Telemetry
from firstfault.subject.offline import offline
from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The table's target, trained once."""
    subject = Subject(load_target(str(HERE / "target.py")), tmp_path_factory.mktemp("plans"))
    offline(subject)
    return subject


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """The target of texts, trained once."""
    subject = Subject(load_target(str(HERE / "texts.py")), tmp_path_factory.mktemp("texts"))
    offline(subject)
    return subject


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """Settings that keep everything."""
    return settings_of(store=tmp_path_factory.mktemp("store"), model="plans", sample=1.0)


@pytest.fixture
def judged(tmp_path):
    """The verdict over some records beside those of a control, and its page where asked; `subject` may be None."""

    def verdict(subject, records, control, *, monitor="scores", telemetry=None, usual=(), paged=False):
        incident = Incident("i-1", "plans", monitor, records[0].time, records[-1].time, 9.0, "answers changed")
        evidence = evidence_of(incident, records, control, telemetry or Telemetry(), usual)
        seen = subject_of(evidence, subject, tmp_path / "run", "plans")
        found = judge(seen)
        if paged:
            timeline = [moment(each) for each in (*control, *records)]
            assert "<h2>The proof</h2>" in incident_page(found, seen, timeline, {})
        return found

    return verdict


def moment(record):
    """A request of a timeline."""
    bad = float(record.outcome in ("error", "refused"))
    return {"time": record.time, "seconds": record.stages.total, "bad": bad, "confidence": record.confidence}
