"""Asking a server of a language model: JSON over HTTP, within a budget of requests, of tokens and of time."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from firstfault.errors import Missing, first_line

TRIES = 3
"""How often a request is sent that the server puts off (429, 503): servers ask for a second or two of patience."""
LONGEST_WAIT = 5.0
"""Seconds to wait before the next try, whatever `Retry-After` says: a debug run is no queue."""
SILENCES = 3
"""After so many requests in a row that time out, a server is asked no more: each costs the whole of its time."""
LARGEST = 8 * 2**20
"""Bytes of an answer that are read: a thousand tokens with twenty log-probabilities each are a tenth of it."""


class EndpointError(Exception):
    """The server did not answer as its API promises; one sentence says how."""


class NotServed(Missing):
    """The server has no such route, or refuses its parameters."""


class Spent(Missing):
    """The budget of requests or tokens is spent, or the server has been silent too often."""


@dataclass
class Budget:
    """What may still be asked for of a server: requests, and tokens of prompts and answers together."""

    requests: int
    tokens: int
    spent_requests: int = 0
    spent_tokens: int = 0
    silences: int = 0

    def take(self) -> None:
        """Count one request.

        Raises:
            Spent: where nothing may be asked any more.
        """
        if self.spent_requests >= self.requests:
            raise Spent(f"the budget of {self.requests} requests is spent (lm.requests)")
        if self.spent_tokens >= self.tokens:
            raise Spent(f"the budget of {self.tokens} tokens is spent (lm.tokens)")
        if self.silences >= SILENCES:
            raise Spent(f"the server gave no answer {SILENCES} times in a row, and is asked no more")
        self.spent_requests += 1

    def count(self, tokens: int) -> None:
        """Count the tokens of an answer and of its prompt."""
        self.spent_tokens += max(0, tokens)


def ask(url: str, body: dict[str, Any], seconds: float, budget: Budget, key: str = "") -> Any:
    """The JSON that a server answers to a POST of JSON; what it puts off is asked again a little later.

    Raises:
        EndpointError: where it does not answer in time, answers with an error, or not with JSON in UTF-8.
        NotServed: where it has no such route.
        Spent: where the budget is.
    """
    for left in reversed(range(TRIES)):
        budget.take()
        try:
            whole = _posted(url, body, seconds, key)
            budget.silences = 0
            return _decoded(url, whole)
        except urllib.error.HTTPError as error:
            budget.silences = 0
            if error.code in (404, 405, 501) or (error.code in (400, 422) and "echo" in body):
                raise NotServed(f"{url} is not served (HTTP {error.code})") from error
            if error.code not in (429, 503) or not left:
                raise EndpointError(f"{url} answered HTTP {error.code}{_said(error)}") from error
            time.sleep(_patience(error))
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                budget.silences += 1
                raise EndpointError(f"{url} gave no answer within {seconds:g} s") from error
            raise EndpointError(f"{url} can't be asked: {reason}") from error
    raise AssertionError("every try returns or raises")


def _posted(url: str, body: dict[str, Any], seconds: float, key: str) -> bytes:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        whole: bytes = answer.read(LARGEST + 1)
    if len(whole) > LARGEST:
        raise EndpointError(f"{url} answered with more than {LARGEST} bytes")
    return whole


def _decoded(url: str, whole: bytes) -> Any:
    try:
        text = whole.decode()
    except UnicodeDecodeError as error:
        raise EndpointError(f"{url} must answer in UTF-8, but byte {error.start} of its answer is none") from error
    if not text.strip():
        raise EndpointError(f"{url} gave an empty answer")
    if text.lstrip().startswith(("data:", "event:", ":")):
        return streamed(url, text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise EndpointError(f"{url} must answer with JSON, but: {first_line(error)}") from error


def streamed(url: str, text: str) -> dict[str, Any]:
    """The one answer that a stream of server-sent events adds up to, which some servers send whatever is asked for."""
    said, log_probs, finish, usage = list[str](), list[Any](), None, None
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        try:
            event = json.loads(data)
            choice = (event.get("choices") or [{}])[0]
            said.append((choice.get("delta") or {}).get("content") or choice.get("text") or "")
            log_probs += (choice.get("logprobs") or {}).get("content") or []
            finish = choice.get("finish_reason") or finish
            usage = event.get("usage") or usage
        except (ValueError, AttributeError) as error:
            raise EndpointError(f"{url} streams what is no event of its API: {first_line(error)}") from error
    if finish is None:
        raise EndpointError(f"{url} broke off its stream before the end")
    choice = {"message": {"content": "".join(said)}, "finish_reason": finish}
    return {"choices": [{**choice, "logprobs": {"content": log_probs} if log_probs else None}], "usage": usage}


def _patience(error: urllib.error.HTTPError) -> float:
    try:
        return min(LONGEST_WAIT, max(0.0, float(error.headers.get("Retry-After", 1.0))))
    except (TypeError, ValueError):
        return 1.0


def _said(error: urllib.error.HTTPError) -> str:
    try:
        text = " ".join(error.read(400).decode(errors="replace").split())
    except OSError:
        return ""
    return f": {text[:120]}" if text else ""
