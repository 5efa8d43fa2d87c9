"""What limits a step of the training, in a sentence and as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.training._determinism_trace import FEWEST
from firstfault.checks.training._profiled_steps import PHASES, TRACE, WARM, Profiled, profile
from firstfault.checks.training.reproducibility import affordable
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_rows
from firstfault.place import Place
from firstfault.subject.subject import Subject

OPERATORS, STEP = "step_operators.csv", "step_phases.csv"


@check(layer=Layer.TRAINING, needs={"recipe", "trained"}, detects={"input_bottleneck": 0.6}, depth=Depth.STANDARD)
def profiled_input_bottleneck(
    subject: Subject, *, waiting: float = 0.5, wait: float = 0.005, starved: float = 0.8, whole: float = 1.0
) -> Iterator[Judgement]:
    """Measure what limits a step: data, forward, backward or optimizer, and its dearest operators.

    Measures: the share of a step spent on the user's own loader and augmentation, 0–1. After 2 steps to warm up, 8 are
        timed without a profiler, as one would inflate phases of many small operations; 3 more run under torch.profiler,
        for the operators and `trace.json` (open it in a trace viewer). Trainings of fewer steps are profiled as far as
        they go; those of which 3 steps take longer than half a second are left to depth deep.
    Fails when: the share is above `starved`, and the training has spent `whole` seconds or more on it.
    Warns when: the share is above `waiting`, and takes `wait` seconds of a step or more.
    Not a fault when: it takes less: a small model is often faster than its data.
    Source: Amazon SageMaker Debugger, IOBottleneck (50 %); PyTorch, torch.profiler. The other bounds are those of
        `input_bottleneck`.
    """
    if affordable(subject) < FEWEST:
        yield skipped("the steps take too long to be profiled here; depth deep does it")
        return
    folder = subject.folder
    found = profile(subject.recipe, subject.seed, folder)
    if found is None:
        yield skipped(f"fewer than {WARM + 1} steps were seen in a pass")
        return
    files = _written(found, folder)
    own = found.share("augmentation", *(["loading"] if subject.recipe.training.loader is not None else []))
    shares = ", ".join(f"{phase} {found.share(phase):.0%}" for phase in PHASES if found.share(phase) >= 0.005)
    slow = own > waiting and own * found.whole >= wait
    nearly_all = own > starved and own * found.whole * subject.trained.record.steps >= whole
    yield Judgement(
        (Status.FAIL if nearly_all else Status.WARN) if slow else Status.PASS,
        f"a step takes {_duration(found.whole)}: {shares}. {limit(found, own > waiting)}",
        value=own,
        threshold=waiting,
        where=Place.setting("training.loader") if slow else None,
        artifacts=files,
        faults={"input_bottleneck": 0.6 if nearly_all else 0.4},
        fix="load in workers (num_workers, persistent_workers), cache what is decoded, or augment whole batches"
        if slow
        else None,
    )


def limit(found: Profiled, starved: bool = False) -> str:
    """What limits a step, in a sentence."""
    if starved:
        return "The data limit it: the model waits for the loader"
    if found.busy is not None and found.busy < found.whole / 2:
        return (
            f"Many small operations limit it, as larger ones take only {found.busy / found.whole:.0%}: "
            "larger batches cost little more"
        )
    phase = max(PHASES, key=found.share)
    if not found.operators:
        return f"The {phase} limits it"
    top = found.operators[0]
    return f"The {phase} limits it; the dearest operator is {top.name} with {_duration(top.seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.2g} ms" if seconds < 1 else f"{seconds:.2g} s"


def _written(found: Profiled, folder: Path) -> tuple[str, ...]:
    """The tables of a profile as files; the names of these and of the trace."""
    rows = [
        [phase, f"{found.seconds[phase] * 1e3:.4g}", f"{found.share(phase):.1%}"]
        for phase in PHASES
        if found.seconds[phase] > 0
    ]
    write_rows(folder / STEP, ["phase", "milliseconds", "share"], rows)
    rows = [[operator.name, f"{operator.calls:.4g}", f"{operator.seconds * 1e3:.4g}"] for operator in found.operators]
    write_rows(folder / OPERATORS, ["operator", "calls per step", "own milliseconds per step"], rows)
    made = [STEP, *([OPERATORS] if rows else []), TRACE, f"{TRACE}.gz"]
    return tuple(name for name in made if (folder / name).is_file())
