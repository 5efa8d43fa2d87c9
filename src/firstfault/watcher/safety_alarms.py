"""What stands out in a training, and who is told of what is severe."""

from __future__ import annotations

import logging

from firstfault.finding import Status
from firstfault.runs.prefect_events import emit
from firstfault.watcher.actions.action_context import Occasion
from firstfault.watcher.actions.background import Beside
from firstfault.watcher.answer_safety import Level
from firstfault.watcher.safety_config import DebugConfig
from firstfault.watcher.safety_report import Alert, Anomaly

logger = logging.getLogger(__name__)


class Alarms:
    """The anomalies and alerts of one training; as an action of the watch, it takes what rules find."""

    def __init__(self, config: DebugConfig) -> None:
        self._config, self._beside = config, Beside()
        self.anomalies: list[Anomaly] = []
        self.alerts: list[Alert] = []
        self._place = (0, 0)

    def act(self, occasion: Occasion) -> None:
        """A rule of the watch failed."""
        found = occasion.finding
        if found.status is Status.FAIL:
            self.anomaly(*self._place, occasion.step, found.check, found.message)

    def anomaly(self, epoch: int, batch: int, step: int, kind: str, message: str, level: Level = Level.SAFE) -> Anomaly:
        """Note what stands out."""
        found = Anomaly(kind, epoch, batch, step, message, level)
        self._place = (epoch, batch)
        self.anomalies.append(found)
        return found

    def alert(self, anomaly: Anomaly, error: str = "") -> None:
        """Tell of a severe anomaly; `error` says how often such an alarm is false, where the monitor does not."""
        config = self._config
        known = config.monitor.error(Level.SEVERE) if config.monitor is not None else "no monitor judges it"
        alert = Alert(anomaly, error or known)
        self.alerts.append(alert)
        logger.warning("%s: %s", config.name, alert)
        if config.on_alert is not None:
            config.on_alert(alert)
        if config.event:
            payload = {"step": anomaly.step, "training": config.name, "layer": "safety", "message": str(alert)}
            self._beside.later(f"the event {config.event}", emit, config.event, config.name, payload)

    def close(self) -> None:
        """Wait for what is being told."""
        self._beside.close()
