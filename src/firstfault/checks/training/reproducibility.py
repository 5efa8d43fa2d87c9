"""Does the same seed give the same training, bit for bit, and if not, what parts the two runs first?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.training._determinism_trace import FEWEST, Event, Trace, first_difference, traced, traced_anew
from firstfault.checks.training._own_generators import generators_of, is_seeded, put_back, same_state, state_of
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.place import FORWARD, Kind, Place
from firstfault.subject.subject import Subject

MOST_STEPS = 20  # what the seed does not reach shows in the first steps; more only cost more
SECONDS = 1.0  # for both runs at depth standard: bounds the cost
GENERATOR = "draw from the global generators, or make and seed an own one at the start of every run"
KERNEL = "torch.use_deterministic_algorithms(True) names the operation, or replaces it"
REMEDIES = {
    "prepared": "sort what comes from sets and folders, and seed what is drawn at random",
    "gradients": KERNEL,
    "weights": KERNEL,
}
Run = Callable[[int], Trace]


@check(layer=Layer.TRAINING, needs={"recipe", "trained"}, detects={"nonreproducible": 0.6}, depth=Depth.STANDARD)
def nonreproducible(subject: Subject, *, spread: float = 0.5) -> Iterator[Judgement]:
    """Find trainings that the same seed does not repeat, and the tensor in which two runs part first.

    Measures: the step at which two runs part: inputs, outputs, loss, gradients and weights are compared bit by bit. The
        runs take 20 steps or one pass over the data, with the global generators of Python, NumPy and torch seeded
        alike. Runs that would take more than a second are left to depth deep.
    Fails when: they part, and the variance of the losses of identical runs is more than `spread` of that between seeds:
        the seed decides less than chance.
    Warns when: they part.
    Not a fault when: two fresh processes agree: a generator goes on where the run before left it.
    Source: Pineau et al. 2021, Improving Reproducibility in Machine Learning Research; PyTorch, notes on
        reproducibility; Bouthillier et al. 2021 for the noise between seeds as the measure. The bound is a choice of
        ours; tests/checks/training/test_reproducibility.py holds the cases that it separates.
    """
    steps = affordable(subject)
    if steps < FEWEST:
        yield skipped(f"two runs of {FEWEST} steps take more than {SECONDS:.0f} s; depth deep runs them")
        return
    recipe, seed = subject.recipe, subject.seed
    own = generators_of(
        [
            recipe.model,
            *(getattr(recipe.training, name) for name in ("loader", "augment", "fit", "loss", "penalty", "optimizer")),
        ]
    )
    before = {name: state_of(generator) for name, generator in own.items()}
    runs = [traced(recipe, seed, steps)]
    moved = [name for name, state in before.items() if not same_state(state, state_of(own[name]))]
    runs.append(traced(recipe, seed, steps))
    difference = first_difference(*runs)
    if min(run.steps for run in runs) == 0:
        yield skipped(runs[0].crash or runs[1].crash or "no optimizer step was seen")
        return
    if difference is None:
        yield passed(
            f"{runs[0].steps} steps with the same seed, run twice, agree in every loss and weight bit for bit",
            value=runs[0].steps,
        )
        return
    if _repeats(subject, steps, {name: own[name] for name in moved}, before):
        yield passed(
            f"fresh runs agree bit for bit; two runs in one process part in {_what(difference)}, where "
            f"{_named(moved)} goes on from where the first run stopped",
            value=difference.step,
        )
        return
    yield _judged(runs, difference, lambda number: traced(recipe, number, steps), seed, spread, moved)


@check(layer=Layer.TRAINING, needs={"recipe", "trained"}, detects={"nonreproducible": 0.6}, depth=Depth.DEEP)
def differs_between_processes(subject: Subject, *, spread: float = 0.5) -> Iterator[Judgement]:
    """Find trainings that another process does not repeat: data in the order of a set, of a folder, or of the clock.

    Measures: the step at which two fresh processes part that load the target's file with other hash seeds; the prepared
        data and the first steps are compared as `nonreproducible` does.
    Fails when: they part, and the variance of the losses of identical runs is more than `spread` of that between seeds.
    Warns when: they part.
    Source: PyTorch, notes on reproducibility; Python, PYTHONHASHSEED; the bound is that of `nonreproducible`.
    """
    steps = affordable(subject)
    target, seed = subject.target, subject.seed
    runs = [traced_anew(target, seed, steps) for _ in range(2)]
    difference = first_difference(*runs)
    if min(run.steps for run in runs) == 0:
        yield skipped(runs[0].crash or runs[1].crash or "no optimizer step was seen")
    elif difference is None:
        yield passed(
            f"{runs[0].steps} steps with the same seed agree bit for bit in two processes", value=runs[0].steps
        )
    else:
        yield _judged(runs, difference, lambda number: traced_anew(target, number, steps), seed, spread, [])


def affordable(subject: Subject) -> int:
    """How many steps two runs may take: 20, or as many as a second allows where the depth is not deep."""
    trained = subject.trained
    record = trained.record
    if record is None or record.steps == 0:
        raise Missing("no optimizer step was seen")
    if subject.depth is Depth.DEEP:
        return MOST_STEPS
    once = (trained.cpu or sum(record.phases.values())) / record.steps
    return min(MOST_STEPS, int(SECONDS / 2 / max(once, 1e-6)))


def _repeats(subject: Subject, steps: int, moved: dict[str, Any], states: dict[str, Any]) -> bool:
    """Whether fresh runs agree: in two processes, or where there is no file, with seeded own generators put back."""
    try:
        return first_difference(*(traced_anew(subject.target, subject.seed, steps) for _ in range(2))) is None
    except Missing:
        if not moved or not all(map(is_seeded, moved.values())):
            return False
    runs = []
    for _ in range(2):
        for name, generator in moved.items():
            put_back(generator, states[name])
        runs.append(traced(subject.recipe, subject.seed, steps))
    return first_difference(*runs) is None


def _judged(
    runs: Sequence[Trace], difference: Event, run: Run, seed: int, spread: float, moved: Sequence[str]
) -> Judgement:
    same = [*runs, run(seed)]
    others = [run(seed + 1), run(seed + 2)]
    chance, whole = _apart(list(combinations(same, 2))), _apart(list(product(same, others)))
    share = chance**2 / whole**2 if whole > 0 else math.inf
    beyond = math.isfinite(chance) and share > spread
    drawn = f", where {_named(moved)} draws outside the seed's reach" if moved else ""
    return Judgement(
        Status.FAIL if beyond else Status.WARN,
        f"the same seed gives another training: two runs part in {_what(difference)}{drawn}. "
        f"Losses of identical runs are {chance:.2g} apart, those of other seeds {whole:.2g}",
        value=difference.step,
        threshold=runs[0].steps,
        where=_place(difference),
        fix=REMEDIES.get(difference.kind, GENERATOR),
    )


def _apart(pairs: Sequence[tuple[Trace, Trace]]) -> float:
    """The root mean square difference of two runs' losses, over steps and pairs."""
    with np.errstate(all="ignore"):
        squares = [
            (np.subtract(one.losses[:size], other.losses[:size])) ** 2
            for one, other in pairs
            if (size := min(one.steps, other.steps))
        ]
    return float(np.sqrt(np.mean(np.concatenate(squares)))) if squares else math.nan


def _what(event: Event) -> str:
    """A tensor in words."""
    if event.kind == "prepared":
        return f"the prepared training {event.name}"
    said = {
        "start": f"the initial {event.name}",
        "batch": "the batch",
        "augmented": "the augmented batch",
        "inputs": "what the model is given",
        "given": f"what {event.name} is given",
        "outputs": f"the output of {event.name}",
        "loss": "the loss",
        "gradients": f"the gradient of {event.name}",
        "weights": f"the updated {event.name}",
    }[event.kind]
    return said if event.kind == "start" else f"{said} of step {event.step}"


def _place(event: Event) -> Place:
    """What to look at: a setting, or the module or parameter whose tensor it is."""
    settings = {
        "batch": event.name,
        "augmented": event.name,
        "inputs": "training.fit",
        "loss": "training.loss",
        "weights": "training.optimizer",
    }
    parts = {"prepared": Place.part("preprocessing"), "start": Place.part("model"), "given": FORWARD}
    step = None if event.kind in ("prepared", "start") else event.step
    if event.kind in settings:
        return Place(Kind.SETTING, (settings[event.kind],), step=step)
    owner = Place(Kind.PARAMETER if event.kind == "gradients" else Kind.MODULE, (event.name,))
    return replace(parts.get(event.kind, owner), step=step)


def _named(moved: Sequence[str]) -> str:
    return f"the generator {', '.join(moved)}" if moved else "a state of its own"
