"""Are the batches of the user's loader of a type and shape that the model and the loss take?"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from firstfault.check import Judgement, check, passed
from firstfault.checks.preprocessing._loader_passes import PLACE, first_made
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Tensors, outputs_of


@check(layer=Layer.PREPROCESSING, needs={"recipe", "model"}, detects={"wrong_dtype": 0.92, "scrambled_axes": 0.92})
def type_changed_by_loader(subject: Subject) -> Iterator[Judgement]:
    """Find batches of a type or axis order that the model or the loss can't take as they are.

    Measures: nothing in numbers: the untrained model and the loss run on the first batch of train and validation.
    Fails when: they take inputs or labels only as another type, the loader cuts fractions off (`wrong_dtype`), or
        samples are the second axis (`scrambled_axes`).
    Warns when: it is a type, and training runs in the user's own `fit`, which may convert it.
    Source: Humbatova et al. 2020, wrong type or shape of the input data; no bound is needed.
    """
    for split in ("train", "validation"):
        batch = first_made(subject, split)
        bad = _wrong_axis(subject, batch) or _wrong_type(subject, batch)
        if bad is None:
            continue
        fault, message, fix = bad
        converts = fault == "wrong_dtype" and subject.recipe.training.fit is not None
        yield Judgement(
            Status.WARN if converts else Status.FAIL,
            f"in {split}, {message}",
            where=Place.setting(PLACE, split),
            fix=fix,
            faults={fault: 0.92},
        )
        return
    yield passed("the model and the loss take the loader's batches as they are")


def _wrong_axis(subject: Subject, batch: Tensors) -> tuple[str, str, str] | None:
    n = len(batch.y)
    if len(batch.x) == n or batch.x.ndim < 2 or batch.x.shape[1] != n or _answers(subject, batch.x) == n:
        return None
    shape = "×".join(str(size) for size in batch.x.shape)
    message = f"{n} labels come with inputs of {shape}: samples are the second axis"
    return "scrambled_axes", message, "put the samples on the first axis"


def _wrong_type(subject: Subject, batch: Tensors) -> tuple[str, str, str] | None:
    prepared = subject.recipe.train.x
    if _fractions(prepared) and not batch.x.is_floating_point():
        message = f"the loader cuts fractions off: inputs come as {_name(batch.x)}"
        return "wrong_dtype", message, "keep the inputs in float32"
    for wanted in (torch.float32, torch.int64):
        if (
            batch.x.dtype != wanted
            and _answers(subject, batch.x) is None
            and _answers(subject, batch.x.to(wanted)) is not None
        ):
            message = f"the model takes {_name(batch.x)} inputs only as {wanted}"
            return "wrong_dtype", message, f"convert the inputs to {wanted}"
    for wanted in (torch.int64, torch.float32):
        if (
            batch.y.dtype != wanted
            and not _costs(subject, batch, batch.y)
            and _costs(subject, batch, batch.y.to(wanted))
        ):
            message = f"the loss takes {_name(batch.y)} labels only as {wanted}"
            return "wrong_dtype", message, f"convert the labels to {wanted}"
    return None


def _fractions(x: torch.Tensor) -> bool:
    return x.is_floating_point() and bool((torch.nan_to_num(x[:512]) % 1 != 0).any())


def _name(x: torch.Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _outputs(subject: Subject, x: torch.Tensor) -> torch.Tensor | None:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return outputs_of(subject.model(subject.recipe.inputs_for(subject.model, x)))
    except Exception:
        return None


def _answers(subject: Subject, x: torch.Tensor) -> int | None:
    outputs = _outputs(subject, x)
    return None if outputs is None or not outputs.ndim else len(outputs)


def _costs(subject: Subject, batch: Tensors, y: torch.Tensor) -> bool:
    outputs = _outputs(subject, batch.x)
    try:
        return outputs is None or bool(torch.is_tensor(subject.recipe.loss(outputs, y)))
    except Exception:
        return False
