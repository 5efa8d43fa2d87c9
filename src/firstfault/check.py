"""Checks: functions that measure one thing on a subject and judge it, and the way they are run.

@check(layer, needs, detects, depth)  registers a function that yields judgements (`judgement.judge`)
checks_of(layer)                      the checks of a layer on a target, or on an incident; others' come last
run_checks(layer, subject, depth)     runs every check of a layer, whatever happens in it
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from firstfault import muting, plugins, progress
from firstfault.depth import Depth as Depth
from firstfault.errors import FirstfaultError, Missing, MissingExtra, UserCodeError, told
from firstfault.examined import Examined as Examined
from firstfault.faults import expect_known
from firstfault.finding import Finding, Layer, LayerReport, Status, plain
from firstfault.interrupts import pass_on
from firstfault.judgement import Judgement as Judgement
from firstfault.judgement import judge as judge
from firstfault.judgement import passed as passed
from firstfault.judgement import skipped as skipped
from firstfault.raised import crashed, raised, said_elsewhere
from firstfault.verdict import SubjectKind

NO_STEPS = "an estimator is not trained by gradient steps"
"""Why a check of gradient steps looks at no estimator."""
LABELS = ("Measures", "Fails when", "Warns when", "Not a fault when", "Source")
"""The parts of a check's docstring, each a line that begins with its label."""
LABEL = re.compile(rf"^({'|'.join(LABELS)}):\s*", re.MULTILINE)


class TargetKind(StrEnum):
    """A kind of target that has checks of its own, in place of those of every other target."""

    LANGUAGE_MODEL = "language_model"


RunOn = SubjectKind | TargetKind
"""What a check is run on, and on nothing else."""


class Need(Protocol):
    """What a check needs beside the parts by name: a function of the subject."""

    __name__: str

    def __call__(self, subject: Any, /) -> object: ...  # the Subject, which lies in a room above


@dataclass(frozen=True)
class Check:
    """A registered check: what it needs, what it detects, the function that does it, and whose it is."""

    name: str
    layer: Layer
    function: Callable[..., Iterator[Judgement]]
    needs: frozenset[str | Need]
    detects: Mapping[str, float]
    depth: Depth
    parameters: Mapping[str, object] = field(default_factory=dict)
    owner: str = plugins.OURS
    gradients: bool = False
    kind: RunOn = SubjectKind.TARGET
    """What it is run on: a target or a watched loop, a language model, or an incident; never on another."""

    @property
    def ours(self) -> bool:
        """Whether it comes with firstfault."""
        return self.owner == plugins.OURS

    @property
    def doc(self) -> str:
        """The docstring of the check."""
        return inspect.getdoc(self.function) or ""

    @property
    def parts(self) -> Mapping[str, str]:
        """The labelled parts of the docstring; one ends at the next label, at a blank line or at the end."""
        _, *split = LABEL.split(self.doc)
        texts = (text.partition("\n\n")[0] for text in split[1::2])
        return {label: " ".join(text.split()) for label, text in zip(split[::2], texts, strict=True)}

    @property
    def source(self) -> str | None:
        """Where the thresholds come from: the docstring's part of that label."""
        return self.parts.get("Source")

    def findings(self, subject: Examined, thresholds: Mapping[str, object]) -> Iterator[Finding]:
        """Run the function on `subject`, and put this check's name on what it yields."""
        for judgement in self.function(subject, **thresholds):
            yield self._finding(judgement)

    def _finding(self, judgement: Judgement) -> Finding:
        bad = judgement.status in (Status.FAIL, Status.WARN)
        faults = judgement.faults if judgement.faults is not None else self.detects
        expect_known(faults, f"the check {self.name!r}")
        return Finding(
            check=self.name,
            layer=self.layer,
            status=judgement.status,
            message=judgement.message,
            value=plain(judgement.value),
            threshold=plain(judgement.threshold),
            where=judgement.where,
            faults=dict(faults) if bad else {},
            fix=judgement.fix,
            source=self.source,
            artifacts=judgement.artifacts,
        )


REGISTRY: dict[str, Check] = {}


def name_of_need(need: str | Need) -> str:
    """The name of a part that a check needs."""
    return need if isinstance(need, str) else need.__name__


def check(
    *,
    layer: Layer,
    needs: Iterable[str | Need] = (),
    detects: Mapping[str, float],
    depth: Depth = Depth.QUICK,
    gradients: bool | None = None,
    kind: RunOn = SubjectKind.TARGET,
) -> Callable[[Callable[..., Iterator[Judgement]]], Callable[..., Iterator[Judgement]]]:
    """Register a generator function `f(subject, *, threshold=…)` as a check named after it.

    Args:
        layer: the layer it examines.
        needs: parts of the subject it uses; when one is missing, the check is skipped.
        detects: fault ids with the weight of this evidence, 0–1 (0.9 and more is proof).
        depth: the lowest depth at which it runs.
        gradients: whether it concerns models that are trained by gradient steps alone; if left out, it does in the
            layers of model and training, on a target.
        kind: what it is run on: a target (and a watched loop), a language model, or an incident.

    Raises:
        ValueError: for a name that another check has, or a fault that nobody knows.
    """

    def register(function: Callable[..., Iterator[Judgement]]) -> Callable[..., Iterator[Judgement]]:
        name, module = function.__name__, function.__module__
        parameters = {
            key: parameter.default
            for key, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        of_steps = layer in (Layer.MODEL, Layer.TRAINING) and kind is SubjectKind.TARGET
        by_gradients = of_steps if gradients is None else gradients
        entry = Check(
            name,
            layer,
            function,
            frozenset(needs),
            dict(detects),
            depth,
            parameters,
            plugins.owner(module),
            by_gradients,
            kind,
        )
        if not entry.ours:
            for each in Layer:  # so that it can't take a name of ours
                _import_ours(each)
        known = REGISTRY.get(name)
        if known is not None and known.function.__module__ != module:
            raise ValueError(f"the check {name!r} must have a name of its own, but {known.owner} has one of that name")
        expect_known(detects, f"the check {name!r}")
        REGISTRY[name] = entry
        plugins.added(module, lambda: REGISTRY.pop(name))
        return function

    return register


@functools.cache
def _import_ours(layer: Layer) -> None:
    package = importlib.import_module(f"firstfault.checks.{layer.value}")
    for module in pkgutil.iter_modules(getattr(package, "__path__", ())):  # a step may begin as one module
        importlib.import_module(f"{package.__name__}.{module.name}")


@functools.cache
def checks_of(layer: Layer, kind: RunOn = SubjectKind.TARGET) -> tuple[Check, ...]:
    """The checks of one layer, by module, in the order in which a module defines them, whoever imported it first.

    Those of other distributions come after ours. What is run on an incident is run on nothing else.
    """
    _import_ours(layer)
    plugins.load(plugins.CHECKS)
    own = [entry for entry in REGISTRY.values() if entry.layer is layer and entry.kind is kind]
    return tuple(sorted(own, key=_order))


def _order(entry: Check) -> tuple[bool, str, int]:
    return not entry.ours, entry.function.__module__, entry.function.__code__.co_firstlineno


def run_checks(
    layer: Layer,
    subject: Examined,
    depth: Depth = Depth.STANDARD,
    thresholds: Mapping[str, Mapping[str, object]] | None = None,
    *,
    kind: RunOn = SubjectKind.TARGET,
) -> LayerReport:
    """Run the checks of `layer` on `subject`, and go on whatever one of them does.

    A part that the target lacks makes its checks `skipped`, as does an extra that is not installed; the user's own code
    raising is a finding of status `fail` (once); a crash of the check itself is one of status `error`.
    """
    started = time.perf_counter()
    findings: list[Finding] = []
    chosen = [entry for entry in checks_of(layer, kind) if depth.includes(entry.depth)]
    for done, entry in enumerate(chosen):
        progress.emit(progress.CheckStarted(layer, entry.name, done, len(chosen)))
        found = run_check(entry, subject, (thresholds or {}).get(entry.name, {}))
        new = [finding for finding in found if finding not in findings]
        findings.extend(new)
        for finding in new:
            progress.emit(progress.Found(finding))
    return LayerReport(layer, tuple(findings), time.perf_counter() - started)


def run_check(entry: Check, subject: Examined, thresholds: Mapping[str, object]) -> list[Finding]:
    """The findings of one check, one at least, whatever happens in it; what the target mutes is skipped."""
    mutes = subject.target.mute
    if entry.name in mutes:
        return [private(muting.whole(entry._finding(skipped("")), mutes), subject)]
    if entry.gradients and not subject.target.by_gradients:
        return [entry._finding(skipped(NO_STEPS))]
    findings: list[Finding] = []
    try:
        for need in sorted(entry.needs, key=name_of_need):
            subject.get(need)
        for finding in entry.findings(subject, thresholds):
            findings.append(finding)
    except (Missing, MissingExtra) as reason:
        findings.append(entry._finding(skipped(str(reason))))
    except UserCodeError as error:
        findings.append(entry._finding(skipped(str(error))) if said_elsewhere(error, entry.layer) else raised(error))
    except FirstfaultError:
        raise
    except BaseException as error:
        pass_on(error)
        # the model's own layer, or training, will say so
        early = not isinstance(error, Exception) and entry.layer.rank < Layer.TRAINING.rank
        findings.append(
            entry._finding(skipped(f"the target's code left by {told(error)}"))
            if early
            else crashed(entry.name, entry.layer, subject, error, entry.source)
        )
    return [private(muting.at_place(finding, mutes), subject) for finding in findings] or [
        entry._finding(skipped("it found nothing to look at"))
    ]


def private(finding: Finding, subject: Examined) -> Finding:
    """A finding whose texts quote no personal data of the subject: nothing that a run writes does."""
    hide = subject.masked
    return replace(
        finding,
        message=hide(finding.message),
        where=finding.where and finding.where.hidden(hide),
        fix=finding.fix and hide(finding.fix),
        value=hide(finding.value) if isinstance(finding.value, str) else finding.value,
    )
