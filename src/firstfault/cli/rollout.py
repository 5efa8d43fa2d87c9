"""The commands about rollouts: two arms compared by what was recorded of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstfault.cli.options import EXIT_FAULTY, EXIT_HEALTHY, EXIT_UNDECIDED, JsonOption, say, write_json

if TYPE_CHECKING:
    from firstfault.monitor.rollout.comparison import Comparison

rollout = typer.Typer(help="Compare a champion and its challenger.", no_args_is_help=True, rich_markup_mode=None)


@rollout.callback()
def group() -> None:
    """Compare a champion and its challenger."""


@rollout.command()
def compare(
    champion: Annotated[Path, typer.Argument(metavar="CHAMPION.jsonl", help="recorded outcomes of the champion")],
    challenger: Annotated[Path, typer.Argument(metavar="CHALLENGER.jsonl", help="recorded outcomes of the challenger")],
    mode: Annotated[
        str, typer.Option(help="shadow: both arms answer each request; canary or ab: each request has one arm")
    ] = "canary",
    share: Annotated[
        float | None, typer.Option(help="the share of requests that were given to the challenger at random, 0–1")
    ] = None,
    alpha: Annotated[float, typer.Option(help="the chance that equal arms are ever called worse")] = 0.01,
    margin: Annotated[float, typer.Option(help="how much worse is no worse: 0.25 is 1.25 times the rate")] = 0.25,
    quantile: Annotated[float, typer.Option(help="of the seconds, beyond which an answer is slow")] = 0.95,
    at_most: Annotated[int | None, typer.Option("--at-most", help="look at so many requests")] = None,
    json_file: JsonOption = None,
) -> None:
    """Compare recorded outcomes; exit 0 when the challenger is better or no worse, 1 when worse, 4 when undecided."""
    from firstfault.errors import FirstfaultError
    from firstfault.monitor.rollout.comparison import Conclusion
    from firstfault.monitor.rollout.comparison import compare as compared
    from firstfault.monitor.rollout.outcomes import read
    from firstfault.monitor.rollout.plan import Mode, Plan

    if mode not in [*Mode]:
        raise FirstfaultError(f"mode must be shadow, canary or ab, but got {mode!r}")
    plan = Plan(Mode(mode), share, alpha, margin, quantile, at_most)
    arms = read(champion), read(challenger)
    found = compared(*arms, plan)
    _show(found, sum(arm.torn for arm in arms))
    write_json(json_file, found.to_json())
    codes = {Conclusion.WORSE: EXIT_FAULTY, Conclusion.UNDECIDED: EXIT_UNDECIDED}
    raise typer.Exit(codes.get(found.conclusion, EXIT_HEALTHY))


def _show(found: Comparison, torn: int) -> None:
    if torn:
        say(f"firstfault: {torn} last lines were torn, and are left out", err=True)
    say(f"{found.conclusion.value.replace('_', ' ')} after {found.after} requests: {found.why}")
    for name, (ours, theirs) in found.rates.items():
        told = ["–" if rate is None else f"{rate:.2%}" for rate in (ours, theirs)]
        say(f"  {name:<8} champion {told[0]}, challenger {told[1]}")
    for each in found.evidence:
        passed = f"passed after {each.passed_after}" if each.passed_after else "open"
        say(f"  {each.measure:<8} {each.claim:<15} e-value {each.e_value:.3g} of {each.needed:g}, {passed}")
    if found.requests:
        say(f"  requests {' '.join(found.requests)}")
    if found.first_cut:
        say(f"  first cut that differs: {found.first_cut}")
