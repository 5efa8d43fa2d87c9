"""The first training batch to look at, as the model sees it: after preparation, loader and augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from firstfault.charts.files import write_picture
from firstfault.charts.heat import Shading, cells, legend
from firstfault.charts.svg import CHARACTER, Part, whole, words
from firstfault.charts.tiles import Tile, in_rows, tiles
from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.data._pictures import ACROSS, images_of
from firstfault.checks.preprocessing._loader_passes import first_made, first_numbered
from firstfault.checks.preprocessing.scales import column_names
from firstfault.data.privacy.masking import masked_text
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_rows
from firstfault.subject.rerun import Array, fixed_seeds
from firstfault.subject.subject import Subject
from firstfault.training.tree_calls import trees_of

SAMPLES = 16  # this and the next four: what stays legible in one picture
PICTURE = "batch.svg"
LEFT, TALL = 30, 6  # the room of a label, and the height of a cell
MOST_ROWS, MOST_COLUMNS, MOST_NAMES = 64, 80, 40  # of a table: samples, columns, and columns that are named
REACH = 3.0  # deviations at the ends of the colours
ENDS = 8  # token ids shown of either end
FITTED_ROWS = 5_000  # a mean of so many errs by 0.014 deviations


class Batch(NamedTuple):
    """Inputs `(N, …)` as the model gets them, their labels in words, and their rows in train, where known."""

    x: torch.Tensor
    labels: list[str]
    rows: Array | None


@check(layer=Layer.PREPROCESSING, needs={"recipe", "model"}, detects={}, depth=Depth.STANDARD)
def batch_pictures(subject: Subject) -> Iterator[Judgement]:
    """Draw samples of the first training batch as the model sees them.

    Measures: the size of the batch. Images stand below the raw ones that they were made of, with label and range of
        values; a table is a strip of colours, in deviations of train; of token ids the first and last and the length
        are listed.
    Fails when: never. It judges nothing.
    Source: Karpathy 2019, A Recipe for Training Neural Networks: look at what goes into the network, right before it
        does.
    """
    batch = _first(subject)
    if not len(batch.x):
        yield skipped("the first batch is empty")
        return
    name = _drawn(subject, batch)
    if name is None:
        yield skipped("the batch is neither images nor a table nor token ids")
        return
    shape = "×".join(str(size) for size in batch.x.shape)
    yield Judgement(
        Status.PASS,
        f"the first training batch is {shape} of {str(batch.x.dtype).removeprefix('torch.')}",
        value=len(batch.x),
        artifacts=(name,),
    )


def _drawn(subject: Subject, batch: Batch) -> str | None:
    images = images_of(batch.x.detach().cpu().numpy(), slice(SAMPLES))
    if images is not None:
        return _images(subject, batch, images)
    if batch.x.is_floating_point() and batch.x.ndim == 2:
        return _table(subject, batch)
    return _tokens(subject, batch) if batch.x.ndim == 2 else None


def _first(subject: Subject) -> Batch:
    recipe = subject.recipe
    x, y, rows = _loaded(subject) if recipe.training.loader is not None else _own(subject)
    x = recipe.inputs_for(subject.model, x)
    trees = trees_of(recipe.model) is not None  # which augmentation leaves as trees
    if recipe.training.augment is not None and recipe.training.fit is None and not trees:
        with fixed_seeds(), torch.no_grad():
            x = recipe.training.augment(x.clone())
    return Batch(x, [_label(subject, value) for value in y[:MOST_ROWS]], rows)


def _own(subject: Subject) -> tuple[torch.Tensor, torch.Tensor, Array]:
    recipe = subject.recipe
    order = torch.randperm(len(recipe.train), generator=torch.Generator().manual_seed(subject.seed))
    rows = (
        order[: recipe.training.batch_size]
        if recipe.training.shuffle
        else torch.arange(min(len(order), recipe.training.batch_size))
    )
    return recipe.train.x[rows], recipe.train.y[rows], rows.numpy()


def _loaded(subject: Subject) -> tuple[torch.Tensor, torch.Tensor, Array | None]:
    """The first batch of the user's loader, of numbered rows where it takes them."""
    first, found = first_made(subject, "train"), first_numbered(subject)
    if found is None:
        return first.x, first.y, None
    x, rows = found
    return x, subject.recipe.train.y[torch.as_tensor(rows)], rows


def _label(subject: Subject, value: torch.Tensor) -> str:
    if value.ndim:
        return (
            ""
            if subject.target.task == "language_model"
            else " ".join(f"{part:.3g}" for part in value.reshape(-1)[:6].tolist())
        )
    known = subject.classes
    place = int(value) if known and 0 <= int(value) < len(known) else None
    text = str(known[place]) if place is not None else f"{float(value):.4g}"
    return masked_text(text)


def _images(subject: Subject, batch: Batch, images: Array) -> str:
    raw = _raw_images(subject, batch.rows, len(images))
    ranges = [f"{np.nanmin(image):.3g} … {np.nanmax(image):.3g}" for image in images]
    if raw is None:
        made = [Tile(image, lines) for image, *lines in zip(images, batch.labels, ranges, strict=False)]
        rows, title = in_rows(made, ACROSS), "First training batch: what the model sees (label, range of values)"
    else:
        above = in_rows(
            [Tile(image, (f"raw: {label}",)) for image, label in zip(raw, batch.labels, strict=False)], ACROSS
        )
        below = in_rows([Tile(image, (range_,)) for image, range_ in zip(images, ranges, strict=True)], ACROSS)
        rows = [row for pair in zip(above, below, strict=False) for row in pair]
        title = "First training batch: raw samples, and below them what the model sees (label, range of values)"
    return write_picture(subject.folder, PICTURE, whole(title, tiles(rows)))


def _raw_images(subject: Subject, rows: Array | None, count: int) -> Array | None:
    """The raw images of the batch; None where rows may have changed their places, or raw samples are no images."""
    raw = subject.raw.train.X
    if rows is None or subject.target.prepare is not None or len(raw) != len(subject.recipe.train):
        return None
    return images_of(raw if hasattr(raw, "columns") else to_array(raw), rows[:count])


def _table(subject: Subject, batch: Batch) -> str:
    train = subject.recipe.train.x[:FITTED_ROWS].double()
    width = batch.x.shape[1]
    names = column_names(subject, width) or []
    values = batch.x[:MOST_ROWS].detach().cpu().double()
    if train.shape[1] == width:
        deviation = train.std(0, correction=0)
        values = (values - train.nanmean(0)) / torch.where(deviation > 1e-12, deviation, torch.ones_like(deviation))
    values = values[:, :MOST_COLUMNS]
    shown = [name[:24] for name in names] if width <= MOST_NAMES else []
    title = "First training batch as the model sees it, in deviations of train"
    drawn = _strip(values.tolist(), shown, f"{values.shape[1]} of {width} columns")
    return write_picture(subject.folder, PICTURE, whole(title, drawn))


def _strip(rows: list[list[float]], names: list[str], otherwise: str) -> Part:
    """A cell per row and column; the columns' names stand below, or how many are shown."""
    shades = Shading(-REACH, REACH, kind="d")
    wide = 16 if len(rows[0]) <= MOST_NAMES else 9
    width, floor = max(520, LEFT + wide * len(rows[0]) + 8), TALL * len(rows)
    below = [
        words(name, LEFT + wide * (at + 0.5) + 4, floor + 8, "label", anchor="end", turn=-90)
        for at, name in enumerate(names)
    ]
    room = 20 + round(1.15 * CHARACTER * max(map(len, names))) if names else 24
    body = [
        words(f"{len(rows)} rows", LEFT - 10, floor / 2, anchor="middle", turn=-90),
        cells(rows, shades, LEFT, 0, wide, TALL),
        f'<rect class="frame" x="{LEFT}" y="0" width="{wide * len(rows[0])}" height="{floor}"/>',
        *(below or [words(otherwise, LEFT, floor + 18)]),
        legend(shades, LEFT + 28, floor + room, 110, extra=[("bad", "not finite")]),
    ]
    return Part("".join(body), width, floor + room + 14, f"{len(rows)} rows of {len(rows[0])} columns")


def _tokens(subject: Subject, batch: Batch) -> str:
    """Token ids of the first samples as CSV; the length leaves out what all rows end with most often."""
    ids = batch.x[:SAMPLES].detach().cpu().numpy()
    last, counts = np.unique(batch.x[:, -1].cpu().numpy(), return_counts=True)
    padding = last[counts.argmax()] if counts.max() > 0.5 * len(batch.x) else None
    lines = []
    for row, label in zip(ids, batch.labels, strict=False):
        other = np.flatnonzero(row != padding) if padding is not None else np.arange(len(row))
        length = int(other[-1]) + 1 if len(other) else 0
        known = row[:length]
        lines.append([label, length, len(row), *(" ".join(map(str, part)) for part in (known[:ENDS], known[-ENDS:]))])
    write_rows(subject.folder / "batch.csv", ["label", "length", "width", "first_ids", "last_ids"], lines)
    return "batch.csv"
