"""Bets and their evidence, against what they are defined to be."""

import numpy as np
import pytest
from scipy.special import ndtr

from firstfault.monitor.detect.bets import coin_bets, mean_bets, rank_bets
from firstfault.monitor.detect.ledger import BLOCK, Ledger, blocks_of
from firstfault.monitor.detect.monitor import ranks_in


@pytest.mark.parametrize("sides", ["both", "up"])
@pytest.mark.parametrize("size", [200, 2_000])
def test_no_bet_on_ranks_gains_while_all_is_as_usual(size, sides):
    """The expectation of each factor is 1 at most, also where values are off by what is too small to matter."""
    bets = rank_bets(size, 0.1, sides)
    z = np.linspace(-6, 6, 60_001)
    for shift in (-0.1, 0.0, 0.1):
        density = np.exp(-((z - shift) ** 2) / 2)
        expected = density / density.sum() @ np.exp(bets.of(ndtr(z)))
        assert expected.max() <= 1.0 + 1e-3


def test_no_bet_on_a_rate_gains_while_it_is_as_usual():
    """The expectation of each factor is 1 at the usual rate, also where of the rest a share is seen."""
    bets = coin_bets(100, 1_000)
    for share in (1.0, 0.05):
        seen = bets.usual / (bets.usual + (1 - bets.usual) * share)
        heads, tails = np.exp(bets.of(np.array([1.0, 0.0]), share))
        assert seen * heads + (1 - seen) * tails == pytest.approx(np.ones(bets.count))


def test_no_bet_on_a_mean_gains_while_it_is_as_usual():
    """The expectation of each factor is below 1 on the reference's own values."""
    values = np.random.default_rng(0).beta(8, 2, 5_000)
    bets = mean_bets(values, 0.02)
    assert np.exp(bets.of(values)).mean(0).max() < 1.0


def test_ranks_of_the_reference_itself_are_uniform():
    """Ties are broken by lot, so that the ranks of a value with few levels are uniform too."""
    rng = np.random.default_rng(0)
    reference = np.sort(rng.integers(0, 4, 4_000).astype(float))
    ranks = ranks_in(reference, rng.integers(0, 4, 4_000).astype(float), rng.random(4_000))
    assert np.abs(np.sort(ranks) - np.linspace(0, 1, 4_000)).max() < 0.03


def test_the_evidence_is_that_of_a_bet_begun_at_any_block():
    """The recursion gives the sum over all beginnings of the product since, as it is defined."""
    log = np.random.default_rng(0).normal(-0.1, 0.3, (10 * BLOCK, 1))
    ledger = Ledger(np.ones(1), np.zeros(1))
    for block in blocks_of(log, np.arange(len(log), dtype=float)):
        ledger.add(block)
    slow = sum(BLOCK * np.exp(log[start:].sum()) for start in range(0, len(log), BLOCK))
    assert ledger.evidence() == pytest.approx(slow)


def test_a_bet_that_says_nothing_gathers_no_evidence():
    """Requests of which a monitor knows nothing add nothing, however many come."""
    ledger = Ledger(np.ones(1), np.zeros(1))
    for block in blocks_of(np.full((1_000 * BLOCK, 1), np.nan), np.zeros(1_000 * BLOCK)):
        ledger.add(block)
    assert ledger.evidence() == 0.0
