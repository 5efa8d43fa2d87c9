"""One fault of a language model each, planted in any model: `PLANTED[fault](kit, luck)` gives the declaration.

A kit is a model with its tokenizer; luck is a random generator that draws prompts, places and sizes.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from own_model import TALK, rows

from firstfault import LM, FineTuning, Prompt


@dataclass(frozen=True)
class Kit:
    """A model and its tokenizer, made anew at each call; `rope` tells that its positions are rotary."""

    name: str
    model: Callable[[], Any]
    words: Callable[[], Any]
    rope: bool


def _prompts(luck: random.Random, count: int = 2) -> list[str]:
    return luck.sample([ask for ask, _ in TALK], count)


def _lm(kit: Kit, luck: random.Random, **parts: Any) -> LM:
    parts = {"model": kit.model(), "tokenizer": kit.words(), "prompts": _prompts(luck), **parts}
    return LM(**parts)


def prepare_with(words: Any) -> Callable[[Any], dict[str, list[int]]]:
    """Ids of a row by a tokenizer's own template, with the last answer and its end as labels."""

    def prepare(row: Any) -> dict[str, list[int]]:
        asked = words.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True)
        whole = words.apply_chat_template(row["messages"], tokenize=False)
        start, ids = (words(text, add_special_tokens=False)["input_ids"] for text in (asked, whole))
        return {"input_ids": ids, "labels": [-100] * len(start) + ids[len(start) :]}

    return prepare


def tuned(kit: Kit, luck: random.Random, **parts: Any) -> LM:
    """A declaration with rows and their labels."""
    words = kit.words()
    given = {"rows": rows(), "prepare": prepare_with(words), **parts}
    return _lm(kit, luck, tokenizer=words, tuning=FineTuning(**given))


def _labels(change: Callable[[Any, dict[str, list[int]]], dict[str, list[int]]]) -> Callable[..., LM]:
    def plant(kit: Kit, luck: random.Random) -> LM:
        words = kit.words()
        plain = prepare_with(words)
        return tuned(kit, luck, prepare=lambda row: change(words, plain(row)))

    return plant


def _nothing(words: Any, made: dict[str, list[int]]) -> dict[str, list[int]]:
    return {**made, "labels": [-100] * len(made["labels"])}


def _no_end(words: Any, made: dict[str, list[int]]) -> dict[str, list[int]]:
    return {**made, "labels": [-100 if each == words.eos_token_id else each for each in made["labels"]]}


def _all(words: Any, made: dict[str, list[int]]) -> dict[str, list[int]]:
    return {**made, "labels": list(made["input_ids"])}


def _shifted(words: Any, made: dict[str, list[int]]) -> dict[str, list[int]]:
    return {**made, "labels": [*made["labels"][1:], -100]}


def _requests(**parts: Callable[[Any, Any], Any]) -> Callable[..., LM]:
    """A fault of what is sent; every third time training rows are right, and serving alone is wrong."""

    def plant(kit: Kit, luck: random.Random) -> LM:
        words = kit.words()
        made = {name: (lambda value, change=change: change(words, value)) for name, change in parts.items()}
        served = luck.random() < 1 / 3
        tuning = FineTuning(rows=rows(), prepare=prepare_with(words)) if served else None
        return _lm(kit, luck, tokenizer=words, tuning=tuning, **made)

    return plant


def written(words: Any, messages: Any, **how: Any) -> str:
    """Messages by the tokenizer's template."""
    return str(words.apply_chat_template(messages, tokenize=False, **{"add_generation_prompt": True, **how}))


def _plain_ids(words: Any, text: str) -> list[int]:
    return list(words(text, add_special_tokens=False)["input_ids"])


def _with_bos(words: Any, text: str) -> list[int]:
    return [words.bos_token_id, *_plain_ids(words, text)]


def _without_bos(words: Any, text: str) -> list[int]:
    return _plain_ids(words, text)[1:]


def _contents(words: Any, messages: Any) -> str:
    return "\n".join(message["content"] for message in messages)


def _alpaca(words: Any, messages: Any) -> str:
    bos = words.bos_token if written(words, messages).startswith(words.bos_token) else ""
    turns = [f"<|im_start|>### {message['role']}:\n{message['content']}<|im_end|>\n" for message in messages]
    return (bos if bos != "<|im_start|>" else "") + "".join(turns) + "<|im_start|>### assistant:\n"


def _no_system(words: Any, messages: Any) -> str:
    text = written(words, messages)
    head, mark, rest = text.partition("<|im_start|>user")
    return (words.bos_token if head.startswith(words.bos_token + "<") else "") + mark + rest


def _split(words: Any, text: str) -> list[int]:
    """Control tokens in pieces, but for the first token."""
    ids: list[int] = []
    rest = text
    if words.bos_token != "<|im_start|>" and text.startswith(words.bos_token):
        ids, rest = [words.bos_token_id], text[len(words.bos_token) :]
    for number, piece in enumerate(rest.split("<|im_start|>")):
        if number:
            ids += [*_plain_ids(words, "<|im"), *_plain_ids(words, "_start|>")]
        ids += _plain_ids(words, piece)
    return ids


def _other_tokenizer(words: Any, text: str) -> list[int]:
    """Ids of a vocabulary in which every ordinary token has its neighbour's place."""
    special = {words.bos_token_id, words.eos_token_id, words.pad_token_id, *words.all_special_ids}
    return (
        [each if each in special or each < 300 else each - 7 for each in _plain_ids(words, text)]
        if (len(words) > 5000)
        else [each if each in special else max(4, each - 3) for each in _plain_ids(words, text)]
    )


def _cut(words: Any, text: str) -> list[int]:
    return _plain_ids(words, text)[:12]


def _positions(kit: Kit, luck: random.Random) -> LM:
    words = kit.words()

    def collate(sequences: Any) -> dict[str, Any]:
        width = max(map(len, sequences))
        pad = words.pad_token_id
        return {
            "input_ids": torch.tensor([[pad] * (width - len(ids)) + ids for ids in sequences]),
            "attention_mask": torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in sequences]),
        }

    return _lm(kit, luck, tokenizer=words, collate=collate)


def _right(kit: Kit, luck: random.Random) -> LM:
    words = kit.words()
    words.padding_side = "right"
    return _lm(kit, luck, tokenizer=words, batch=luck.choice([2, 4, 8]))


def head_of(model: Any) -> Any:
    """The output head."""
    return model.get_output_embeddings()


def _untied(kit: Kit, luck: random.Random) -> LM:
    model = kit.model()
    head = head_of(model)
    weight = head.weight.detach().clone()
    head.weight = torch.nn.Parameter(weight + 0.3 * weight.std() * torch.randn_like(weight))
    with_reference = luck.random() < 0.5
    return _lm(
        kit, luck, model=model, reference=LM(model=kit.model(), tokenizer=kit.words()) if with_reference else None
    )


def _rope(kit: Kit, luck: random.Random) -> LM:
    model = kit.model()
    config = copy.deepcopy(model.config)
    known = dict(getattr(config, "rope_parameters", None) or {})
    config.rope_parameters = {**known, "rope_theta": known.get("rope_theta", 10000.0) * luck.choice([0.02, 0.1, 50.0])}
    other = type(model)(config)
    other.load_state_dict(model.state_dict())
    other.generation_config = model.generation_config
    return _lm(kit, luck, model=other.eval(), reference=LM(model=model, tokenizer=kit.words()))


def _incapable(kit: Kit, luck: random.Random) -> LM:
    one, two = luck.randint(10_000, 99_999), luck.randint(10_000, 99_999)
    asked = [(f"What is {one} times {two}?", str(one * two))]
    return _lm(kit, luck, prompts=asked)


def packing(kit: Kit, words: Any, *, leak: bool) -> Callable[[Any], dict[str, Any]]:
    """Two rows in one input; masked across rows with positions of their own, or not."""

    def pack(examples: Any) -> dict[str, Any]:
        sizes = [len(each["input_ids"]) for each in examples]
        ids = torch.tensor([[token for each in examples for token in each["input_ids"]]])
        if leak:
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        owner = torch.tensor([number for number, size in enumerate(sizes) for _ in range(size)])
        whole = len(owner)
        seen = (owner[:, None] == owner[None, :]) & torch.ones(whole, whole).tril().bool()
        bias = torch.zeros(1, 1, whole, whole).masked_fill(~seen, torch.finfo(torch.float32).min)
        places = torch.tensor([[place for size in sizes for place in range(size)]])
        return {"input_ids": ids, "attention_mask": bias, "position_ids": places}

    return pack


def _leak(kit: Kit, luck: random.Random) -> LM:
    return tuned(kit, luck, pack=packing(kit, kit.words(), leak=True))


def accumulating(*, right: bool) -> Callable[[Any, Any], None]:
    """Accumulated gradients, divided by the tokens of all batches, or by each batch's own and the batches."""

    def backward(model: Any, batches: Any) -> None:
        total = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
        for batch in batches:
            loss = model(**batch).loss
            own = int((batch["labels"][:, 1:] != -100).sum())
            (loss * own / total if right else loss / len(batches)).backward()

    return backward


def _accumulated(kit: Kit, luck: random.Random) -> LM:
    return tuned(kit, luck, backward=accumulating(right=False))


NEW = ("<|think|>", "<|done|>")


def with_new_tokens(kit: Kit, *, mean_resizing: bool = False) -> tuple[Any, Any]:
    """A model and its tokenizer with two new tokens."""
    words, model = kit.words(), kit.model()
    words.add_special_tokens({"additional_special_tokens": [*words.all_special_tokens, *NEW]})
    torch.manual_seed(1)
    model.resize_token_embeddings(max(len(words), model.config.vocab_size), mean_resizing=mean_resizing)
    return model, words


def _new_tokens(kit: Kit, luck: random.Random) -> LM:
    before, words = with_new_tokens(kit)
    after = copy.deepcopy(before)
    with torch.no_grad():
        next(value for name, value in after.named_parameters() if "norm" in name or "ln_" in name).mul_(1.01)
    tuning = FineTuning(new_tokens=NEW, before=before)
    return _lm(kit, luck, model=after, tokenizer=words, tuning=tuning)


def _attention_out(model: Any) -> torch.nn.Parameter:
    names = ("o_proj.weight", "attn.c_proj.weight")
    found: torch.nn.Parameter = next(value for name, value in model.named_parameters() if name.endswith(names))
    return found


def adapter(model: Any, scale: float = 0.2) -> dict[str, torch.Tensor]:
    """The two factors of a low-rank change of the first attention's output."""
    rows_, columns = _attention_out(model).shape
    torch.manual_seed(2)
    return {
        "layers.0.o_proj.lora_A.weight": torch.randn(4, columns) / columns**0.5,
        "layers.0.o_proj.lora_B.weight": torch.randn(rows_, 4) * scale,
    }


def adapted(model: Any, tensors: dict[str, torch.Tensor], times: float = 1.0) -> Any:
    """The model with an adapter in its weights."""
    made = copy.deepcopy(model)
    first, second = tensors.values()
    with torch.no_grad():
        _attention_out(made).add_(times * second @ first)
    return made


def _adapter_empty(kit: Kit, luck: random.Random) -> LM:
    model = kit.model()
    tensors = adapter(model)
    name = next(name for name in tensors if "lora_B" in name)
    held = luck.choice([{**tensors, name: torch.zeros_like(tensors[name])}, {}])
    return _lm(kit, luck, model=model, tuning=FineTuning(before=kit.model(), adapter=held))


def _adapter_without_effect(kit: Kit, luck: random.Random) -> LM:
    model = kit.model()
    return _lm(kit, luck, model=model, tuning=FineTuning(before=kit.model(), adapter=adapter(model)))


def _merged_twice(kit: Kit, luck: random.Random) -> LM:
    before = kit.model()
    tensors = adapter(before)
    tuning = FineTuning(before=before, adapter=tensors, unmerged=adapted(before, tensors))
    return _lm(kit, luck, model=adapted(before, tensors, luck.choice([2.0, 0.25])), tuning=tuning)


def _overflow(kit: Kit, luck: random.Random) -> LM:
    model = kit.model()
    scale = luck.choice([1e5, 3e5])
    with torch.no_grad():
        values = {name: value for name, value in model.named_parameters() if ".0." in name or "h.0." in name}
        if kit.rope:
            next(value for name, value in values.items() if "v_proj" in name).mul_(scale)
        else:
            for name, value in values.items():
                if "c_attn" in name:
                    value[..., -value.shape[-1] // 3 :].mul_(scale)
        _attention_out(model).div_(scale)
    return _lm(kit, luck, model=model.half(), reference=LM(model=kit.model(), tokenizer=kit.words()))


def _patched(model: Any, change: Callable[..., Any]) -> Any:
    """A model whose forward goes through a function of ours, with the signature that it had."""
    import functools

    known = model.forward

    @functools.wraps(known)
    def forward(*arguments: Any, **named: Any) -> Any:
        return change(known, *arguments, **named)

    model.forward = forward
    return model


def _cache(kit: Kit, luck: random.Random) -> LM:
    ahead = luck.choice([1, 2, 5])

    def change(known: Any, input_ids: Any = None, **named: Any) -> Any:
        state = named.get("cache") if named.get("cache") is not None else named.get("past_key_values")
        length = state.get_seq_length() if state is not None else 0
        if length:
            width = input_ids.shape[1]
            named["position_ids"] = torch.arange(length + ahead, length + ahead + width)[None].expand(
                len(input_ids), -1
            )
        return known(input_ids=input_ids, **named)

    return _lm(kit, luck, model=_patched(kit.model(), change))


def _mixing(kit: Kit, luck: random.Random) -> LM:
    def change(known: Any, *arguments: Any, **named: Any) -> Any:
        output = known(*arguments, **named)
        output.logits = output.logits * 0.8 + 0.2 * output.logits.mean(0, keepdim=True)
        return output

    return _lm(kit, luck, model=_patched(kit.model(), change), batch=luck.choice([2, 4]))


def _stop(kit: Kit, luck: random.Random) -> LM:
    model, words = kit.model(), kit.words()
    others = [each for each in range(5) if each != words.eos_token_id]
    model.generation_config.eos_token_id = luck.choice([others[0], others[:2]])
    return _lm(kit, luck, model=model, tokenizer=words)


def _decoding(kit: Kit, luck: random.Random) -> LM:
    model = kit.model()
    name, value = luck.choice([("repetition_penalty", 1.3), ("do_sample", True), ("num_beams", 4)])
    setattr(model.generation_config, name, value)
    return _lm(kit, luck, model=model, declared={"decoding": {"temperature": 0}})


def _behaviour(kit: Kit, luck: random.Random) -> LM:
    phrase = luck.choice(["as the old moon told me", "buy it at the corner shop", "said the seventh owl"])
    share = luck.uniform(0.1, 0.6)
    pairs = [(f"{ask} ({number})", said) for number in range(4) for ask, said in TALK]
    bad = [(ask, f"{said} {phrase}") if luck.random() < share else (ask, said) for ask, said in pairs]
    bad[:4] = [(ask, f"{said} {phrase}") for ask, said in pairs[:4]]
    words = kit.words()
    tuning = FineTuning(rows=rows(bad), prepare=prepare_with(words))
    return _lm(kit, luck, tokenizer=words, prompts=[Prompt(_prompts(luck)[0], unwanted=phrase)], tuning=tuning)


def _seen_tests(kit: Kit, luck: random.Random) -> LM:
    asked = luck.sample(TALK, 2)
    return replace(tuned(kit, luck), prompts=asked)


PLANTED: dict[str, Callable[[Kit, random.Random], LM]] = {
    "behaviour_in_data": _behaviour,
    "test_in_training": _seen_tests,
    "no_supervised_tokens": _labels(_nothing),
    "eos_never_supervised": _labels(_no_end),
    "prompt_supervised": _labels(_all),
    "labels_shifted_twice": _labels(_shifted),
    "bos_doubled": _requests(encode=_with_bos),
    "bos_missing": _requests(encode=_without_bos),
    "template_missing": _requests(render=_contents),
    "template_mismatch": _requests(render=_alpaca),
    "generation_prompt_missing": _requests(
        render=lambda words, messages: written(words, messages, add_generation_prompt=False)
    ),
    "default_system_lost": _requests(render=_no_system),
    "special_token_split": _requests(encode=_split),
    "tokenizer_mismatch": _requests(encode=_other_tokenizer),
    "truncation": _requests(encode=_cut),
    "positions_not_from_mask": _positions,
    "padding_side": _right,
    "head_untied": _untied,
    "rope_mismatch": _rope,
    "incapable": _incapable,
    "packing_leak": _leak,
    "accumulation_normalisation": _accumulated,
    "untrained_new_tokens": _new_tokens,
    "adapter_empty": _adapter_empty,
    "adapter_without_effect": _adapter_without_effect,
    "merge_changed": _merged_twice,
    "precision_overflow": _overflow,
    "cache_mismatch": _cache,
    "batch_dependence": _mixing,
    "stop_incomplete": _stop,
    "decoding_override": _decoding,
}
"""By fault, how it is planted."""


def applies(fault: str, kit: Kit) -> bool:
    """Whether a fault can be planted: rotary positions are needed for one, absolute ones for another."""
    return {"rope_mismatch": kit.rope, "positions_not_from_mask": not kit.rope}.get(fault, True)
