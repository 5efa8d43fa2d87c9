"""The note of started processes: whatever it holds, it can be read."""

import pytest

from firstfault.errors import FirstfaultError
from firstfault.runs.processes import Service, expect_free, read, running, write
from firstfault.runs.state import State


@pytest.mark.parametrize(
    "note",
    [
        "{",
        "null",
        "{}",
        "[1]",
        '[{"x": 1}]',
        '[{"name": "prefect", "pid": "a", "created": 1, "url": null, "log": ""}]',
        '[{"name": "prefect", "pid": -5, "created": 1, "url": null, "log": ""}]',
    ],
)
def test_a_broken_note_means_that_nothing_runs(tmp_path, note):
    """A torn or foreign file is no error: the services are started anew."""
    state = State(tmp_path)
    state.services.mkdir()
    (state.services / "services.json").write_text(note)
    assert running(state) == {}


def test_what_is_written_is_read(tmp_path):
    """The note keeps every service."""
    state = State(tmp_path)
    state.services.mkdir()
    service = Service("prefect", 123, 4.5, "http://127.0.0.1:1", "log")
    write(state, [service])
    assert read(state) == [service]


def test_a_port_that_is_none_is_refused():
    """A number beyond the last port is not free."""
    with pytest.raises(FirstfaultError, match="port 99999 must be free"):
        expect_free(99999, "Prefect")
