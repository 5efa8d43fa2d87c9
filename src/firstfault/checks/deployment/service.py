"""The served process: its versions, its speed, and what it does with malformed requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.deployment.batches import rows_of
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.place import Kind, Place
from firstfault.subject.serving import golden_of, served_of
from firstfault.subject.subject import Subject


@check(layer=Layer.DEPLOYMENT, needs={golden_of, "deployment"}, detects={"version_mismatch": 0.85})
def version_mismatch(subject: Subject) -> Iterator[Judgement]:
    """Find libraries whose running version is not the pinned one.

    Measures: the number of pinned libraries that run in another major or minor version, or not at all.
    Fails when: there is one.
    Not a fault when: only the patch or the build differs.
    Source: Semantic Versioning 2.0.0: a patch neither adds nor removes anything.
    """
    wanted = _requirements(subject)
    if not wanted:
        yield skipped("no requirement pins a version")
        return
    other = {}
    for name, pin in wanted.items():
        try:
            running = version(name)
        except PackageNotFoundError:
            running = "none"
        if running.split("+")[0].split(".")[:2] != pin.split("+")[0].split(".")[:2]:
            other[name] = f"{name} {pin} saved, {running} running"
    if not other:
        yield passed(f"{len(wanted)} pinned versions are the running ones")
        return
    yield Judgement(
        Status.FAIL,
        "; ".join(list(other.values())[:3]),
        value=len(other),
        threshold=0,
        where=Place(Kind.PACKAGE, tuple(other)),
        fix="serve with the versions that the model was saved with",
    )


def _requirements(subject: Subject) -> dict[str, str]:
    declared = subject.deployment.requirements
    if isinstance(declared, Mapping):
        return {str(name): str(pin) for name, pin in declared.items()}
    if isinstance(declared, str | Path):
        path = subject.target.root / declared
        declared = path.read_text().splitlines() if path.is_file() else [str(declared)]
    pairs = (line.split("==") for line in declared or () if "==" in line)
    return {name.strip(): pin.split(";")[0].strip() for name, pin in pairs}


@check(
    layer=Layer.DEPLOYMENT, needs={golden_of, "deployment"}, depth=Depth.STANDARD, detects={"unvalidated_input": 0.9}
)
def served_process(subject: Subject) -> Iterator[Judgement]:
    """Serve the model for real on loopback, and send it good and malformed requests.

    Measures: the p95 of a good request in milliseconds, and the number of malformed ones that get no 4xx: a wrong type,
        a missing column, NaN, no rows, a huge number. The process is the one at `deployment.url`, or MLflow's scoring
        server with the packaged model.
    Fails when: a malformed request to the user's own URL gets a 5xx or a quiet answer; or a good one gets none, which
        names no fault, and leaves the verdict undecided.
    Warns when: one to firstfault's package does, or the p95 is above `deployment.latency_ms`.
    Source: RFC 9110, HTTP Semantics, 15.5: a 4xx says that the client erred; the budget is the target's own.
    """
    from firstfault.subject.http_service import measure, requests_for, serving

    own = (subject.deployment.model, subject.deployment.load, subject.deployment.preprocess)
    if subject.deployment.url is None and any(part is not None for part in own):
        yield skipped("the deployment has no URL, and its own loader is not served by MLflow")
        return
    with serving(subject) as endpoint:
        good, malformed = requests_for(subject)
        try:
            with subject.alone():
                answers = measure(endpoint, good, malformed)
        except Missing as reason:
            if subject.deployment.url is None:
                raise
            yield Judgement(
                Status.FAIL,
                f"{reason}, so that what is served there could not be examined",
                faults={},
                where=Place.part("deployment.url"),
                fix="start the service, declare the form of a request, or take `deployment.url` out of the target",
            )
            return
    p50, p95, p99 = answers.latency_ms
    budget = subject.deployment.latency_ms
    yield Judgement(
        Status.WARN if p95 > budget else Status.PASS,
        f"a request takes p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms over HTTP; the budget is {budget:g} ms",
        value=p95,
        threshold=budget,
        faults={},
    )
    bad = {name: code for name, code in answers.malformed.items() if not 400 <= code < 500}
    text = ", ".join(f"{name}: {code}" for name, code in answers.malformed.items())
    yield Judgement(
        (Status.FAIL if subject.deployment.url else Status.WARN) if bad else Status.PASS,
        f"malformed requests are answered with {text}",
        value=len(bad),
        threshold=0,
        where=Place.cases(*bad),
        fix="validate the input, and answer 4xx" if bad else None,
    )


@check(layer=Layer.DEPLOYMENT, needs={served_of, golden_of}, detects={"latency_regression": 0.8})
def latency_regression(subject: Subject, *, times: float = 3.0, calls: int = 30) -> Iterator[Judgement]:
    """Measure single-sample calls in this process.

    Measures: the p95 of `calls` calls in milliseconds, the first 3 left out; not the time in which other processes had
        the processor.
    Fails when: the p50 is above `times` the budget `deployment.latency_ms`.
    Warns when: the p95 is above the budget.
    Source: the target's own budget; the p50 of 30 calls on a shared machine varies by less than 3 times.
    """
    from firstfault.clock import unhindered_seconds

    row, seconds = rows_of(golden_of(subject).raw, 0, 1), []
    try:
        served_of(subject).call(row)
    except UserCodeError as error:
        yield skipped(f"a single sample is refused, which is judged on its own: {error}")
        return
    with subject.alone():
        for _ in range(calls):
            started = unhindered_seconds()
            served_of(subject).call(row)
            seconds.append(unhindered_seconds() - started)
    p50, p95, p99 = (1000 * float(np.quantile(seconds[3:], share)) for share in (0.5, 0.95, 0.99))
    budget = subject.deployment.latency_ms
    status = Status.FAIL if p50 > times * budget else Status.WARN if p95 > budget else Status.PASS
    yield Judgement(
        status,
        f"one call takes p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms; the budget is {budget:g} ms",
        value=p95,
        threshold=budget,
        where=Place.part(served_of(subject).kind) if status is not Status.PASS else None,
        fix="profile the request path; use inference_mode",
    )
