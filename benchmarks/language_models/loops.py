"""Fine-tunings of a language model by a loop that is watched: `FAULTY[fault](kit, luck, folder)` gives the watch.

They run the Trainer of transformers, with adapters of PEFT where a fault needs one. `HEALTHY[name]` are sound twins.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from own_model import TALK, rows
from planted import Kit, packing, prepare_with, with_new_tokens

import firstfault
from firstfault.watcher.watch import Watch

Prepared = dict[str, list[int]]
Collate = Callable[[Sequence[Prepared]], dict[str, Any]]


def tuned(
    kit: Kit,
    folder: Path,
    *,
    model: Any = None,
    words: Any = None,
    change: Callable[[Prepared], Prepared] = lambda row: row,
    collate: Collate | None = None,
    loss: Callable[..., Any] | None = None,
    pairs: Sequence[tuple[str, str]] = TALK,
    batch: int = 2,
    accumulated: int = 1,
    steps: int = 8,
    **settings: Any,
) -> Watch:
    """A watched fine-tuning of a few steps by the Trainer of transformers."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    words = kit.words() if words is None else words
    model = kit.model() if model is None else model
    prepare = prepare_with(words)
    data = [change(prepare(row)) for row in rows(pairs)] * 2
    padded = DataCollatorForSeq2Seq(words, label_pad_token_id=-100)
    given = {"max_steps": steps, "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated}
    quiet = {
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "logging_strategy": "no",
    }
    arguments = TrainingArguments(str(folder / "out"), learning_rate=1e-3, **given, **quiet, **settings)
    with firstfault.watch(folder=folder / "run") as seen:
        trainer = Trainer(
            model,
            arguments,
            train_dataset=data,
            data_collator=padded if collate is None else _with(words, collate),
            compute_loss_func=loss,
        )
        trainer.train()
    return seen


def _with(words: Any, collate: Collate) -> Collate:
    """A collator that names the tokenizer, as one that encodes texts does."""

    def collated(batch: Sequence[Prepared]) -> dict[str, Any]:
        assert words is not None
        return collate(batch)

    return collated


def lora(model: Any, **settings: Any) -> Any:
    """A model with a low-rank adapter of PEFT."""
    from peft import LoraConfig, get_peft_model

    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    modules = ["q_proj", "v_proj"] if "q_proj" in names else ["c_attn"]
    conv = {"fan_in_fan_out": True} if "c_attn" in names else {}
    return get_peft_model(model, LoraConfig(r=4, target_modules=modules, task_type="CAUSAL_LM", **conv, **settings))


def _labels(change: Callable[[Any, Prepared], list[int]]) -> Callable[..., Watch]:
    def plant(kit: Kit, luck: random.Random, folder: Path) -> Watch:
        words = kit.words()
        return tuned(kit, folder, words=words, change=lambda row: {**row, "labels": change(words, row)})

    return plant


def _without_end(words: Any, row: Prepared) -> list[int]:
    return [-100 if each == words.eos_token_id else each for each in row["labels"]]


def _pad_is_end(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    """Padding has the id of the end, and its labels are masked with the padding's."""
    words = kit.words()
    words.pad_token = words.eos_token
    return tuned(kit, folder, words=words, change=lambda row: {**row, "labels": _without_end(words, row)})


def mean_of_batch(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The mean over the batch's own tokens, whatever the others of the step hold."""
    logits, wanted = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(logits, wanted)


def mean_of_step(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The sum over the tokens, of all tokens of the step."""
    logits, wanted = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum") / num_items_in_batch


def _accumulated(loss: Callable[..., Any]) -> Callable[..., Watch]:
    """One row at a time, short and long ones in turn."""

    def plant(kit: Kit, luck: random.Random, folder: Path) -> Watch:
        return tuned(kit, folder, loss=loss, batch=1, accumulated=luck.choice([4, 8]))

    return plant


def _packed(leak: bool) -> Callable[..., Watch]:
    def plant(kit: Kit, luck: random.Random, folder: Path) -> Watch:
        words = kit.words()
        pack = packing(kit, words, leak=leak)

        def collate(batch: Sequence[Prepared]) -> dict[str, Any]:
            return {**pack(batch), "labels": torch.tensor([[each for row in batch for each in row["labels"]]])}

        return tuned(kit, folder, words=words, collate=collate)

    return plant


def _flattened(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    """Positions that begin anew, without a mask and without a cache: transformers masks by them."""
    from transformers import DataCollatorWithFlattening

    return tuned(kit, folder, collate=DataCollatorWithFlattening())


def _masked_flat(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    """The same with a mask of ones beside, which makes transformers forget the positions."""
    from transformers import DataCollatorWithFlattening

    plain = DataCollatorWithFlattening()

    def collate(batch: Sequence[Prepared]) -> dict[str, Any]:
        made = plain(batch)
        return {**made, "attention_mask": torch.ones_like(made["input_ids"])}

    return tuned(kit, folder, collate=collate)


def _new(kit: Kit, **settings: Any) -> tuple[Any, Any]:
    """A model with new tokens as transformers makes them, near the mean of all others, and an adapter."""
    model, words = with_new_tokens(kit, mean_resizing=True)
    return lora(model, **settings), words


NEW_PAIRS = [(ask, f"<|think|>{said}<|done|>") for ask, said in TALK]


def _new_tokens(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    model, words = _new(kit)
    return tuned(kit, folder, model=model, words=words, pairs=NEW_PAIRS)


def _new_tokens_trained(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    words = with_new_tokens(kit, mean_resizing=True)[1]
    ids = words.convert_tokens_to_ids(["<|think|>", "<|done|>"])
    model, words = _new(kit, trainable_token_indices=ids)
    return tuned(kit, folder, model=model, words=words, pairs=NEW_PAIRS)


def _adapter(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    return tuned(kit, folder, model=lora(kit.model(), lora_dropout=0.1))


def _adapter_of_zeros(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    """Both factors begin at zero, so that neither is given a gradient by the other."""
    model = lora(kit.model())
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_A" in name:
                value.zero_()
    return tuned(kit, folder, model=model)


def _adapter_of_another(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    """The optimizer is made of the factors that a first adapter had; the one that learns is another."""
    model = lora(kit.model())
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-3)
    model = lora(model.unload())
    prepare = prepare_with(kit.words())
    with firstfault.watch(folder=folder / "run") as seen:
        for row in [prepare(each) for each in rows()] * 2:
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
            model(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
            model.zero_grad()
    return seen


def _plain(kit: Kit, luck: random.Random, folder: Path) -> Watch:
    return tuned(kit, folder, batch=luck.choice([1, 2, 4]), accumulated=luck.choice([1, 2]))


FAULTY: dict[str, Callable[[Kit, random.Random, Path], Watch]] = {
    "no_supervised_tokens": _labels(lambda words, row: [-100] * len(row["labels"])),
    "eos_never_supervised": _labels(_without_end),
    "eos_never_supervised (padding)": _pad_is_end,
    "prompt_supervised": _labels(lambda words, row: list(row["input_ids"])),
    "labels_shifted_twice": _labels(lambda words, row: [*row["labels"][1:], -100]),
    "packing_leak": _packed(leak=True),
    "packing_leak (masked)": _masked_flat,
    "accumulation_normalisation": _accumulated(mean_of_batch),
    "untrained_new_tokens": _new_tokens,
    "constant_init (adapter)": _adapter_of_zeros,
    "parameters_not_in_optimizer (adapter)": _adapter_of_another,
}
"""By fault, and in brackets how it is made."""
HEALTHY: dict[str, Callable[[Kit, random.Random, Path], Watch]] = {
    "plain": _plain,
    "packed": _packed(leak=False),
    "flattened": _flattened,
    "accumulated": _accumulated(mean_of_step),
    "new tokens": _new_tokens_trained,
    "adapter": _adapter,
}
"""By name, how it is set up."""
