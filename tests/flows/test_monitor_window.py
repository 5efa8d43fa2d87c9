"""The window over what was served."""

import json

import pytest
from firstfault.flows.monitor_window import monitor_window
from prefect.logging import disable_run_logger

from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store


@pytest.fixture
def window(tmp_path, monkeypatch):
    """Looks once, from a folder of its own."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / ".firstfault"))

    def look():
        with disable_run_logger():
            return monitor_window.fn("served/*", sample=1.0)

    return look


def test_each_look_records_what_is_new(window, tmp_path):
    """Nothing is there at first, which is no failure; a file is read once, and so is the next."""
    assert window()["files"] == 0
    (tmp_path / "served").mkdir()
    for number in range(2):
        (tmp_path / "served" / f"{number}.jsonl").write_text(json.dumps({"request_id": f"r{number}", "age": 3}))
        assert (window()["requests"], window()["requests"]) == (1, 0)
    records = Store(settings_of(store=tmp_path / ".firstfault" / "monitor")).records()
    assert [record.request_id for record in records] == ["r0", "r1"]
