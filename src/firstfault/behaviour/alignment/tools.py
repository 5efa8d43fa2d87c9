"""Tool stubs: a model is told of them, its calls are answered, and what it said in between is part of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from firstfault.behaviour.alignment.specification import Tool
from firstfault.behaviour.asking import Answer
from firstfault.behaviour.variables import filled

Ask = Callable[[str], Answer]
MOST_CALLS = 4
"""Calls that are answered in one scenario: a model that calls a fifth time goes round in circles."""


def prefaced(asked: str, tools: Sequence[Tool]) -> str:
    """A prompt with the tools told before it; as it is where there are none."""
    if not tools:
        return asked
    lines = [f"- {tool.name}: {tool.says}" for tool in tools]
    call = json.dumps({"tool": tools[0].name, "arguments": {}})
    return "\n".join(["You can use these tools. To call one, answer with JSON alone, such as", call, *lines, "", asked])


def with_tools(ask: Ask, tools: Sequence[Tool]) -> Ask:
    """Asks with the tools at hand; the answer is all that the model said, its calls included."""
    if not tools:
        return ask

    def asked(prompt: str) -> Answer:
        text, said = prefaced(prompt, tools), list[str]()
        for _ in range(MOST_CALLS + 1):
            answer = ask(text)
            if answer.text is None:
                return answer
            said.append(answer.text)
            result = returned(answer.text, tools)
            if result is None:
                break
            text = f"{text}\n{answer.text}\n{result}"
        return Answer("\n".join(said))

    return asked


def returned(answer: str, tools: Sequence[Tool]) -> str | None:
    """What the first call in an answer gives; None where it calls none of these tools."""
    known = {tool.name: tool for tool in tools}
    for call in _objects(answer):
        name = call.get("tool", call.get("name"))
        if isinstance(name, str) and name in known:
            arguments = call.get("arguments", call)
            given = {str(key): str(value) for key, value in arguments.items()} if isinstance(arguments, Mapping) else {}
            return f"{name} returned: {filled(known[name].returns, given)}"
    return None


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The objects of JSON in a text, whatever stands around them."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
            yield value
        except ValueError:
            place += 1
        place = text.find("{", place)
