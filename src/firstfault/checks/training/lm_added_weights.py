"""What a tuning adds to a language model's weights: rows of new tokens, and an adapter's tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from firstfault.check import Judgement, TargetKind, check, passed
from firstfault.errors import Missing, TargetError, told
from firstfault.finding import Layer, Status
from firstfault.lm.adapter_layers import own_adapter
from firstfault.lm.cuts import PROOF
from firstfault.lm.local import Local
from firstfault.place import Place
from firstfault.probe.language_end import AT_THE_MEAN
from firstfault.subject.language_model import declared_lm, network, tokenizer_of
from firstfault.subject.language_rows import tuning
from firstfault.subject.memo import part
from firstfault.subject.subject import Subject
from firstfault.training.embeddings import declared_embedding, embedding_of


@part(Layer.TRAINING, "tuning.before", of="model")
def new_rows(subject: Subject) -> dict[str, bool]:
    """Whether the row of each new token was trained: by its values before, else by those of the other new ones."""
    names = list(tuning(subject).new_tokens)
    if not names:
        raise Missing("the target declares no tuning.new_tokens")
    tokenizer = tokenizer_of(subject)
    if tokenizer is None:
        raise Missing("needs a tokenizer: lm.tokenizer")
    unknown = getattr(tokenizer, "unk_token_id", None)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in names}
    lost = next((name for name, each in ids.items() if not isinstance(each, int) or each == unknown), None)
    if lost is not None:
        raise TargetError(f"tuning.new_tokens must be tokens of the tokenizer, but {lost!r} is none")
    now, before = network(subject), tuning(subject).before
    old = Local(before, tokenizer).model if before is not None else None
    known = len(_embedding(old)) if old is not None else 0
    drawn = [each for each in ids.values() if each >= known]
    untouched = {name for name, each in ids.items() if each in _as_made(now, drawn)}
    if old is not None:
        untouched |= {name for name, each in ids.items() if each < known and _same_vector(now, old, each)}
    return {name: name not in untouched for name in ids}


def _same_vector(model: nn.Module, other: nn.Module, number: int) -> bool:
    """Whether two models give a token the same vector, with what adapters put in its place."""
    first, second = (_vectors(each, [number]) for each in (model, other))
    return torch.equal(first, second.to(first.dtype))


def _as_made(model: nn.Module, numbers: Sequence[int]) -> set[int]:
    """The new tokens whose vectors are zero, the mean of those before them, or equal to another one's."""
    if not numbers:
        return set()
    vectors, others = _vectors(model, numbers), _embedding(model)[: min(numbers)].float()
    usual = (others - others.mean(0)).norm(dim=1).median() if len(others) else torch.tensor(0.0)
    near = (vectors.float() - others.mean(0)).norm(dim=1) <= AT_THE_MEAN * usual
    zero = ~vectors.any(1)
    twin = torch.tensor([sum(torch.equal(row, other) for other in vectors) > 1 for row in vectors])
    return {each for each, made in zip(numbers, near | zero | twin, strict=True) if made}


def _vectors(model: nn.Module, numbers: Sequence[int]) -> torch.Tensor:
    """What the embedding gives for some tokens `(N, D)`; PEFT may put trained rows in the place of its own."""
    embedding = declared_embedding(model)
    weight = _embedding(model)
    if embedding is None or max(numbers) >= len(weight):
        return weight[[each for each in numbers if each < len(weight)]]
    with torch.no_grad():
        given: torch.Tensor = embedding(torch.tensor([list(numbers)], device=weight.device))[0]
    return given


def _embedding(model: nn.Module) -> torch.Tensor:
    embedding = embedding_of(model)
    if embedding is None:
        raise Missing("the model has no embedding")
    weight: torch.Tensor = embedding.weight.detach()
    return weight


@check(
    layer=Layer.TRAINING,
    needs={new_rows},
    detects={"untrained_new_tokens": PROOF},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def new_tokens_untrained(subject: Subject) -> Iterator[Judgement]:
    """Find new tokens whose rows of the embedding the tuning has not moved.

    Measures: the new tokens whose row is that of `tuning.before`; where that has none, or is not declared, one that is
        zero, the mean of all before it as transformers makes new rows, or equal to another new one's.
    Fails when: there is one.
    Source: PEFT, `modules_to_save` and `trainable_token_indices`: an adapter trains no embedding by itself.
    """
    moved = new_rows(subject)
    still = [name for name, trained in moved.items() if not trained]
    if not still:
        yield passed(f"the rows of {len(moved)} new tokens were trained", value=0)
        return
    yield Judgement(
        Status.FAIL,
        f"the rows of {len(still)} of {len(moved)} new tokens were not trained: {', '.join(still[:4])}",
        value=len(still),
        threshold=0,
        where=Place.parameters("embedding"),
    )


@part(Layer.TRAINING, "tuning.adapter", of="model")
def adapter_tensors(subject: Subject) -> Mapping[str, torch.Tensor]:
    """The tensors of the adapter, from a folder, a file or a mapping; left out, those that the model carries."""
    lm = declared_lm(subject).tuning
    given = lm.adapter if lm is not None else None
    if isinstance(given, Mapping):
        return given
    if given is not None:
        return _read(subject.target.root / Path(given).expanduser())
    own = own_adapter(network(subject))
    if not own:
        raise Missing("the target declares no tuning.adapter, and the model carries none")
    return own


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    names = ("adapter_model.safetensors", "adapter_model.bin")
    file = next((path / name for name in names if (path / name).is_file()), path)
    if not file.is_file():
        raise TargetError(
            f"tuning.adapter must be a file, or a folder with {' or '.join(names)}, but there is no {path}"
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        held: Mapping[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        return held
    except Exception as error:
        raise TargetError(f"tuning.adapter: {file.name} can't be read: {told(error)}") from error


def is_empty(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether an adapter adds nothing: no tensors, or a factor of each product that is zero."""
    norms = {name: float(value.float().norm()) for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    second = [norm for name, norm in norms.items() if "lora_B" in name or "lora_embedding_B" in name]
    return not any(second or norms.values())


@check(
    layer=Layer.TRAINING,
    needs={adapter_tensors},
    detects={"adapter_empty": PROOF},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def empty_adapter(subject: Subject) -> Iterator[Judgement]:
    """Find an adapter that holds nothing.

    Measures: the tensors of the adapter and their norms.
    Fails when: there are none, or the second factor of every product is zero, as it is before the first step.
    Source: PEFT, LoRA: the second factor begins at zero; adapters saved under ZeRO-3 or torch.compile came out empty.
    """
    tensors = adapter_tensors(subject)
    if not is_empty(tensors):
        yield passed(f"the adapter holds {len(tensors)} tensors that are not zero", value=len(tensors))
        return
    said = f"all of its {len(tensors)} tensors add nothing" if tensors else "it holds no tensor"
    yield Judgement(
        Status.FAIL, f"the adapter is empty: {said}", value=len(tensors), where=Place.setting("tuning.adapter")
    )
