"""What the losses of torch are given."""

import pytest
import torch

from firstfault.training.losses import are_distributions

ROWS = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_shares_are_known_up_to_the_rounding_of_their_kind(dtype):
    """A softmax is one in every precision; raw numbers, and shares that are 1 % too large, never are."""
    shares = ROWS.softmax(1).to(dtype)
    assert are_distributions(shares)
    assert are_distributions(shares.float(), dtype)
    assert not are_distributions(ROWS.to(dtype))
    assert not are_distributions(1.01 * ROWS.softmax(1).float(), dtype)
