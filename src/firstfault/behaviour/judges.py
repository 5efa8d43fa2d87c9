"""The scorer that a suite names; judges that are the user's: a function, or an endpoint that is asked yes or no."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urldefrag

from firstfault.behaviour.scorers import MISNAMED, SCORERS, Scorer
from firstfault.errors import Missing, TargetError, first_line, told
from firstfault.interrupts import pass_on
from firstfault.lm.http_json import Budget, EndpointError, ask
from firstfault.target.loader import import_place
from firstfault.texts import nearest

SECONDS = 30.0
"""How long a judge may take for one answer: the usual timeout of clients; a later one is no verdict."""
HALF = 0.5
"""A judge that gives a probability or a score in 0–1 passes what lies at or above the middle."""
VARIANTS: Mapping[str, str] = {
    "plain": "Reply with the one word yes or no.",
    "labels": "Reply with the one word no if it does, and with the one word yes if it does not.",
    "order": "Reply with the one word no or yes.",
    "paraphrase": "Say yes if that is so and no if it is not; write nothing else.",
}
"""How the same question is put to an endpoint: with labels flipped, in another order, in other words."""
TEXT = "Question:\n{prompt}\n\nAnswer:\n{answer}\n\nDoes the answer meet this: {criterion}\n{variant}"


class EndpointJudge:
    """Asks `URL/chat/completions` whether an answer meets a criterion; anything but one yes or no is no verdict.

    Neither is what fails once the server has spoken, and `failed` keeps how it did so first.

    Raises:
        TargetError: when it is called, and the server has never answered.
    """

    def __init__(self, url: str) -> None:
        base, fragment = urldefrag(url)
        options = {key: values[-1] for key, values in parse_qs(fragment).items()}
        self.model = options.get("model", "judge")
        self.url, self.spoke, self.failed = f"{base.rstrip('/')}/chat/completions", False, ""
        self.budget = Budget(sys.maxsize, sys.maxsize)
        self.criterion = options.get("criterion", "it is a correct and acceptable answer to the question")

    def __call__(self, answer: str, expect: str, prompt: str, variant: str = "plain") -> bool | None:
        criterion = f"{self.criterion} (expected: {expect})" if expect else self.criterion
        text = TEXT.format(prompt=prompt, answer=answer, criterion=criterion, variant=VARIANTS[variant])
        verdict = parsed(self._asked(text))
        return verdict if verdict is None or variant != "labels" else not verdict

    def _asked(self, text: str) -> object:
        """What the server says; None where it fails, and the next time it may not."""
        body = {"model": self.model, "messages": [{"role": "user", "content": text}], "temperature": 0}
        try:
            said = ask(self.url, body, SECONDS, self.budget)["choices"][0]["message"]["content"]
        except (EndpointError, Missing) as error:
            if not self.spoke:
                raise TargetError(f"the judge does not answer: {error}") from error
            self.failed = self.failed or first_line(error)
        except (LookupError, TypeError):
            self.failed = self.failed or f"{self.url} answers what is no chat completion"
        else:
            self.spoke = True
            return said
        return None


def parsed(text: object) -> bool | None:
    """What a judge says as a verdict: booleans, numbers in 0–1, yes and no; None for NaN and anything else."""
    if isinstance(text, bool) or text is None:
        return text
    if isinstance(text, int | float) or hasattr(text, "__float__"):
        number = float(text)  # type: ignore[arg-type]
        return None if math.isnan(number) or not 0 <= number <= 1 else number >= HALF
    word = str(text).strip().strip(".!\"'*").lower()
    return {"yes": True, "true": True, "pass": True, "no": False, "false": False, "fail": False}.get(word)


POSITIONS: Mapping[int, tuple[str, ...]] = {1: ("answer",), 2: ("answer", "expect"), 3: ("prompt", "answer", "expect")}
"""What a judge is called with that names its parameters in words of its own."""


class CallableJudge:
    """The user's function, called with what its parameters name: answer, expect, prompt, and variant where it has it.

    One without any of these names is called by position: (answer), (answer, expect) or (prompt, answer, expect). Where
    it raises there is no verdict; `failed` keeps how it did so first.
    """

    def __init__(self, judge: Callable[..., Any]) -> None:
        self.judge = judge
        self.failed = ""

    @property
    def has_variants(self) -> bool:
        """Whether it can be asked the same in other words."""
        return "variant" in self._parameters()

    def __call__(self, answer: str, expect: str, prompt: str, variant: str = "plain") -> bool | None:
        given, names = {"answer": answer, "expect": expect, "prompt": prompt}, self._parameters()
        more = {"variant": variant} if "variant" in names else {}
        known = [name for name in names if name in given]
        try:
            if known:
                return parsed(self.judge(**{name: given[name] for name in known}, **more))
            words = POSITIONS.get(len([name for name in names if name != "variant"]), ("answer",))
            return parsed(self.judge(*(given[word] for word in words), **more))
        except BaseException as error:
            pass_on(error)
            self.failed = self.failed or told(error)
            return None

    def _parameters(self) -> list[str]:
        try:
            return list(inspect.signature(self.judge).parameters)
        except (TypeError, ValueError):
            return ["answer"]


def judge_of(spec: str, root: Path) -> Scorer:
    """The scorer of `file.py:name` below `root`, or of an address.

    Raises:
        TargetError: when there is no such file or name, or it is no function.
    """
    if spec.startswith(("http://", "https://")):
        judge = EndpointJudge(spec)
        return Scorer(spec, f"a model's word on: {judge.criterion}", judge, version=judge.model, reads_expect=True)
    place, _, name = spec.rpartition(":")
    own = root / Path(place).expanduser()
    module, file = import_place(str(own if own.is_file() else place))
    function = getattr(module, name, None)
    if not callable(function):
        raise TargetError(f"{spec} must be a function of an answer, but {file.name} has no function {name!r}")
    return Scorer(
        spec,
        (inspect.getdoc(function) or name).splitlines()[0],
        CallableJudge(function),
        version=str(getattr(function, "version", "unversioned")),
        reads_expect=True,
    )


def scorer_of(spec: str, root: Path | None = None) -> Scorer:
    """The scorer that a name, `file.py:name` below `root`, or a judge's address stands for.

    Raises:
        TargetError: when there is none; it says which there are.
    """
    if spec in SCORERS:
        return SCORERS[spec]
    if spec.startswith(("http://", "https://")) or ":" in spec:
        return judge_of(spec, root or Path())
    why = f": {MISNAMED[spec]}; a judge as file.py:name can be audited" if spec in MISNAMED else nearest(spec, SCORERS)
    raise TargetError(f"there is no scorer {spec!r}, but {', '.join(SCORERS)}, file.py:name and http://…{why}")
