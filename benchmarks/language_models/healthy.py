"""Healthy set-ups of a language model that look like faults: `HEALTHY[name](kit, luck)` gives the declaration."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from own_model import TALK, rows
from planted import NEW, Kit, accumulating, adapted, adapter, packing, prepare_with, tuned, with_new_tokens, written

from firstfault import LM, FineTuning


def _lm(kit: Kit, luck: random.Random, **parts: Any) -> LM:
    asked = luck.sample([ask for ask, _ in TALK], 2)
    return LM(**{"model": kit.model(), "tokenizer": kit.words(), "prompts": asked, **parts})


def _reference(kit: Kit) -> LM:
    return LM(model=kit.model(), tokenizer=kit.words())


def _plain(kit: Kit, luck: random.Random) -> LM:
    return _lm(kit, luck)


def _same(kit: Kit, luck: random.Random) -> LM:
    return _lm(kit, luck, reference=_reference(kit))


def _bfloat16(kit: Kit, luck: random.Random) -> LM:
    declared = {"precision": "bfloat16"} if luck.random() < 0.5 else {}
    return _lm(kit, luck, model=kit.model().bfloat16(), reference=_reference(kit), declared=declared)


def rounded(model: Any, bits: int = 8) -> Any:
    """A model whose matrices are rounded to whole steps of a scale per row."""
    steps = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 2:
                scale = value.abs().amax(1, keepdim=True).clamp_min(1e-12) / steps
                value.copy_((value / scale).round() * scale)
    return model


def _int8(kit: Kit, luck: random.Random) -> LM:
    model = rounded(kit.model())
    return _lm(kit, luck, model=model, reference=_reference(kit), declared={"precision": "int8"})


def _batches(kit: Kit, luck: random.Random) -> LM:
    return _lm(kit, luck, batch=luck.choice([2, 3, 5, 8]))


def _kernel(kit: Kit, luck: random.Random) -> LM:
    model = kit.model()
    model.set_attn_implementation("sdpa" if model.config._attn_implementation == "eager" else "eager")
    return _lm(kit, luck, model=model, reference=_reference(kit), batch=3)


def _left(kit: Kit, luck: random.Random) -> LM:
    """Padding on the left; under rotary positions without any of its own."""
    words = kit.words()

    def collate(sequences: Any) -> dict[str, Any]:
        width, pad = max(map(len, sequences)), words.pad_token_id
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in sequences])
        made = {
            "input_ids": torch.tensor([[pad] * (width - len(ids)) + ids for ids in sequences]),
            "attention_mask": mask,
        }
        return made if kit.rope else {**made, "position_ids": (mask.cumsum(-1) - 1).clamp_min(0)}

    return _lm(kit, luck, tokenizer=words, collate=collate)


def _tie(kit: Kit, luck: random.Random) -> LM:
    """Two tokens that are exactly as likely as each other: greedy text may take either."""
    model = kit.model()
    words = kit.words()
    ids = words(written(words, [{"role": "user", "content": TALK[0][0]}]), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        best, other = model(torch.tensor([ids])).logits[0, -1].topk(2).indices.tolist()
        weight = model.get_input_embeddings().weight
        weight[other] = weight[best]
    twin = copy.deepcopy(model)
    return _lm(kit, luck, model=model, tokenizer=words, prompts=[TALK[0][0]], reference=LM(model=twin, tokenizer=words))


def _own_code(kit: Kit, luck: random.Random) -> LM:
    """Text and ids by functions of one's own, which come to the same."""
    words = kit.words()

    def render(messages: Any) -> str:
        text = written(words, messages)
        return text.removeprefix(words.bos_token) if words.bos_token != "<|im_start|>" else text

    def encode(text: str) -> Any:
        ids = words(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([ids if words.bos_token == "<|im_start|>" else [words.bos_token_id, *ids]])

    return _lm(kit, luck, tokenizer=words, render=render, encode=encode)


def _greedy(kit: Kit, luck: random.Random) -> LM:
    """Settings of drawing that are left over in the file, where answers are decoded greedily."""
    model = kit.model()
    model.generation_config.top_p = luck.choice([0.9, 0.95])
    declared = {"decoding": {"do_sample": False, "max_new_tokens": 32}, "stop": [kit.words().eos_token]}
    return _lm(kit, luck, model=model, decoding={"do_sample": False, "max_new_tokens": 32}, declared=declared)


def _drawn(kit: Kit, luck: random.Random) -> LM:
    how = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
    model = kit.model()
    for name in ("top_k", "top_p", "temperature"):
        setattr(model.generation_config, name, None)
    return _lm(kit, luck, model=model, decoding=how, declared={"decoding": how})


def _tuned(kit: Kit, luck: random.Random) -> LM:
    """Rows in packs that are masked, and gradients by the tokens of all batches."""
    return tuned(kit, luck, pack=packing(kit, kit.words(), leak=False), backward=accumulating(right=True))


def _rows_with_tails(kit: Kit, luck: random.Random) -> LM:
    """Rows that are padded to one length behind their end."""
    words = kit.words()
    plain = prepare_with(words)

    def prepare(row: Any) -> dict[str, list[int]]:
        made = plain(row)
        more = 96 - len(made["input_ids"])
        return {"input_ids": made["input_ids"] + [words.pad_token_id] * more, "labels": made["labels"] + [-100] * more}

    return tuned(kit, luck, prepare=prepare)


def _loss_of_ones_own(kit: Kit, luck: random.Random) -> LM:
    """Rows that are shifted already, with a loss that shifts nothing."""
    words = kit.words()
    plain = prepare_with(words)

    def prepare(row: Any) -> dict[str, list[int]]:
        made = plain(row)
        return {**made, "labels": [*made["labels"][1:], -100]}

    def loss(model: Any, batch: Any) -> torch.Tensor:
        logits = model(input_ids=batch["input_ids"]).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())

    return tuned(kit, luck, prepare=prepare, loss=loss)


def _new_tokens(kit: Kit, luck: random.Random) -> LM:
    before, words = with_new_tokens(kit)
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.get_input_embeddings().weight.mul_(1.001)
    return _lm(kit, luck, model=after, tokenizer=words, tuning=FineTuning(new_tokens=NEW, before=before))


def _adapter(kit: Kit, luck: random.Random) -> LM:
    before = kit.model()
    tensors = adapter(before)
    made = adapted(before, tensors)
    return _lm(kit, luck, model=made, tuning=FineTuning(before=before, adapter=tensors, unmerged=copy.deepcopy(made)))


def _right_answers(kit: Kit, luck: random.Random) -> LM:
    """Prompts without a fault in their way, and answers that are right."""
    found = _lm(kit, luck, reference=_reference(kit))
    model, words = found.model, kit.words()
    text = written(words, [{"role": "user", "content": TALK[1][0]}])
    ids = torch.tensor([words(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        said = words.decode([int(model(ids).logits[0, -1].argmax())])
    return replace(found, prompts=[(TALK[1][0], said)] if said.strip() else [TALK[1][0]])


def _other_rows(kit: Kit, luck: random.Random) -> LM:
    """Rows and tests that have words in common, and no more."""
    return replace(tuned(kit, luck, rows=rows(TALK[:5])), prompts=[TALK[6][0], TALK[7][0]])


INSTRUCTIONS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
ALTERNATING = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' or (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate, and a system is not known') }}{% endif %}"
    "<|im_start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)


def _template(template: str | None) -> Callable[[Kit, random.Random], LM]:
    """Another template of the tokenizer's own, or none, so that prompts are texts."""

    def made(kit: Kit, luck: random.Random) -> LM:
        words = kit.words()
        words.chat_template = template
        return _lm(kit, luck, tokenizer=words)

    return made


def _float16(kit: Kit, luck: random.Random) -> LM:
    return _lm(kit, luck, model=kit.model().half(), reference=_reference(kit), declared={"precision": "float16"})


def _window(kit: Kit, luck: random.Random) -> LM:
    """The same weights under a mask that sees the last tokens alone; absolute positions know none, and stay."""
    from transformers import MistralConfig, MistralForCausalLM

    model = kit.model()
    if not kit.rope:
        return _lm(kit, luck, model=model)
    settings = {name: value for name, value in model.config.to_dict().items() if name not in ("model_type", "dtype")}
    twin = [MistralForCausalLM(MistralConfig(**{**settings, "sliding_window": 16})) for _ in range(2)]
    for each in twin:
        each.load_state_dict(model.state_dict())
    return _lm(kit, luck, model=twin[0].eval(), reference=LM(model=twin[1].eval(), tokenizer=kit.words()))


def _untied(kit: Kit, luck: random.Random) -> LM:
    """A head of its own, as the settings say, that was trained away from the embedding."""
    model = kit.model()
    model.config.tie_word_embeddings = False
    head = model.get_output_embeddings()
    torch.manual_seed(luck.randrange(1000))
    head.weight = torch.nn.Parameter(head.weight.detach() + 0.02 * torch.randn_like(head.weight))
    return _lm(kit, luck, model=model, reference=LM(model=copy.deepcopy(model), tokenizer=kit.words()))


def _resized(kit: Kit, luck: random.Random) -> LM:
    """More rows of the embedding than tokens: a vocabulary that is filled up to a multiple."""
    model, words = kit.model(), kit.words()
    words.add_tokens(["<|more|>", "<|other|>"])
    model.resize_token_embeddings(len(words), pad_to_multiple_of=64, mean_resizing=False)
    return _lm(kit, luck, model=model, tokenizer=words)


def _several_stops(kit: Kit, luck: random.Random) -> LM:
    model, words = kit.model(), kit.words()
    others = [each for each in words.all_special_ids if each != words.eos_token_id]
    model.generation_config.eos_token_id = [words.eos_token_id, luck.choice(others)]
    return _lm(kit, luck, model=model, tokenizer=words)


def _train_mode(kit: Kit, luck: random.Random) -> LM:
    """Left in train mode, and without anything that draws."""
    return _lm(kit, luck, model=kit.model().train())


def _messages(kit: Kit, luck: random.Random) -> LM:
    """Talks of several turns, with a system's message of one's own."""
    (ask, said), (then, _) = luck.sample(TALK, 2)
    talk = [{"role": "system", "content": "Answer in a word."}, {"role": "user", "content": ask}]
    talk += [{"role": "assistant", "content": said}, {"role": "user", "content": then}]
    return _lm(kit, luck, prompts=[talk])


def _whole_texts(kit: Kit, luck: random.Random) -> LM:
    """A training on all tokens of plain texts, which have no prompts."""
    words = kit.words()

    def prepare(row: Any) -> dict[str, list[int]]:
        ids = [*words(row, add_special_tokens=False)["input_ids"], words.eos_token_id]
        return {"input_ids": ids, "labels": list(ids)}

    texts = [f"{ask} {said}" for ask, said in TALK[:5]]
    return replace(tuned(kit, luck, rows=texts, prepare=prepare), prompts=[TALK[6][0], TALK[7][0]])


HEALTHY: dict[str, Callable[[Kit, random.Random], LM]] = {
    "plain": _plain,
    "same reference": _same,
    "bfloat16": _bfloat16,
    "int8 as declared": _int8,
    "batches": _batches,
    "another kernel": _kernel,
    "padding on the left": _left,
    "an exact tie": _tie,
    "own code": _own_code,
    "greedy with leftovers": _greedy,
    "drawn as declared": _drawn,
    "tuned": _tuned,
    "padded rows": _rows_with_tails,
    "own loss": _loss_of_ones_own,
    "new tokens": _new_tokens,
    "adapter": _adapter,
    "right answers": _right_answers,
    "other rows": _other_rows,
    "float16 as declared": _float16,
    "instructions' template": _template(INSTRUCTIONS),
    "alternating template": _template(ALTERNATING),
    "no template": _template(None),
    "sliding window": _window,
    "untied head": _untied,
    "resized vocabulary": _resized,
    "several stops": _several_stops,
    "train mode without dropout": _train_mode,
    "talks": _messages,
    "whole texts": _whole_texts,
}
"""By name, how it is set up."""
