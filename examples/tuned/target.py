"""The tuned model under debugging: its checkpoint, the rows it was tuned on, and prompts that fail."""

import functools
from pathlib import Path

from firstfault import LM, FineTuning, Target

FOLDER = Path(__file__).parent / "checkpoint"


@functools.cache
def tokenizer():
    """The checkpoint's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


def prepared(row):
    """A row as the training saw it."""
    from rows import prepare

    return prepare(row, tokenizer())


def conversations():
    """The rows of the training."""
    from rows import rows

    return rows()


target = Target(
    name="tuned",
    task="language_model",
    lm=LM(
        model=FOLDER, prompts=["Name the capital of France."], tuning=FineTuning(rows=conversations, prepare=prepared)
    ),
)
