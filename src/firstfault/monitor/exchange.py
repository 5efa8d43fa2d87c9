"""One request and its answer, as every way in sees them: noted while they pass, and handed over once."""

from __future__ import annotations

import abc
from typing import ClassVar

from firstfault.monitor.capture import Capture
from firstfault.monitor.record import Captured
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.timeline import Beginning, Timeline

GONE = 499
"""The status of a request whose client was gone before an answer began."""
Asked = tuple[str, str, bytes, list[tuple[bytes, bytes]]]
"""Method, path, query, and the headers that are looked at."""


class Exchange(abc.ABC):
    """What is seen of them; each way in says how it asks."""

    __slots__ = ("answer", "body", "capture", "gone", "recorder", "response_type", "status", "taken")
    way: ClassVar[str]
    unanswered: ClassVar[int] = 500
    """The status of a request that was never answered: what a server sends for an application that raised."""

    def __init__(self, recorder: Recorder, parent: bytes | str | None, request_id: str) -> None:
        settings = recorder.settings
        self.recorder = recorder
        self.capture = Capture(settings, parent, request_id)
        self.body = Beginning(settings.body)
        self.answer = Timeline(self.capture.began, settings.body)
        self.status, self.response_type = 0, b""
        self.gone = self.taken = False

    @abc.abstractmethod
    def asked(self) -> Asked:
        """What was asked, as it is known when the answer is out."""

    def hand_over(self, error: str = "") -> None:
        """Hand the record over, once: with the last part of the answer, or when there will be none."""
        if self.taken:
            return
        self.taken = True
        self.recorder.take(self.captured(error))

    def captured(self, error: str = "") -> Captured:
        """What is handed over, as it is known by now."""
        body, answer = self.body, self.answer
        captured = self.capture.handed_over(self.way, self.status or (GONE if self.gone else self.unanswered))
        captured.method, captured.path, captured.query, captured.headers = self.asked()
        captured.request, captured.request_bytes = body.kept(), body.size
        captured.response, captured.response_bytes = answer.kept(), answer.size
        captured.response_type, captured.stream = self.response_type, answer.stream()
        captured.error = error or captured.error
        captured.disconnected = self.gone
        return captured
