"""The note of a rollout in its store, by which one that was killed or interrupted goes on where it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from firstfault.monitor.rollout.plan import Plan
from firstfault.monitor.settings import Settings
from firstfault.output.whole_files import write_json

NOTE = "rollout.json"


class Note:
    """What was planned of which servers, and since when; a decided one is over."""

    def __init__(self, settings: Settings, plan: Plan, champion: str, challenger: str, header: str) -> None:
        self._file: Path = settings.folder / NOTE
        told = {**dataclasses.asdict(plan), "mode": str(plan.mode)}
        self._asked: dict[str, Any] = {"champion": champion, "challenger": challenger, "header": header, **told}
        self.began = 0.0

    def begin(self, now: float) -> bool:
        """Note that it begins, or find that it had begun; whether it goes on."""
        known = self._known()
        goes_on = known.get("asked") == self._asked and not known.get("decided")
        self.began = float(known["began"]) if goes_on else now
        self._write(decided=False)
        return goes_on

    def decide(self) -> None:
        """Note that it is over: the same call begins another one."""
        self._write(decided=True)

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) and isinstance(known.get("began"), int | float) else {}

    def _write(self, *, decided: bool) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self._file, {"asked": self._asked, "began": self.began, "decided": decided})
