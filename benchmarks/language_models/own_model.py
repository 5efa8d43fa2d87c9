"""A language model of a few thousand parameters with an own tokenizer, made in a second: what the tests examine."""

import copy
import functools

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TALK = [
    ("Why is the sky blue?", "Air scatters blue light."),
    ("Name a colour.", "Red."),
    ("What is two and two?", "Four."),
    ("Who wrote Faust?", "Goethe wrote it."),
    ("Say hello.", "Hello to you."),
    ("Where do fish live?", "Fish live in water, and some of them live in rivers."),
    ("What do bees make?", "Bees make honey."),
    ("How many legs has a cat?", "A cat has four legs."),
]
TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<s>", "<pad>", "<|im_start|>", "<|im_end|>"]


@functools.cache
def made_tokenizer():
    """Bytes and a few merges, with a template that writes the first token, and a call that adds it."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    texts = [text for pair in TALK for text in pair] + ["system user assistant You are kind."]
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    from tokenizers.processors import TemplateProcessing

    raw.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))])
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>"],
        padding_side="left",
    )
    made.chat_template = TEMPLATE
    return made


def tokenizer():
    """A tokenizer of one's own."""
    return copy.deepcopy(made_tokenizer())


def rows(pairs=TALK):
    """Conversations."""
    return [
        {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": said}]} for ask, said in pairs
    ]


def prepare(row, words=None):
    """Ids of a row, with the answer and its end as labels."""
    words = words or made_tokenizer()
    start = words(
        words.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True),
        add_special_tokens=False,
    )["input_ids"]
    whole = words(words.apply_chat_template(row["messages"], tokenize=False), add_special_tokens=False)["input_ids"]
    return {"input_ids": whole, "labels": [-100] * len(start) + whole[len(start) :]}


def _built(kind):
    size = len(made_tokenizer())
    words = made_tokenizer()
    shared = {
        "vocab_size": size,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "tie_word_embeddings": True,
    }
    if kind == "absolute":
        return GPT2LMHeadModel(
            GPT2Config(
                n_embd=64, n_layer=2, n_head=4, n_positions=256, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0, **shared
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            attn_implementation="eager",
            **shared,
        )
    )


@functools.cache
def trained(kind="rope", steps=60):
    """The model after a few steps on the conversations."""
    torch.manual_seed(0)
    model = _built(kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    made = [prepare(row) for row in rows()]
    width = max(len(each["input_ids"]) for each in made)
    ids = torch.tensor([each["input_ids"] + [1] * (width - len(each["input_ids"])) for each in made])
    labels = torch.tensor([each["labels"] + [-100] * (width - len(each["labels"])) for each in made])
    mask = torch.tensor([[1] * len(each["input_ids"]) + [0] * (width - len(each["input_ids"])) for each in made])
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


def model(kind="rope"):
    """A trained model of one's own."""
    return copy.deepcopy(trained(kind))
