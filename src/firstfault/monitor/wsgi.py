"""A WSGI middleware: the same for servers that answer with a thread per request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from firstfault.monitor.capture import traceback_of
from firstfault.monitor.exchange import Asked, Exchange
from firstfault.monitor.recorder import Recorder, recorder_of
from firstfault.monitor.settings import settings_of
from firstfault.monitor.timeline import Beginning

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
HEADERS = {
    "CONTENT_TYPE": b"content-type",
    "CONTENT_LENGTH": b"content-length",
    "HTTP_ACCEPT": b"accept",
    "HTTP_CONTENT_ENCODING": b"content-encoding",
    "HTTP_USER_AGENT": b"user-agent",
    "HTTP_X_REQUEST_START": b"x-request-start",
}
"""Headers whose values are looked at, by their names in the environment."""


class MonitoredWSGI:
    """Records every request of a WSGI application.

    Args:
        app: the application; for Flask, `app.wsgi_app = MonitoredWSGI(app.wsgi_app, model="churn")`.
        options: `model`, `version`, `store`, `sample` and the other settings of a monitor.

    Raises:
        FirstfaultError: when a setting is unknown or out of its range.
    """

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self.recorder = recorder_of(settings_of(**options))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if self.recorder.skips(environ.get("PATH_INFO", "")):
            return self.app(environ, start_response)
        return _Served(self.recorder, environ).run(self.app, start_response)


class _Served(Exchange):
    """One request and its answer, as WSGI has them."""

    __slots__ = ("environ",)
    way = "wsgi"

    def __init__(self, recorder: Recorder, environ: Environ) -> None:
        super().__init__(recorder, environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_REQUEST_ID", ""))
        self.environ = environ

    def run(self, app: App, start_response: StartResponse) -> Iterable[bytes]:
        """Let the application answer, and give its answer on in an iterable like its own."""
        self.environ["wsgi.input"] = _Input(self.environ["wsgi.input"], self.body)
        with self.capture:
            try:
                parts = app(self.environ, self._started(start_response))
            except BaseException as error:
                self.hand_over(traceback_of(error))
                raise
        wrapper = self.environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(parts, wrapper):
            return self._file(parts)
        return _SizedParts(self, parts) if hasattr(parts, "__len__") else _Parts(self, parts)

    def _started(self, start_response: StartResponse) -> StartResponse:
        def started(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            self.status = int(status[:3]) if status[:3].isdigit() else 0
            for name, value in headers:
                if name.lower() == "content-type":
                    self.response_type = value.encode("latin-1", "replace")
            return self._written(start_response(status, headers, *exc_info))

        return started

    def _written(self, write: Any) -> Any:
        """The server's `write`, which old applications answer with."""
        if write is None:
            return None

        def written(data: bytes) -> Any:
            result = write(data)
            self.answer.add(data)
            return result

        return written

    def _file(self, parts: Any) -> Iterable[bytes]:
        """A file that the server may send by itself: it stays what it is, and is recorded when it is closed."""
        close = getattr(parts, "close", None)

        def closed() -> None:
            try:
                if close is not None:
                    close()
            finally:
                self.hand_over()

        try:
            parts.close = closed
        except AttributeError:
            self.hand_over()
        return parts  # type: ignore[no-any-return]

    def asked(self) -> Asked:
        """As the environment says."""
        environ = self.environ
        headers = [
            (name, str(environ[key]).encode("latin-1", "replace")) for key, name in HEADERS.items() if environ.get(key)
        ]
        query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")
        return environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", ""), query, headers


class _Parts:
    """The parts of an answer, as the application gives them."""

    def __init__(self, exchange: _Served, parts: Iterable[bytes]) -> None:
        self._exchange, self._parts = exchange, parts
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        try:
            with exchange.capture:
                iterator = iter(self._parts)
            while True:
                with exchange.capture:
                    part = next(iterator, None)
                if part is None:
                    break
                yield part
                exchange.answer.add(part)
            self._ended = True
        except GeneratorExit:
            raise
        except BaseException as error:
            exchange.hand_over(traceback_of(error))
            raise

    def close(self) -> None:
        """Close the application's own iterable; an answer that was not taken to its end had no client any more."""
        try:
            if hasattr(self._parts, "close"):
                with self._exchange.capture:
                    self._parts.close()
        except BaseException as error:
            self._exchange.hand_over(traceback_of(error))
            raise
        self._exchange.gone = not self._ended
        self._exchange.hand_over()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts, name)


class _SizedParts(_Parts):
    """The same of parts that can be counted: servers set a length of one that is alone."""

    def __len__(self) -> int:
        return len(self._parts)  # type: ignore[arg-type]


class _Input:
    """The body of a request, whose beginning is noted as the application reads it."""

    def __init__(self, stream: Any, body: Beginning) -> None:
        self._stream, self._body = stream, body

    def _note(self, data: bytes) -> bytes:
        self._body.add(data)
        return data

    def read(self, *size: Any) -> bytes:
        """As the server's own does."""
        return self._note(self._stream.read(*size))

    def readline(self, *size: Any) -> bytes:
        """As the server's own does."""
        return self._note(self._stream.readline(*size))

    def readlines(self, *hint: Any) -> list[bytes]:
        """As the server's own does."""
        return [self._note(line) for line in self._stream.readlines(*hint)]

    def readinto(self, buffer: Any) -> int:
        """As the server's own does."""
        size: int = self._stream.readinto(buffer)
        self._note(bytes(memoryview(buffer)[: size or 0]))
        return size

    def __iter__(self) -> Iterator[bytes]:
        for line in self._stream:
            yield self._note(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
