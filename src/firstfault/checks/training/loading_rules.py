"""Where the time of a step goes: waiting for data, waiting for the processor, single steps that take far too long."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

COMPUTING = ("forward", "backward", "optimizer")


@check(layer=Layer.TRAINING, needs={"record"}, detects={"input_bottleneck": 0.6})
def input_bottleneck(
    subject: Subject,
    *,
    share: float = 0.5,
    starved: float = 0.8,
    wait: float = 0.005,
    whole: float = 1.0,
    busy: float = 0.25,
) -> Iterator[Judgement]:
    """Find trainings that spend most of their time waiting for batches.

    Measures: the share of waiting in the time of a step, 0–1. The first batch of each pass is left out, as workers
        start there.
    Fails when: the share is above `starved`, and the waits are as long as for a warning.
    Warns when: the share is above `share`, a batch is waited for `wait` seconds or more, and all of them for `whole`
        seconds or more.
    Not a fault when: the waits are shorter: small tables load slower than they are learnt, and nobody waits for them.
        Nor is it judged where other processes used more than `busy` of the processors: the workers had to wait for one,
        and how long is not known. What the loop's own process waits for a processor is in no wait.
    Source: Amazon SageMaker Debugger, IOBottleneck (50 % of the steps). The other bounds are a choice of ours;
        tests/checks/training/test_rules.py holds the cases that they separate.
    """
    record = subject.record
    if len(record.waits) < 5 or not len(record.seconds):
        yield skipped("fewer than 5 waits for a torch DataLoader were seen")
        return
    waits = float(np.mean(record.waits.values))
    value = waits / max(waits + float(np.median(record.seconds.values)), 1e-9)
    text = f"{value:.0%} of a step is waiting for its batch ({1000 * waits:.0f} ms, {record.workers or 'no'} workers)"
    if value <= share or waits < wait or waits * record.waits.seen < whole:
        yield passed(text, value=value)
        return
    if record.workers and record.others > busy:
        yield skipped(f"{text}, while other processes used {record.others:.0%} of the machine")
        return
    yield Judgement(
        Status.FAIL if value > starved else Status.WARN,
        text,
        value=value,
        threshold=share,
        where=Place.part("the training loader"),
        fix="raise num_workers, prepare samples once and cache them, or make __getitem__ cheaper",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"input_bottleneck": 0.1})
def loader_bottleneck(subject: Subject, *, share: float = 0.3, wait: float = 0.005) -> Iterator[Judgement]:
    """Look whether the number of worker processes of a DataLoader fits the machine and the wait.

    Measures: the number of worker processes.
    Warns when: there are more of them than cores; or there is none, and more than `share` of a step is waiting, for
        more than `wait` seconds.
    Source: Amazon SageMaker Debugger, Dataloader rule; the documentation of torch.utils.data. The bounds are a choice
        of ours; `share` is lower than that of `input_bottleneck`, as the remedy is at hand.
    """
    record = subject.record
    if record.workers is None:
        yield skipped("no torch DataLoader was iterated")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waits, seconds = (
        float(np.mean(series.values)) if len(series) else 0.0 for series in (record.waits, record.seconds)
    )
    waiting = waits > wait and waits / (waits + seconds) > share
    text = (
        f"the loader has {record.workers} worker processes on {cores} cores, and gives a batch in {1000 * waits:.0f} ms"
    )
    if record.workers > cores or (waiting and record.workers == 0):
        fix = "use at most as many workers as cores" if record.workers else "load in worker processes: num_workers"
        yield Judgement(
            Status.WARN, text, value=record.workers, threshold=cores, where=Place.part("the training loader"), fix=fix
        )
        return
    yield passed(text, value=record.workers)


@check(layer=Layer.TRAINING, needs={"record"}, detects={"input_bottleneck": 0.1})
def cpu_bottleneck(subject: Subject, *, share: float = 0.4, whole: float = 1.0) -> Iterator[Judgement]:
    """Look whether the process gets the processor while it computes.

    Measures: processor time over time in forward, backward and optimizer; below 1 others use the cores. Only trainings
        on the processor that compute for at least `whole` seconds are measured: what an accelerator does meanwhile
        isn't seen from here.
    Warns when: it is below `share`. No fault of the training follows from it.
    Source: Amazon SageMaker Debugger, CPUBottleneck; the bounds are a choice of ours.
    """
    record = subject.record
    if record.device != "cpu":
        yield skipped(f"the parameters are on {record.device or 'no known device'}")
        return
    seconds, cpu = (sum(spent.get(phase, 0.0) for phase in COMPUTING) for spent in (record.phases, record.cpu))
    if seconds < whole:
        yield skipped(f"the steps took less than {whole:g} s")
        return
    yield judge(
        cpu / seconds,
        below=share,
        otherwise=Status.WARN,
        faults={},
        message=f"the process has {cpu / seconds:.0%} of a core while it computes",
        fix="look what else runs on the machine, or what the steps wait for",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"input_bottleneck": 0.1})
def step_outliers(
    subject: Subject, *, times: float = 10.0, share: float = 0.02, least: int = 10
) -> Iterator[Judgement]:
    """Look for steps that take far longer than the median.

    Measures: the number of steps that take more than `times` the median, from forward to update.
    Warns when: there are more than `least` of them, and more than `share` of all.
    Source: Amazon SageMaker Debugger, StepOutlier (more than 10 outliers); a multiple of the median is a choice of ours
        in place of 3 standard deviations, which the outliers themselves widen.
    """
    seconds = np.asarray(subject.record.seconds.values, float)
    if len(seconds) < 50:
        yield skipped("fewer than 50 steps were timed")
        return
    far = int(np.sum(seconds > times * np.median(seconds)))
    yield judge(
        far,
        above=max(least, share * len(seconds)),
        otherwise=Status.WARN,
        faults={},
        message=f"{far} of {len(seconds)} steps took more than {times:g} times "
        f"the median of {1000 * float(np.median(seconds)):.1f} ms",
        fix="look what happens in these steps: new shapes, checkpoints, other processes",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"stalled": 0.1})
def stalled_training(subject: Subject, *, seconds: float = 1800.0) -> Iterator[Judgement]:
    """Look for a step, or a wait for a batch, during which a training hung.

    Measures: the longest step or wait, in seconds.
    Warns when: it is above `seconds`.
    Source: Amazon SageMaker Debugger, StalledTrainingRule (1,800 s).
    """
    record = subject.record
    spans = [*record.seconds, *record.waits]
    if not spans:
        yield skipped("no step was timed")
        return
    yield judge(
        max(spans),
        above=seconds,
        otherwise=Status.WARN,
        message=f"the longest step or wait took {max(spans):.3g} s",
        fix="look for a deadlock of workers or processes",
    )
