"""Tunes a language model of 2 million parameters on `rows.py`, and saves it to `checkpoint`: a CPU minute."""

from pathlib import Path

import torch
from rows import IGNORED, prepare, rows
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FOLDER = Path(__file__).parent / "checkpoint"
STEPS = 120
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer():
    """Bytes and their commonest pairs; the end of a turn is also the padding, as in many published models."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=raw.pre_tokenizer.alphabet(), show_progress=False
    )
    raw.train_from_iterator((turn["content"] for row in rows() for turn in row["messages"]), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>", additional_special_tokens=special[:1]
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(tokenizer):
    """A small Llama."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def batch_of(made):
    """Rows of unequal length as one batch, padded on the right."""
    width = max(len(each["input_ids"]) for each in made)
    lengths = [width - len(each["input_ids"]) for each in made]
    return {
        "input_ids": torch.tensor([each["input_ids"] + [0] * n for each, n in zip(made, lengths, strict=True)]),
        "labels": torch.tensor([each["labels"] + [IGNORED] * n for each, n in zip(made, lengths, strict=True)]),
        "attention_mask": torch.tensor([[1] * (width - n) + [0] * n for n in lengths]),
    }


def main():
    """Train, and save."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    batch = batch_of([prepare(row, tokenizer) for row in rows()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    model.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, loss {loss.item():.4f}, saved to {FOLDER.name}")  # noqa: T201


if __name__ == "__main__":
    main()
