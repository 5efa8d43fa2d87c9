"""What is served: a target on disk with its data and trained weights, and the parts of it that a server needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target
from firstfault.training.preprocessing import to_inputs
from monitoring.served.populations import EXAMPLES, Array, Population

TARGETS = Path(__file__).parent / "targets"
ROWS = {"train": 4_000, "validation": 1_000, "test": 1_000}
IGNORED = {"adult": ("race",), "sensors": tuple(f"spare_{n}" for n in range(4)), "demand": ("lot",)}
KINDS = {
    "adult": "table",
    "sensors": "table",
    "demand": "table",
    "digits": "images",
    "tickets": "texts",
    "assistant": "prompts",
}


@dataclass
class Base:
    """A target and its fitted parts."""

    name: str
    kind: str
    folder: Path
    subject: Subject
    population: Population
    model: nn.Module
    classes: tuple[Any, ...]
    train: Any
    """The raw inputs that it was trained on."""

    @property
    def file(self) -> Path:
        """The target's file, as `firstfault incident --target` takes it."""
        return self.folder / "target.py"

    @property
    def regression(self) -> bool:
        """Whether its answers are numbers."""
        return self.subject.target.task == "regression"

    @property
    def columns(self) -> list[str]:
        """The columns that the model looks at."""
        return [name for name in self.train.columns if name not in IGNORED.get(self.name, ())]

    def numbers(self) -> list[str]:
        """Those of them that are numbers."""
        return [name for name in self.columns if pd.api.types.is_numeric_dtype(self.train[name])]

    def texts(self) -> list[str]:
        """Those of them that are categories."""
        return [name for name in self.columns if not pd.api.types.is_numeric_dtype(self.train[name])]

    def prepare(self, X: Any) -> torch.Tensor:
        """Raw inputs through the fitted steps."""
        return to_inputs(self.subject.pipeline.apply(X))


def base_of(name: str, population: Population, folder: Path) -> Base:
    """The base of that name; its folder is filled where that was not done before."""
    place = folder / name
    if not (place / "served.pt").is_file():
        _write(name, population, place)
    subject = Subject(load_target(str(place / "target.py")), place / "run")
    target = subject.target
    assert target.deployment is not None and target.deployment.load is not None
    model = target.deployment.load(place / "served.pt")
    return Base(name, KINDS[name], place, subject, population, model, subject.classes, subject.raw.train.X)


def _write(name: str, population: Population, place: Path) -> None:
    """The target's file, its data, and the weights that firstfault's own training gives."""
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(TARGETS / f"{name}.py", place / "target.py")
    rng = np.random.default_rng(list(name.encode()))
    if name == "assistant":
        shutil.copy(EXAMPLES / "assistant" / "target.py", place / "assistant_example.py")
        shutil.copy(EXAMPLES / "assistant" / "behaviour.yaml", place)
    population = getattr(population, "of_training", lambda: population)()
    for split, rows in {} if name == "assistant" else ROWS.items():
        _write_split(name, population, rng, place / split, rows)
    subject = Subject(load_target(str(place / "target.py")), place / "run")
    torch.save(subject.trained.model.state_dict(), place / "served.pt")


def _write_split(name: str, population: Population, rng: np.random.Generator, path: Path, rows: int) -> None:
    segments = rng.choice(len(population.shares), rows, p=population.shares)
    drawn = population.draw(rng, segments, np.zeros(rows))
    if name == "digits":
        np.savez(path.with_suffix(".npz"), X=np.array(drawn.raw), y=drawn.truth)
        return
    label = {"adult": "salary", "sensors": "fails", "demand": "demand", "tickets": "team"}[name]
    pd.DataFrame(drawn.raw).assign(**{label: drawn.truth}).to_parquet(path.with_suffix(".parquet"))


def fresh_weights(base: Base, seed: int, parts: float, rng: np.random.Generator) -> nn.Module:
    """The model, of whose parameters some keep the values that they were built with."""
    built, served = base.subject.recipe.build(seed), base.model.state_dict()
    with torch.no_grad():
        built.eval()(base.subject.recipe.train.x[:2])  # layers that learn their width from what they see
    names = [name for name, _ in built.named_parameters()]
    lost = set(rng.choice(names, max(1, round(parts * len(names))), replace=False))
    own = built.state_dict()
    built.load_state_dict({name: own[name] if name in lost else value for name, value in served.items()})
    return built.eval()


def segments_of(base: Base, rng: np.random.Generator, n: int, shares: Array | None = None) -> Array:
    """A segment for each request."""
    return rng.choice(len(base.population.shares), n, p=base.population.shares if shares is None else shares)
