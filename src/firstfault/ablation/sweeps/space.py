"""What a grid or a tuned search varies: settings of the training, options of its optimizer, keywords of the model's
factory.

lr, weight_decay, …                        options of the optimizer, also `optimizer.lr`
epochs, batch_size, shuffle, clip_norm     settings of the training, also `training.epochs`
model.hidden                               keywords of the function that builds the model
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from firstfault.errors import TargetError, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe
from firstfault.values import is_finite

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


SETTINGS = ("epochs", "batch_size", "shuffle", "clip_norm")
OF_THE_LOOP = ("epochs", "clip_norm")
OF_THE_LOADER = ("batch_size", "shuffle")
SWITCHES = ("nesterov", "amsgrad")
WIDE = 10
"""Ends of a range that are this many times apart are searched on a log scale."""
MOST_POINTS = 1000
"""Points of a grid, over three seeds 3,000 trainings: whoever wants more wants a search."""
Value = bool | int | float | str | None
"""A value as it is written in a grid or a search."""
Values = Mapping[str, object]
"""A value for each thing that is varied, the target's own among them."""


@dataclass(frozen=True)
class Setting:
    """One thing that is varied: its name, and either its values or the ends of its range."""

    name: str
    values: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[Value, ...]:
        """What must be a usable value: each of the values, or both ends."""
        return self.values or (self.low, self.high)

    def holds(self, value: object) -> bool:
        """Whether a value lies in the range; every value does where there is none."""
        return self.low is None or self.high is None or (is_finite(value) and self.low <= value <= self.high)

    def distribution(self, own: Any) -> BaseDistribution:
        """Optuna's distribution: the values with the target's own among them, or the range, on a log scale from a
        factor of 10 on.
        """
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.low is None or self.high is None:
            choices = dict.fromkeys([*self.values, own])
            return CategoricalDistribution(
                sorted(choices) if all(is_finite(choice) for choice in choices) else list(choices)
            )
        log = self.low > 0 and self.high / self.low >= WIDE
        whole = isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(own, float)
        kind = IntDistribution if whole else FloatDistribution
        return kind(self.low, self.high, log=log)


def parse(texts: str | Sequence[str], option: str) -> tuple[Setting, ...]:
    """The settings of `name=value,value;name=low..high`, in one text or several; `option` (grid or tune) is what asks.

    Raises:
        TargetError: naming the part that can't be read, or that comes twice.
    """
    parts = [part.strip() for text in ([texts] if isinstance(texts, str) else texts) for part in text.split(";")]
    settings = tuple(_setting(part, option) for part in parts if part)
    names = [setting.name for setting in settings]
    if not settings:
        raise TargetError(f"{option} must be NAME=VALUE,VALUE, but is empty")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TargetError(f"{option} must name each setting once, but has {twice[0]} twice")
    points = math.prod(len(setting.values) for setting in settings) if option == "grid" else 1
    if points > MOST_POINTS:
        raise TargetError(
            f"grid must have at most {MOST_POINTS} points, but has {points}; a tuned search takes a range"
        )
    return settings


def _setting(part: str, option: str) -> Setting:
    name, equals, text = part.partition("=")
    name = name.strip().removeprefix("training.").removeprefix("optimizer.")
    values = tuple(dict.fromkeys(_value(entry) for entry in text.split(",")))
    if not (equals and name) or "" in values:
        raise TargetError(
            f"{option} must be NAME=VALUE,VALUE{' or NAME=LOW..HIGH' * (option == 'tune')}, but got {part!r}"
        )
    if ".." not in text:
        if option == "tune" and len(values) < 2:
            raise TargetError(f"tune must give {name} a range LOW..HIGH or several values, but got {part!r}")
        return Setting(name, values)
    if option == "grid":
        raise TargetError(f"grid must list values, but got the range {part!r}; `tune` takes ranges")
    low, high = (_value(end) for end in text.split("..", 1))
    if not (is_finite(low) and is_finite(high) and low < high):
        raise TargetError(f"tune must give {name} a range LOW..HIGH of numbers with LOW below HIGH, but got {part!r}")
    return Setting(name, (), low, high)


def _value(text: str) -> Value:
    """A value as YAML reads it; `1e-3` is a number too."""
    import yaml

    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text
    return value if value is None or isinstance(value, bool) else text


class Space:
    """Settings of one target: their own values, and the recipe at other ones.

    Raises:
        TargetError: for a setting that the target doesn't have, or a value that it can't take.
        UserCodeError: when the user's model or optimizer raises.
    """

    def __init__(self, settings: Sequence[Setting], subject: Subject) -> None:
        self.settings, self.recipe = tuple(settings), subject.recipe
        self.known = _known(subject)
        for setting in self.settings:
            self._expect(setting)
        self.own = {setting.name: self.known[setting.name] for setting in self.settings}

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution of every setting."""
        return {setting.name: setting.distribution(self.own[setting.name]) for setting in self.settings}

    def points(self) -> Iterator[Values]:
        """Every combination of values but the target's own."""
        for values in itertools.product(*(setting.values for setting in self.settings)):
            point = dict(zip(self.own, values, strict=True))
            if point != self.own:
                yield point

    def holds(self, values: Values) -> bool:
        """Whether a search may try these values."""
        return all(setting.holds(values[setting.name]) for setting in self.settings)

    def at(self, values: Values) -> Recipe:
        """The recipe with these values."""
        return at(self.recipe, values)

    def _expect(self, setting: Setting) -> None:
        if setting.name not in self.known:
            raise TargetError(
                f"a sweep of this target can vary {', '.join(self.known)}, but got {setting.name!r}"
                f"{_why_not(setting.name, self.recipe)}"
            )
        for value in setting.ends:
            if setting.name in SETTINGS:
                self.recipe.with_training(**{setting.name: value})
            _expect_kind(setting.name, value, self.known[setting.name])


def _known(subject: Subject) -> dict[str, object]:
    """Everything that can be varied, with the value that the target has."""
    recipe = subject.recipe
    training = recipe.training
    left_out = (*OF_THE_LOOP * (training.fit is not None), *OF_THE_LOADER * (training.loader is not None))
    known = {name: getattr(training, name) for name in SETTINGS if name not in left_out}
    options = {} if training.fit is not None else _options(subject)
    return {**options, **known, **_keywords(recipe.model)}


def _options(subject: Subject) -> dict[str, object]:
    try:
        group = (subject.recipe.training.optimizer or torch.optim.Adam)(
            subject.fresh_model().parameters()
        ).param_groups[0]
    except UserCodeError:
        raise
    except BaseException as error:
        pass_on(error)
        raise UserCodeError(Layer.TRAINING, "training.optimizer", error, subject.target.root) from error
    return {name: value for name, value in group.items() if is_finite(value) or name in SWITCHES}


def _keywords(model: Callable[..., object]) -> dict[str, object]:
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        f"model.{entry.name}": entry.default for entry in parameters if entry.default is not inspect.Parameter.empty
    }


def _why_not(name: str, recipe: Recipe) -> str:
    if recipe.training.fit is not None and (name == "lr" or name in OF_THE_LOOP):
        return ", which its own `fit` sets"
    return ", which its own `loader` sets" if name in OF_THE_LOADER else ""


def _expect_kind(name: str, value: object, own: object) -> None:
    if isinstance(own, bool) != isinstance(value, bool) and own is not None:
        raise TargetError(
            f"{name} must be {'true or false' if isinstance(own, bool) else 'a number'}, but got {value!r}"
        )
    if is_finite(own) and not (is_finite(value) and (value >= 0 or name.startswith("model."))):
        raise TargetError(f"{name} must be a number of at least 0, but got {value!r}")


def at(recipe: Recipe, values: Values) -> Recipe:
    """A recipe with other values of the settings; an option is set in every group of the optimizer."""
    training = {name: value for name, value in values.items() if name in SETTINGS}
    keywords = {name.removeprefix("model."): value for name, value in values.items() if name.startswith("model.")}
    options = {name: value for name, value in values.items() if name not in training and not name.startswith("model.")}
    if options:
        training["optimizer"] = _with_options(recipe.training.optimizer, options)
    changed = recipe.with_training(**training) if training else recipe
    return replace(changed, model=functools.partial(recipe.model, **keywords)) if keywords else changed


def _with_options(
    make: Callable[..., torch.optim.Optimizer] | None, options: Values
) -> Callable[..., torch.optim.Optimizer]:
    def build(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = (make or torch.optim.Adam)(parameters)
        for group in optimizer.param_groups:
            group.update(options)
        return optimizer

    return build


def words(values: Values) -> str:
    """Values as a person reads them: `lr 0.01, batch_size 16`."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )
