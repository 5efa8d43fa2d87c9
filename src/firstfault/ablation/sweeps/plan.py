"""What a sweep is asked to do: one-factor-off ablations, a grid or a tuned search, with how many seeds and trials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from firstfault.ablation.confirm.trials import BASELINE
from firstfault.ablation.swap import swaps
from firstfault.ablation.sweeps.space import Setting, parse
from firstfault.ablation.sweeps.study import MOST_SEEDS
from firstfault.errors import FirstfaultError, TargetError
from firstfault.values import Json

FACTORS = (
    "standardised_inputs",
    "higher_rate",
    "lower_rate",
    "adam",
    "batches_of_32",
    "longer",
    "fitting_loss",
    "fresh_initialisation",
    "relu_for_saturating",
    "shuffled",
)
SEEDS = 3
"""The fewest at which one arm wholly above the other is significant."""
SEARCHED = 20
"""Trials of a search that names no number: 5 random ones, and 15 that TPE proposes."""


@dataclass(frozen=True)
class Plan:
    """A sweep's mode (factors, grid or tune) with what it varies, the seeds of every comparison, and the limit of
    trainings.

    In a tuned search, `trials` is how many settings are tried; in the other modes the sweep stops after so many
    trainings.
    """

    mode: str
    factors: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    seeds: int = SEEDS
    trials: int | None = None

    @classmethod
    def of(
        cls,
        factors: Sequence[str] | None = None,
        grid: str | Sequence[str] | None = None,
        tune: str | Sequence[str] | None = None,
        seeds: int | None = None,
        trials: int | None = None,
    ) -> Plan:
        """The plan of a call.

        Raises:
            TargetError: for an unknown factor, a grid or search that can't be read, or two modes at once.
            ValueError: for a number out of range.
        """
        asked = [name for name, value in (("factors", factors), ("grid", grid), ("tune", tune)) if value]
        if len(asked) > 1:
            raise TargetError(f"a sweep has one mode, but got {' and '.join(asked)}")
        seeds = SEEDS if seeds is None else seeds
        if not 2 <= seeds <= MOST_SEEDS:
            raise ValueError(f"seeds must be 2 to {MOST_SEEDS}, but got {seeds}")
        if trials is not None and trials < 1:
            raise ValueError(f"n_trials must be at least 1, but got {trials}")
        if grid:
            return cls("grid", (), parse(grid, "grid"), seeds, trials)
        if tune:
            return cls("tune", (), parse(tune, "tune"), seeds, SEARCHED if trials is None else trials)
        return cls("factors", _named(factors), (), seeds, trials)

    @property
    def space(self) -> list[object]:
        """What a study can't change once it has begun."""
        return [
            self.mode,
            sorted(swaps())
            if self.mode == "factors"
            else [[setting.name, list(setting.values), setting.low, setting.high] for setting in self.settings],
        ]

    def to_json(self) -> Json:
        """This plan as JSON values."""
        values: Json = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Json) -> Plan:
        """The plan that `to_json` wrote."""
        settings = tuple(Setting(**{**entry, "values": tuple(entry["values"])}) for entry in values["settings"])
        return cls(values["mode"], tuple(values["factors"]), settings, values["seeds"], values["trials"])


def _named(factors: Sequence[str] | None) -> tuple[str, ...]:
    names = dict.fromkeys(FACTORS if factors is None else factors)
    unknown = [name for name in names if name not in swaps() and name != BASELINE]
    if unknown:
        raise TargetError(f"factors must be among {', '.join(swaps())}, but got {', '.join(unknown)}")
    return tuple(name for name in names if name != BASELINE)


def expect(settings: Json) -> None:
    """Refuse the settings of a sweep before anything is started.

    Raises:
        FirstfaultError: when they can't be followed, in one sentence.
    """
    if settings.get("engine") == "ray":
        from firstfault.ablation.sweeps.ray_engine import expect_ray

        expect_ray()
    try:
        Plan.of(*(settings.get(name) for name in ("factors", "grid", "tune", "seeds", "trials")))
    except ValueError as error:
        raise FirstfaultError(str(error)) from error
