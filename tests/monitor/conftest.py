"""A store of a test's own, and the writer's work done within the test's process, where no process has to be seen."""

import os

import pytest

from firstfault.monitor.record import Captured
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.ring import Ring
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store
from firstfault.monitor.writer import Writer


class Recorded(Recorder):
    """A recorder whose writer works when it is asked to, in this process."""

    def __init__(self, settings):
        super().__init__(settings)
        self._ring = Ring.of(settings.queue)
        self.queue = self._ring

    def _look_after_writer(self, ring):
        """No process."""

    def written(self):
        """Empty the queue, and give what is in the store."""
        self.queue.begin_closing()
        Writer(self.settings, self.queue, os.getppid()).run()
        return Store(self.settings).records()

    def close(self, timeout=0.0):
        """Nothing to wait for."""
        return True


@pytest.fixture
def settings(tmp_path):
    """Settings that keep everything."""
    return settings_of(store=tmp_path / "store", model="churn", version="7", sample=1.0, skip=())


@pytest.fixture
def recorder(settings, monkeypatch):
    """The recorder of those settings, for functions and applications too."""
    recorder = Recorded(settings)
    monkeypatch.setattr("firstfault.monitor.recorder._recorders", {settings: recorder})
    return recorder


@pytest.fixture
def served(monitored_app, recorder):
    """The port of a module's monitored application, with the records of this test alone."""
    monitored_app.recorder = recorder
    return monitored_app.port


@pytest.fixture
def options(settings):
    """The settings as keyword arguments."""
    return {"store": settings.store, "model": "churn", "version": "7", "sample": 1.0, "skip": ()}


@pytest.fixture
def captured():
    """Makes what a serving process hands over."""

    def make(request_id="r1", status=200, total=0.01, **more):
        return Captured("asgi", request_id, "0" * 31 + "1", "0" * 15 + "1", 1_700_000_000.0, total, status, **more)

    return make
