"""What a training is given, batch by batch: images, tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject


@check(layer=Layer.TRAINING, needs={"batch"}, detects={"missing_normalisation": 0.3, "double_normalisation": 0.3})
def input_images(subject: Subject, *, largest: float = 10.0, smallest: float = 0.02) -> Iterator[Judgement]:
    """Look whether the images `(N, C, H, W)` of a batch are on a scale that networks learn from.

    Measures: the largest mean, by size, and the largest standard deviation of a channel.
    Warns when: one of them is above `largest`, as with pixels of 0–255; or the largest deviation is below `smallest`,
        as with pixels that were scaled twice.
    Not a fault when: pixels are 0–1, or standardised.
    Source: Amazon SageMaker Debugger, CheckInputImages, whose bound of ±0.2 for the mean would refuse pixels of 0–1;
        these are a choice of ours, and tests/checks/training/test_rules.py holds the cases that they separate.
    """
    x = subject.batch.x
    if x.ndim != 4 or not x.is_floating_point() or x.shape[1] > 4 or min(x.shape[2:]) < 4:
        yield skipped("the inputs are no images (N, C, H, W)")
        return
    channels = x.float().transpose(0, 1).flatten(1)
    means, stds = channels.mean(1).abs(), channels.std(1)
    if float(means.max()) > largest or float(stds.max()) > largest:
        fault, value, bound = "missing_normalisation", max(float(means.max()), float(stds.max())), largest
    elif 0 < float(stds.max()) < smallest:
        fault, value, bound = "double_normalisation", float(stds.max()), smallest
    else:
        yield passed(
            f"channels have means up to {float(means.max()):.2g} and standard deviations up to {float(stds.max()):.2g}"
        )
        return
    yield Judgement(
        Status.WARN,
        f"channels have means up to {float(means.max()):.3g} and standard deviations up to {float(stds.max()):.3g}",
        value=value,
        threshold=bound,
        where=Place.part("the training batch"),
        faults={fault: 0.3},
        fix="scale pixels to 0–1 once, or standardise them",
    )


@check(layer=Layer.TRAINING, needs={"batch"}, detects={"information_loss": 0.2})
def token_ratio(subject: Subject, *, share: float = 0.5, fewest: int = 64) -> Iterator[Judgement]:
    """Look for one token that makes up most of a batch of token ids `(N, T)`: padding or an unknown word.

    Measures: the share of the most frequent token, 0–1, in a batch of at least `fewest` tokens.
    Warns when: the share is above `share`.
    Source: Amazon SageMaker Debugger, NLPSequenceRatio (50 %); the share of `fewest` tokens errs by 6 %.
    """
    x = subject.batch.x
    if x.is_floating_point() or x.ndim != 2 or x.shape[1] < 2 or x.numel() < fewest or x.dtype == torch.bool:
        yield skipped("the inputs are no token ids (N, T)")
        return
    values, counts = torch.unique(x, return_counts=True)
    value, token = float(counts.max() / x.numel()), int(values[counts.argmax()])
    yield judge(
        value,
        above=share,
        otherwise=Status.WARN,
        where=Place.part("the training batch"),
        message=f"token {token} makes up {value:.0%} of a batch",
        fix="put texts of like length into a batch, or widen the vocabulary",
    )
