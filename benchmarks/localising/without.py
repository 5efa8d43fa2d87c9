"""What each rule of a confirmation earns: the same programs diagnosed with all of them, and without one.

The sample is fixed by `SEED` and `SAMPLE`: programs in which a confirmation trains, with one fault, two at once, or
none and a false accusation. Each is examined up to its first confirmation, and its unchanged trainings are made, once;
every way of going on is a fork of that process. A rule that decided nothing with all rules on can't change the outcome,
so that only those that did are left out. A training that was made before with the same change, seed and scale is not
made again, but its seconds count.

A confirmation has `BUDGET` seconds, so that a busy machine changes no verdict; seconds are the process's own CPU time.
A verdict is right that names the planted fault first, both of two, and none of a healthy program.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from localising.faults import FAULTS
from localising.memory import Memory
from localising.programs import PROGRAMS, Program

from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.confirm.rules import Rules
from firstfault.ablation.confirm.trials import Arm, Bench, Run, Scale
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.ladder import Step
from firstfault.subject.replay import replayed
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Verdict, VerdictStatus

SEED = 12
SEEDS = 3
BUDGET = 180.0


@dataclass(frozen=True)
class Case:
    """One program: the number it is drawn by, and the faults that are planted, or that a finding falsely points to."""

    number: int
    planted: tuple[str, ...] = ()
    layer: Layer = Layer.TRAINING
    accused: Mapping[str, float] = field(default_factory=dict)

    def draw(self) -> Program:
        """The program; those into which a fault can't be planted are passed over."""
        rng = np.random.default_rng(SEED * 100_003 + self.number)
        while True:
            program: Program | None = PROGRAMS[int(rng.integers(len(PROGRAMS)))](rng)
            for fault in self.planted:
                program = program and KINDS[fault].plant(program, rng)
            if program is not None:
                return program

    def steps(self) -> list[Step] | None:
        """What is walked in place of the ladder: the false accusation, where there is one."""
        finding = Finding("accusation", self.layer, Status.FAIL, "a false accusation", faults=self.accused)
        return [Step(self.layer, lambda: LayerReport(self.layer, (finding,), 0.0))] if self.accused else None


KINDS = {kind.id: kind for kind in FAULTS}
SAMPLE = (
    Case(101, accused={"learning_rate_too_low": 0.6, "too_few_epochs": 0.5}),
    Case(11, ("wrong_output_activation",)),
    Case(23, ("learning_rate_too_low",)),
    Case(105, accused={"wrong_optimizer": 0.5, "learning_rate_too_high": 0.7}),
    Case(33, ("missing_normalisation", "wrong_loss")),
    Case(37, ("frozen_parameters", "learning_rate_too_low")),
    Case(106, accused={"stalled": 0.6}),
    Case(3, ("inconsistent_transform",)),
    Case(102, layer=Layer.MODEL, accused={"dead_relu": 0.6, "missing_normalisation": 0.3}),
    Case(5, ("nonfinite_output",)),
    Case(6, ("target_not_scaled",)),
    Case(17, ("saturating_activation",)),
    Case(9, ("single_unit_softmax",)),
    Case(31, ("gradient_clipped_away",)),
    Case(103, layer=Layer.DATA, accused={"random_labels": 0.55}),
    Case(104, layer=Layer.PREPROCESSING, accused={"missing_normalisation": 0.6}),
    Case(22, ("learning_rate_too_high",)),
    Case(13, ("exploding_init",)),
    Case(1, ("double_normalisation",)),
    Case(2, ("misaligned_labels",)),
    Case(25, ("missing_zero_grad",)),
    Case(35, ("constant_init", "learning_rate_too_high")),
    Case(39, ("random_labels",)),
    Case(34, ("learning_rate_too_low", "redundant_softmax")),
    Case(38, ("excessive_dropout", "over_regularised")),
)


@dataclass
class Way:
    """What came out for one program with all rules (`without` is empty), or without one."""

    without: str
    right: bool
    status: str
    faults: list[tuple[str, bool | None]]
    seconds: float
    decided: list[str]
    trainings: list[Any]


class Measured(Exception):
    """All ways of one program are measured: its own diagnosis need not go on."""


def run(names: Sequence[str], part: str = "1/1") -> None:
    """Leave each of the rules out where it decided something; print what that gained and lost. Ctrl-C sums up early."""
    number, parts = (int(text) for text in part.split("/"))
    programs: dict[str, list[Way]] = {}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background would ignore it
    with contextlib.suppress(KeyboardInterrupt):
        for case in SAMPLE[number - 1 :: parts]:
            program = case.draw()
            name = f"{'+'.join(case.planted or case.accused)} ({'' if case.planted else 'healthy '}{program.kind})"
            programs[name] = _ways(case, program, names)
            _show(name, programs[name])
    result: dict[str, Any] = {"seed": SEED, "programs": len(programs), "part": part}
    result["confirmed"] = sum(map(bool, programs.values()))
    result["right"] = sum(ways[0].right for ways in programs.values() if ways)
    print(f"\n{'rule':<26}{'decided in':>11}{'lost':>6}{'gained':>8}{'other':>7}{'seconds':>9}")
    result["rules"] = {name: _earned(name, programs) for name in names}
    for name, row in result["rules"].items():
        print(
            f"{name:<26}{row['decided']:>11}{row['lost']:>6}{row['gained']:>8}{row['other']:>7}{row['seconds']:>9.1f}"
        )
    print("RESULT", json.dumps(result))


def _show(name: str, ways: Sequence[Way]) -> None:
    """The verdict with all rules, and each that differs from it."""
    for way in ways:
        if not way.without or _conclusion(way) != _conclusion(ways[0]):
            print(f"{name:<64} {f'without {way.without}' if way.without else 'all rules':<32} {_line(way)}", flush=True)
    if ways:
        seconds = (f"{way.without} {way.seconds - ways[0].seconds:+.1f}" for way in ways[1:])
        print(f"{'':<64} left out, with the seconds: {', '.join(seconds)}", flush=True)
    else:
        print(f"{name:<64} no confirmation", flush=True)


def _line(way: Way) -> str:
    named = ", ".join(f"{fault}{'' if confirmed else '?'}" for fault, confirmed in way.faults)
    return f"{'right' if way.right else 'wrong'}  {way.seconds:6.1f} s  {named or way.status}"


def _conclusion(way: Way) -> Any:
    return way.status, way.faults


def _earned(name: str, programs: dict[str, list[Way]]) -> dict[str, Any]:
    """In how many programs a rule decided; the verdicts lost, gained or else changed without it, and the seconds."""
    pairs = [(ways[0], way) for ways in programs.values() for way in ways if way.without == name]
    lost = sum(full.right and not way.right for full, way in pairs)
    gained = sum(way.right and not full.right for full, way in pairs)
    changed = sum(_conclusion(full) != _conclusion(way) for full, way in pairs)
    return {
        "decided": len(pairs),
        "lost": lost,
        "gained": gained,
        "other": changed - lost - gained,
        "seconds": round(sum(way.seconds - full.seconds for full, way in pairs), 1),
    }


def _ways(case: Case, program: Program, names: Sequence[str]) -> list[Way]:
    """With all rules, then without each of those that decided something; nothing where no confirmation ran."""
    with tempfile.TemporaryDirectory() as folder:
        branch = _Branch(Subject(program.target("program"), Path(folder)), case.planted, names)
        try:
            verdict = diagnose(branch.subject, Depth.STANDARD, steps=case.steps(), confirm_report=branch.confirm)
        except Measured:
            return branch.ways
        except Exception:
            branch.give_up()
            raise
        branch.tell(verdict)
    return []


class _Branch:
    """Forks a diagnosis at its first confirmation; the parent collects what its children tell."""

    def __init__(self, subject: Subject, planted: tuple[str, ...], names: Sequence[str]) -> None:
        self.subject, self.planted, self.names = subject, planted, names
        self.ways: list[Way] = []
        self.memory = Memory()
        self.rules: Rules | None = None
        self.pipe = -1

    def confirm(self, report: LayerReport) -> list[Outcome]:
        """Test suspicions, in a child; in the parent, fork one for each way of doing so."""
        if self.rules is None:
            _train_unchanged(self.subject)
            self.rules = self._fork_all()
            self.memory.install()
        return confirm(self.subject, report, budget_seconds=BUDGET, seeds=SEEDS, rules=self.rules)

    def _fork_all(self) -> Rules:
        """The rules with which a child goes on."""
        for name in ("", *self.names):
            if (not name or name in self.ways[0].decided) and self._is_child():
                return Rules([name] if name else [])
        raise Measured

    def _is_child(self) -> bool:
        """Fork: true in the child, false in the parent once the child has told its way."""
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reading)
            self.pipe = writing
            return True
        os.close(writing)
        with os.fdopen(reading) as stream:
            text = stream.read()
        os.waitpid(child, 0)
        way = Way(**json.loads(text))
        self.memory.made |= {(*key[:2], Scale(*key[2:])): Run(None, *run) for *key, run in way.trainings}
        self.ways.append(replace(way, trainings=[]))
        return False

    def tell(self, verdict: Verdict) -> None:
        """In a child: hand what came out to the parent, and end."""
        if self.rules is None:
            return
        faults = [(fault.fault, fault.confirmed) for fault in verdict.faults]
        way = Way(
            next(iter(self.rules.without), ""),
            _is_right(self.planted, verdict),
            verdict.status.value,
            faults,
            time.process_time() + self.memory.saved,
            list(self.rules.decided),
            self.memory.told(),
        )
        with os.fdopen(self.pipe, "w") as stream:
            json.dump(asdict(way), stream)
        os._exit(0)

    def give_up(self) -> None:
        """In a child: show the exception, and end, so that the parent fails."""
        if self.rules is not None:
            traceback.print_exc()
            os._exit(1)


def _is_right(planted: tuple[str, ...], verdict: Verdict) -> bool:
    named = [fault.fault for fault in verdict.faults]
    if not planted:
        return verdict.status is VerdictStatus.HEALTHY
    return named[:1] == [*planted] if len(planted) == 1 else set(planted) <= set(named)


def _train_unchanged(subject: Subject) -> None:
    """The trainings of the unchanged target, and those of the replay of its `fit`, beside which all ways put theirs."""
    with contextlib.suppress(Missing, UserCodeError, FirstfaultError):
        bench = Bench(subject, SEEDS)
        for seed in bench.seeds:
            bench.baseline(seed)
        if bench.recipe.training.fit is not None:
            base = replayed(subject)
            for seed in bench.seeds:
                bench.unchanged(Arm("replay", "replayed", base, base=base), seed)
