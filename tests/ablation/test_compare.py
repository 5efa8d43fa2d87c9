"""Comparing two arms over paired seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from firstfault.ablation.compare import compare


def test_a_gain_of_every_seed_is_better():
    """Every seed gains far more than the noise between seeds."""
    assert compare([0.5, 0.52, 0.48], [0.9, 0.91, 0.92], "accuracy").better


def test_a_gain_within_the_seed_noise_is_not_better():
    """The mean gains less than one standard deviation of the unchanged arm."""
    assert not compare([0.5, 0.7, 0.9], [0.6, 0.8, 1.0], "accuracy").better


def test_a_tiny_but_sure_gain_is_not_better():
    """A significant gain below the smallest effect that matters is none."""
    result = compare([0.900, 0.901, 0.902], [0.905, 0.906, 0.908], "accuracy")
    assert result.p_value is not None and result.p_value < 0.05 and not result.better


def test_one_pair_is_no_judgement():
    """One seed gives a gain, but neither a p-value nor a judgement."""
    result = compare([0.1], [0.9], "accuracy")
    assert result.gain == pytest.approx(0.8) and result.p_value is None and not result.better


def test_the_p_value_is_that_of_a_paired_t_test():
    """It agrees with SciPy's test of related samples."""
    before, after = [0.5, 0.6, 0.55, 0.58], [0.7, 0.65, 0.8, 0.71]
    expected = stats.ttest_rel(after, before, alternative="greater").pvalue
    assert compare(before, after, "accuracy").p_value == pytest.approx(expected)


def test_an_error_metric_is_judged_relative_to_its_size():
    """3 % less error is noise, 30 % less is not, whatever the unit."""
    before = [-1000.0, -1002.0, -998.0]
    assert not compare(before, [-970.0, -972.0, -968.0], "mse").better
    assert compare(before, [-700.0, -702.0, -698.0], "mse").better


@pytest.mark.parametrize("after", [[], [0.5]])
def test_arms_of_different_length_are_refused(after):
    """Pairs need two scores."""
    with pytest.raises(ValueError, match="as many scores"):
        compare([0.5, 0.5], after, "accuracy")


def test_few_validation_rows_widen_the_band():
    """All seeds share one validation split: a gain that 64 rows may show by chance is sure on 6,400."""
    before, after = [0.50, 0.51, 0.49], [0.56, 0.57, 0.56]
    assert not compare(before, after, "accuracy", rows=64).better
    assert compare(before, after, "accuracy", rows=6400).better


def test_a_broken_arm_does_not_hide_its_repair_behind_its_own_spread():
    """Scores all over the place, and a repair above each of them: by chance that is 1 in 20.

    Two seeds are too few to tell, and one overlap undoes it.
    """
    assert compare([0.85, 0.1, -0.4], [0.97, 0.98, 0.98], "r2").better
    assert not compare([0.85, -0.4], [0.97, 0.98], "r2").better
    assert not compare([0.975, 0.1, -0.9], [0.97, 0.98, 0.98], "r2").better


@pytest.mark.parametrize("metric", ["accuracy", "mse", "r2"])
def test_what_is_better_has_a_p_value_of_at_most_a_twentieth(metric):
    """Over arms of all sizes, noises and gains: one decision, and one number that says the same."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1500):
        seeds = int(rng.integers(2, 6))
        before = -0.5 + rng.normal(0, 10 ** rng.uniform(-3, 0), seeds)
        after = before.mean() + 10 ** rng.uniform(-2, 0.5) + rng.normal(0, 10 ** rng.uniform(-3, 0), seeds)
        found.append(compare(list(before), list(after), metric, rows=int(rng.integers(16, 4096))))
    better = [result for result in found if result.better]
    assert 300 < len(better) < 1400 and all(result.p_value <= 0.05 for result in better)
    clear = [result for result in found if result.gain > result.noise and result.p_value <= 0.05]
    assert len(clear) == len(better)


def test_two_seeds_of_little_noise_are_sure():
    """Where neither arm differs by more than what matters least, a gain of many times that needs no third seed."""
    result = compare([0.50, 0.51], [0.90, 0.75], "accuracy")
    assert not result.better  # the second arm differs more than that
    sure = compare([0.50, 0.51], [0.90, 0.88], "accuracy")
    assert sure.better and sure.p_value < 0.05
