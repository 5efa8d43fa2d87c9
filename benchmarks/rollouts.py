"""Rollouts: how often equal arms are rolled back, and how soon a worse one is, beside what others' rules do.

    python benchmarks/rollouts.py [--runs 2000]

Ours is looked at after every request. Equal arms are drawn with rates and latencies that follow the hour. The delay is
the mean number of requests until "worse", as a multiple of what the best fixed test that knew both rates would have
needed for a power of 80 %: the quicker of the exact binomial test on bad events, and the test by the z of two
proportions with the cut that makes it exact at the common rate (its normal approximation errs too often on few events).

Others, as their public documentation has them, over 24 hours with a tenth of the traffic for the canary:

Argo      the success rate of five minutes must be 95 %, `failureLimit: 3`: a fourth failure rolls back
Flagger   the success rate of a minute must be 95 % (its template's 99 % would always fail at 2 % errors), threshold 5
Kayenta   each hour, Mann-Whitney on the error rates of its minutes: a 98 % interval above a quarter of the shift
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from scipy.stats import binom, norm

from firstfault.monitor.rollout.comparison import Conclusion, compare
from firstfault.monitor.rollout.evidence import Side, coin, share_at
from firstfault.monitor.rollout.outcomes import Outcomes
from firstfault.monitor.rollout.plan import Plan

ALPHA, POWER, DELAY = 0.01, 0.8, 1.3
DELAY_RUNS, BLOCK = 2_000, 500
"""Of each effect: of 500, the worst ratio has a standard error of 0.02, and its 1.27 passes for 1.31 now and then."""
EFFECTS = (
    (0.1, 0.02, 0.04),
    (0.5, 0.02, 0.04),
    (0.1, 0.02, 0.03),
    (0.5, 0.02, 0.03),
    (0.5, 0.05, 0.07),
    (0.1, 0.02, 0.06),
    (0.5, 0.02, 0.025),
    (0.1, 0.01, 0.05),
    (0.1, 0.01, 0.1),
    (0.5, 0.01, 0.1),
)
"""The challenger's share, the champion's rate of bad events, and the challenger's."""
MINUTES, SHARE = 24 * 60, 0.1
Array = np.ndarray


def equal_arms(rng: np.random.Generator, n: int) -> tuple[Outcomes, Outcomes]:
    """Requests of two arms that are the same, by an hour that moves errors and latencies."""
    at = np.sort(rng.uniform(0, 86_400, n))
    hour = 1 + 0.8 * np.sin(2 * np.pi * at / 86_400)
    bad = (rng.random(n) < 0.03 * hour).astype(float)
    seconds, score = rng.lognormal(-3, 0.5, n) * hour, rng.normal(size=n) - hour
    theirs = rng.random(n) < SHARE
    ids = np.arange(n).astype(str).astype(object)
    return tuple(  # type: ignore[return-value]
        Outcomes(tuple(ids[side]), at[side], bad[side], seconds[side], score[side]) for side in (~theirs, theirs)
    )


def false_alarms(rng: np.random.Generator, runs: int, n: int) -> dict[str, float]:
    """How often each false conclusion is drawn of equal arms, with three measures and a look at every request."""
    plan = Plan(share=SHARE, alpha=ALPHA)
    ends = [compare(*equal_arms(rng, n), plan) for _ in range(runs)]
    return {
        "worse": sum(end.conclusion is Conclusion.WORSE for end in ends) / runs,
        "better": sum(end.conclusion is Conclusion.BETTER for end in ends) / runs,
        "shares": sum("shares are not" in end.why for end in ends) / runs,
    }


def first_alarm(heads: Array, null: float) -> Array:
    """After how many bad events `(runs,)` "worse" is concluded, of coins `(runs, n)`; n + 1 where it is not."""
    runs, n = heads.shape
    test, count, found = coin(null, Side.ABOVE), np.arange(1, n + 1), np.full(runs, n + 1)
    for place, row in enumerate(heads):
        passed = test.log_e(np.cumsum(row), count) >= -np.log(ALPHA)
        if passed.any():
            found[place] = passed.argmax() + 1
    return found


def best_fixed(share: float, ours: float, theirs: float) -> float:
    """The requests that the best fixed test needs which knows both rates, and errs as seldom as it says."""
    null, truth = share, share_at(theirs / ours, share)
    bad = (1 - share) * ours + share * theirs
    counts = np.arange(5, 3_000)
    enough = binom.sf(binom.isf(ALPHA, counts, null), counts, truth) >= POWER
    exact = counts[enough.argmax()] / bad if enough.any() else np.inf
    spread = norm.isf(ALPHA) * np.sqrt(bad * (1 - bad) * (1 / share + 1 / (1 - share)))
    spread += norm.ppf(POWER) * np.sqrt(ours * (1 - ours) / (1 - share) + theirs * (1 - theirs) / share)
    n = 0.8 * (spread / (theirs - ours)) ** 2  # as many as the normal approximation says, and fewer
    while n < exact and two_proportions(round(n), share, ours, theirs) < POWER:
        n *= 1.01
    return float(min(exact, n))


def two_proportions(n: int, share: float, ours: float, theirs: float) -> float:
    """The power of the test by the z of two proportions, cut where it errs with ALPHA at the common rate, exactly."""
    sizes = n - round(n * share), round(n * share)
    bad = (1 - share) * ours + share * theirs
    seen = [np.arange(int(binom.isf(1e-9, size, max(theirs, bad))) + 1) for size in sizes]
    a, b = np.meshgrid(*seen, indexing="ij")
    pooled = (a + b) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.nan_to_num((b / sizes[1] - a / sizes[0]) / np.sqrt(pooled * (1 - pooled))).ravel()
    chance = [
        np.multiply.outer(*(binom.pmf(x, size, rate) for x, size, rate in zip(seen, sizes, rates, strict=True))).ravel()
        for rates in ((bad, bad), (ours, theirs))
    ]
    order = np.argsort(-z)
    inside = np.cumsum(chance[0][order]) <= ALPHA
    return float(chance[1][order][inside].sum())


def delays(rng: np.random.Generator, runs: int) -> list[dict[str, float]]:
    """Of each effect: the mean delay, that of the best fixed test, their ratio with its standard error, the found."""
    found = []
    for share, ours, theirs in EFFECTS:
        bad = (1 - share) * ours + share * theirs
        fixed = best_fixed(share, ours, theirs)
        n = int(8 * fixed * bad)
        truth = share_at(theirs / ours, share)
        blocks = [first_alarm(rng.random((BLOCK, n)) < truth, share) for _ in range(runs // BLOCK)]
        ends = np.concatenate(blocks)
        mean = float(ends.mean() / bad)
        found.append(
            {
                "share": share,
                "champion": ours,
                "challenger": theirs,
                "mean": round(mean),
                "median": round(float(np.median(ends)) / bad),
                "fixed": round(fixed),
                "ratio": round(mean / fixed, 2),
                "error": round(float(ends.std()) / bad / fixed / len(ends) ** 0.5, 3),
                "found": float((ends <= n).mean()),
            }
        )
    return found


def minutes(rng: np.random.Generator, runs: int, traffic: int, rate: float, share: float) -> tuple[Array, Array]:
    """Requests and bad ones of one arm in each minute `(runs, MINUTES)`."""
    requests = rng.poisson(traffic * share, (runs, MINUTES))
    return requests, rng.binomial(requests, rate)


def argo(requests: Array, bad: Array) -> Array:
    """The minute of the rollback `(runs,)`; infinite where there is none."""
    windows = requests.reshape(len(requests), -1, 5).sum(2), bad.reshape(len(bad), -1, 5).sum(2)
    failed = np.cumsum(1 - windows[1] / np.maximum(windows[0], 1) < 0.95, axis=1) > 3
    return np.where(failed.any(1), 5.0 * (failed.argmax(1) + 1), np.inf)


def flagger(requests: Array, bad: Array) -> Array:
    """The same by Flagger's rule."""
    failed = np.cumsum(1 - bad / np.maximum(requests, 1) < 0.95, axis=1) >= 5
    return np.where(failed.any(1), failed.argmax(1) + 1.0, np.inf)


def kayenta(theirs: Array, ours: Array) -> Array:
    """The same by the default judge of Kayenta, of error rates `(runs, MINUTES)`."""
    n = 60
    edge = int(n * n / 2 - norm.isf(0.01) * np.sqrt(n * n * (2 * n + 1) / 12))
    found = np.full(len(theirs), np.inf)
    for place, (challenger, champion) in enumerate(zip(theirs, ours, strict=True)):
        for hour in range(MINUTES // n):
            window = slice(n * hour, n * hour + n)
            shifts = np.sort(np.subtract.outer(challenger[window], champion[window]).ravel())
            if shifts[edge] > 0.25 * abs(np.median(shifts)):
                found[place] = n * (hour + 1.0)
                break
    return found


def day(
    rng: np.random.Generator, runs: int, traffic: int, ours: float, theirs: float
) -> dict[str, dict[str, float | None]]:
    """What each rule does in a day: the share of runs that it rolls back, and the median minute of those."""
    champion = minutes(rng, runs, traffic, ours, 1 - SHARE)
    challenger = minutes(rng, runs, traffic, theirs, SHARE)
    rate = SHARE * theirs + (1 - SHARE) * ours
    total = int(traffic * MINUTES * rate)
    ends = first_alarm(rng.random((runs, total)) < share_at(theirs / ours, SHARE), SHARE)
    rates = [bad / np.maximum(requests, 1) for requests, bad in (challenger, champion)]
    rules = {
        "firstfault": np.where(ends <= total, ends / rate / traffic, np.inf),
        "argo": argo(*challenger),
        "flagger": flagger(*challenger),
        "kayenta": kayenta(*rates),
    }
    return {
        name: {
            "rolled_back": round(float(np.isfinite(ends).mean()), 3),
            "median_minute": round(float(np.median(ends[np.isfinite(ends)])), 1) if np.isfinite(ends).any() else None,
        }
        for name, ends in rules.items()
    }


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000, help="of equal arms")
    parser.add_argument("--requests", type=int, default=5_000, help="of each run of equal arms")
    parser.add_argument("--days", type=int, default=200, help="days of each traffic")
    asked = parser.parse_args()
    rng, began = np.random.default_rng(14), time.process_time()
    alarms = false_alarms(rng, asked.runs, asked.requests)
    print(f"equal arms, three measures, {asked.runs} runs of {asked.requests} requests: {alarms}", flush=True)
    found = delays(np.random.default_rng(1), DELAY_RUNS)
    for each in found:
        print(f"delay {each}", flush=True)
    days = {}
    for traffic in (100, 1_000):
        for ours, theirs in ((0.02, 0.02), (0.02, 0.04)):
            name = f"{traffic}/min, {ours:.0%} and {theirs:.0%}"
            days[name] = day(rng, asked.days, traffic, ours, theirs)
            print(f"day at {name}: {days[name]}", flush=True)
    result = {
        "rolled_back": alarms["worse"],
        "alpha": ALPHA,
        "false": alarms,
        "delay": max(each["ratio"] for each in found),
        "delay_allowed": DELAY,
        "delays": found,
        "days": days,
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    result["met"] = {
        "equal_arms": all(share <= ALPHA for share in alarms.values()),
        "delay": result["delay"] <= DELAY and all(each["found"] == 1.0 for each in found),
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
