"""`firstfault cases`: the failures that are kept, asked again, judged by people, and as tests."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from firstfault.cli.options import EXIT_FAULTY, JsonOption, refuse, say, write_json

if TYPE_CHECKING:
    from firstfault.behaviour.store.failures import FailureStore
    from firstfault.behaviour.store.record import Failure

failures = typer.Typer(
    help="Keep failures of models, language models and production, and ask them again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="of a failure, or how it begins: `cases list`")]
StandingOption = Annotated[
    str | None, typer.Option("--standing", help="only those: candidate, open, fixed, came back, no failure")
]

KindOption = Annotated[str | None, typer.Option("--kind", help="only those of a model, language model or incident")]
E = TypeVar("E", bound=StrEnum)


@failures.callback()
def group() -> None:
    """Keep failures of models, language models and production, and ask them again."""


def _store() -> FailureStore:
    from firstfault.behaviour.store.failures import FailureStore
    from firstfault.runs.state import state_here

    state = state_here()
    state.make()
    return FailureStore(state.home)


def _chosen(store: FailureStore, standing: str | None, kind: str | None = None) -> list[Failure]:
    from firstfault.behaviour.store.record import Kind, Standing

    return store.all(_one_of(Kind, "--kind", kind), _one_of(Standing, "--standing", standing))


def _one_of(kinds: type[E], option: str, value: str | None) -> E | None:
    known = [each.value for each in kinds]
    if value is not None and value not in known:
        refuse(f"{option} must be one of {', '.join(known)}, but got {value!r}")
    return None if value is None else kinds(value)


@failures.command("list")
def list_(standing: StandingOption = None, kind: KindOption = None, json_file: JsonOption = None) -> None:
    """List the failures, those last seen first."""
    import msgspec

    found = _chosen(_store(), standing, kind)
    for each in found:
        cut = f", first at {each.first_cut}" if each.first_cut else ""
        say(
            f"{each.id[:8]}  {each.standing.value:<10} {each.kind.value}: {each.name}, {each.symptom}{cut}, "
            f"seen {each.seen}×"
        )
    if not found:
        say("no failure is kept: firstfault behaviour SUITE --target TARGET --examine 5 keeps what it examines")
    write_json(json_file, {"failures": [msgspec.to_builtins(each) for each in found]})


@failures.command()
def show(
    id_: IdArgument, texts: Annotated[bool, typer.Option("--texts", help="with prompt and answer")] = False
) -> None:
    """Show a failure, and the kept ones that are most like it."""
    import msgspec

    from firstfault.behaviour.store.nearest import nearest
    from firstfault.behaviour.store.record import TEXTS

    store = _store()
    failure = store.find(id_)
    hidden = () if texts else (*TEXTS, "conversation")
    plain = {name: value for name, value in msgspec.to_builtins(failure).items() if name not in hidden}
    say(json.dumps(plain, indent=2, ensure_ascii=False))
    for each in nearest(failure, store.all()):
        say(f"like {each}")


@failures.command()
def label(
    id_: IdArgument,
    said: Annotated[str, typer.Argument(metavar="LABEL", help="failure, or no: then it is asked no more")],
) -> None:
    """Say whether a failure is one."""
    from firstfault.behaviour.store.record import Standing

    if said not in ("failure", "no"):
        refuse(f"LABEL must be failure or no, but got {said!r}")
    store = _store()
    failure = store.find(id_)
    dismissed = failure.standing is Standing.DISMISSED
    standing = Standing.DISMISSED if said == "no" else Standing.OPEN if dismissed else failure.standing
    kept = store.change(failure, label="no failure" if said == "no" else "failure", standing=standing)
    say(f"{kept.id[:8]} {kept.name}: {kept.standing.value}")


@failures.command()
def replay(
    target: Annotated[
        str | None, typer.Option("--target", help="only its failures; else those of every target")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="also those that this version was asked before")] = False,
    requests: Annotated[int | None, typer.Option(min=1, help="ask each target no more than so often")] = None,
    json_file: JsonOption = None,
) -> None:
    """Ask the kept failures of the present version of their models; exit 1 when one came back."""
    from firstfault.recording.asked_model import REGISTERED
    from firstfault.recording.kept_failures import replay_kept, targets_of
    from firstfault.recording.kept_incidents import replay_incidents

    store = _store()
    found = [] if target else replay_incidents(store, again)
    found += [
        each
        for name in ([target] if target else targets_of(store))
        if target or not name.startswith(REGISTERED)
        for each in replay_kept(store, name, again=again, requests=requests)
    ]
    for each in found:
        say(f"{'CAME BACK: ' if each.came_back else ''}{each}")
    if not found:
        say("nothing was asked: no failure is kept, or all were asked of this version (--again asks them once more)")
    plain = [
        {
            "id": each.failure.id,
            "before": each.before.value,
            "now": each.failure.standing.value,
            "failed": each.asked.failed,
            "passed": each.asked.passed,
        }
        for each in found
    ]
    write_json(json_file, {"replayed": plain})
    raise typer.Exit(EXIT_FAULTY if any(each.came_back for each in found) else 0)


@failures.command()
def export(
    to: Annotated[Path, typer.Option("--pytest", metavar="DIR", help="write test_failures.py and what it asks here")],
    target: Annotated[str | None, typer.Option("--target", help="the model that is asked: file.py:name")] = None,
    standing: StandingOption = None,
) -> None:
    """Write kept failures as tests: red while the model fails one, green once it is repaired."""
    from firstfault.behaviour.store.export import export as written
    from firstfault.behaviour.store.record import Kind, Standing
    from firstfault.recording.kept_failures import kept_under, targets_of

    store = _store()
    targets = [kept_under(target)] if target else targets_of(store)
    if len(targets) != 1:
        refuse(f"--target must name one model, but failures are kept of {', '.join(targets) or 'none'}")
    left_out = (Standing.CANDIDATE, Standing.DISMISSED)
    found = [
        each for each in _chosen(store, standing) if each.target == targets[0] and each.kind is Kind.LANGUAGE_MODEL
    ]
    file = written([each for each in found if standing or each.standing not in left_out], targets[0], to)
    say(f"wrote {file}; run it: pytest {to}")


@failures.command("import")
def import_(
    place: Annotated[
        Path, typer.Argument(metavar="PATH", help="a folder of incidents' cases, or a failure_cases.json")
    ],
    target: Annotated[str, typer.Option("--target", help="the model that failed, for a failure_cases.json")] = "",
) -> None:
    """Keep failures of production (`incident keep`) and of other models (failure_cases.json of a run)."""
    from firstfault.behaviour.cases import cases_in
    from firstfault.behaviour.store.making import of_incident, of_model

    store = _store()
    if place.is_dir():
        made = [of_incident(case, str(folder.absolute()), store.masked) for folder, case in cases_in(place)]
    else:
        made = [of_model(each, target, store.masked) for each in _listed(place)]
    added = [store.add(each) for each in made]
    say(f"{sum(each.new for each in added)} new of {len(added)} failures")
    for each in added:
        if each.came_back:
            say(f"CAME BACK: {each.failure.name}")


def _listed(file: Path) -> list[dict[str, object]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        refuse(f"{file} must be a failure_cases.json or a folder of cases, but: {error}")
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        refuse(f"{file} must be a list of failures, as a run's failure_cases.json is")
    return found
