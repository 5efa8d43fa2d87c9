"""The e-processes: against integrals and enumerations, and how often they err."""

from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom, dirichlet_multinomial, multinomial

from firstfault.monitor.rollout.blocks import PRIOR, log_e_of_blocks
from firstfault.monitor.rollout.evidence import Side, coin, first_passing, rate_below, share_at
from firstfault.monitor.rollout.shares import log_e_of_shares
from firstfault.monitor.rollout.tosses import FIRST, beyond, thresholds

COINS = [(0.1, Side.ABOVE, 1.0), (0.5, Side.BELOW, 1.0), (0.3, Side.BELOW, 1.25), (0.5, Side.ABOVE, 2.0)]


@pytest.mark.parametrize(("share", "side", "ratio"), COINS)
def test_a_coins_evidence_is_the_integral_of_its_mixture(share, side, ratio):
    """The closed form equals the integral over the cut Beta, computed by quadrature."""
    test = coin(share, side, ratio)
    low, high = (test.null, 1) if side is Side.ABOVE else (0, test.null)
    parts = [(part, beta(a, b)) for part, a, b in test.bets]
    masses = [mixture.cdf(high) - mixture.cdf(low) for _, mixture in parts]
    for heads, tosses in ((0, 4), (3, 7), (20, 30)):

        def bet(p, heads=heads, tosses=tosses):
            won = (p / test.null) ** heads * ((1 - p) / (1 - test.null)) ** (tosses - heads)
            density = sum(part * each.pdf(p) / mass for (part, each), mass in zip(parts, masses, strict=True))
            return won * density

        expected = quad(bet, low, high, epsabs=0, limit=200)[0]
        assert np.exp(test.log_e(np.array([heads]), np.array([tosses])))[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("share", "side", "ratio"), COINS)
def test_a_coins_evidence_is_a_test_martingale(share, side, ratio):
    """Its expectation is 1 at the null, and at most 1 beyond it, summed over every outcome of twelve coins."""
    test = coin(share, side, ratio)
    heads = np.arange(13)
    won = np.exp(test.log_e(heads, np.full(13, 12)))
    assert binom.pmf(heads, 12, test.null) @ won == pytest.approx(1.0)
    beyond_it = test.null * (0.7 if side is Side.ABOVE else 1.2)
    assert binom.pmf(heads, 12, beyond_it) @ won < 1.0


def test_the_evidence_for_a_negligible_rate_is_a_test_martingale():
    """Its expectation is 1 at that rate, and less above it; without a bad event it passes in the end."""
    heads, test = np.arange(201), rate_below(0.05)
    won = np.exp(test.log_e(heads, np.full(201, 200)))
    assert binom.pmf(heads, 200, 0.05) @ won == pytest.approx(1.0)
    assert binom.pmf(heads, 200, 0.08) @ won < 1.0
    assert test.log_e(np.array([0]), np.array([200]))[0] > np.log(200)


def test_a_fair_coin_rarely_passes_however_often_it_is_looked_at():
    """Of 400 runs of equal arms with a look at each of 200 bad events, few pass 1/0.05, though 5 % may."""
    rng = np.random.default_rng(0)
    test, count = coin(0.1, Side.ABOVE), np.arange(1, 201)
    passed = [first_passing(test.log_e(np.cumsum(rng.random(200) < 0.1), count), 0.05) is not None for _ in range(400)]
    assert 0 < np.mean(passed) <= 0.05


@pytest.mark.parametrize(("ratio", "share"), [(2.0, 0.5), (10.0, 0.5), (10.0, 0.1)])
def test_a_worse_challenger_is_found_about_as_soon_as_by_a_test_that_knew(ratio, share):
    """At twice and at ten times the rate, in fewer than 1.3 times the bad events that a fixed test needs."""
    rng = np.random.default_rng(1)
    test, count, truth = coin(share, Side.ABOVE), np.arange(1, 501), share_at(ratio, share)
    ends = [first_passing(test.log_e(np.cumsum(rng.random(500) < truth), count), 0.01) for _ in range(200)]
    sizes = np.arange(5, 300)
    fixed = sizes[(binom.sf(binom.isf(0.01, sizes, share), sizes, truth) >= 0.8).argmax()]
    assert None not in ends and np.mean(ends) + 1 <= 1.3 * fixed


@pytest.mark.parametrize("planned", [[0.9, 0.1], [0.5, 0.3, 0.2]])
def test_the_evidence_on_shares_is_a_bayes_factor(planned):
    """It is the Dirichlet-multinomial's probability over the planned one's, and its expectation is 1."""
    arms, n = len(planned), 6
    counts = np.array([c for c in product(range(n + 1), repeat=arms) if sum(c) == n])
    ours = np.exp(log_e_of_shares(counts, planned, 20.0))
    chances = multinomial.pmf(counts, n, planned)
    expected = dirichlet_multinomial.pmf(counts, 20.0 * np.array(planned), n) / chances
    assert ours == pytest.approx(expected)
    assert ours @ chances == pytest.approx(1.0)


def test_a_share_that_is_not_as_planned_is_found():
    """A tenth planned, an eighth given: found; a tenth given: not."""
    rng = np.random.default_rng(2)

    def passes(share):
        ours = np.cumsum(rng.random(20_000) < share)
        counts = np.stack([np.arange(1, 20_001) - ours, ours], axis=1)
        return first_passing(log_e_of_shares(counts, [0.9, 0.1]), 0.01)

    assert passes(0.125) is not None and passes(0.1) is None


@pytest.mark.parametrize("planned", [[1.0, 0.0], [0.6, 0.6]])
def test_shares_that_are_none_are_refused(planned):
    """They have to be above 0 and sum to 1."""
    with pytest.raises(ValueError, match="must be above 0 and sum to 1"):
        log_e_of_shares(np.array([[1, 1]]), planned)


@pytest.mark.parametrize("side", [*Side])
@pytest.mark.parametrize(("ours", "theirs"), [(0.3, 0.3), (0.05, 0.05), (0.4, 0.1)])
def test_the_evidence_of_blocks_has_an_expectation_of_at_most_one(side, ours, theirs):
    """Summed over every outcome of three blocks, under equal rates and under those on the null's side."""
    if side is Side.BELOW:
        ours, theirs = theirs, ours
    na, nb = 2, 1
    total = 0.0
    for a in product(range(na + 1), repeat=3):
        for b in product(range(nb + 1), repeat=3):
            chance = binom.pmf(a, na, ours).prod() * binom.pmf(b, nb, theirs).prod()
            total += chance * np.exp(log_e_of_blocks(np.array(a), np.array(b), (na, nb), side)[-1])
    assert total <= 1.0 + 1e-12


def test_the_evidence_of_blocks_is_their_formula():
    """One block after another, as the paper writes it."""
    bad_a, bad_b, e = np.array([1, 0, 0]), np.array([1, 1, 1]), 1.0
    for block in range(3):
        a = (bad_a[:block].sum() + PRIOR) / (3 * block + 2 * PRIOR)
        b = (bad_b[:block].sum() + PRIOR) / (block + 2 * PRIOR)
        if b > a:
            pooled = (3 * a + b) / 4
            e *= binom.pmf(bad_a[block], 3, a) * binom.pmf(bad_b[block], 1, b)
            e /= binom.pmf(bad_a[block], 3, pooled) * binom.pmf(bad_b[block], 1, pooled)
    assert np.exp(log_e_of_blocks(bad_a, bad_b, (3, 1), Side.ABOVE)[-1]) == pytest.approx(e)


def test_a_threshold_knows_nothing_of_what_comes_later():
    """Other values later leave it as it was, and it is the quantile of what came before."""
    values = np.random.default_rng(3).normal(size=1_000)
    other = np.concatenate([values[:500], np.full(500, 99.0)])
    assert np.array_equal(thresholds(values, 0.9)[:500], thresholds(other, 0.9)[:500], equal_nan=True)
    assert thresholds(values, 0.9)[FIRST] == np.quantile(values[:FIRST], 0.9)
    assert not beyond(values, 0.9, above=True)[:FIRST].any()
    assert np.mean(beyond(values, 0.9, above=True)) == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize(("share", "ratio"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0)])
def test_a_coin_that_is_none_is_refused(share, ratio):
    """It says what was expected and what came."""
    with pytest.raises(ValueError, match="must be"):
        coin(share, Side.ABOVE, ratio)
