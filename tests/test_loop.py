"""The batches of firstfault's own loop."""

import pytest
import torch

from firstfault.loop import loader
from firstfault.recipe import Tensors


@pytest.mark.parametrize(("rows", "batch", "shuffle", "sizes"), [
    (33, 16, True, [16, 16]), (34, 16, True, [16, 16, 2]), (33, 16, False, [16, 16, 1]), (1, 16, True, [1]), (3, 1, True, [1, 1, 1]),
])
def test_a_shuffled_pass_has_no_last_batch_of_one(rows, batch, shuffle, sizes):
    """Batch normalisation refuses a single sample; evaluation sees every row."""
    tensors = Tensors(torch.arange(rows)[:, None].float(), torch.arange(rows))
    assert [len(y) for _, y in loader(tensors, batch, shuffle, 0)] == sizes


def test_the_seed_fixes_the_order():
    """The same seed gives the same batches, another seed others."""
    tensors = Tensors(torch.arange(64)[:, None].float(), torch.arange(64))
    first, again, other = (torch.cat([y for _, y in loader(tensors, 8, True, seed)]) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
