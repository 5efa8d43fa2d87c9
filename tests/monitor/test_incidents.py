"""Incidents in a store's database."""

import msgspec
import pytest

from firstfault.monitor.database import Database
from firstfault.monitor.incidents import Incident, Incidents
from firstfault.monitor.settings import settings_of

SEEN = Incident("i-1", "churn", "bad_events", 10.0, 12.0, 5.3, "9 of 40 failed", requests=("a", "b"), control=("c",))


@pytest.fixture
def incidents(tmp_path):
    return Incidents(Database(settings_of(store=str(tmp_path))))


def test_an_incident_is_read_as_it_was_kept(incidents):
    """What was kept comes back, and an id that nobody knows gives none."""
    incidents.keep(SEEN)
    assert (incidents.get("i-1"), incidents.get("i-2")) == (SEEN, None)


def test_what_has_become_of_an_incident_takes_its_place(incidents):
    """An incident that closed is one incident, and no longer among the open ones."""
    incidents.keep(SEEN)
    incidents.keep(closed := msgspec.structs.replace(SEEN, closed=20.0, verdict={"status": "faulty"}))
    assert incidents.all() == [closed]
    assert incidents.all(is_open=True) == []
