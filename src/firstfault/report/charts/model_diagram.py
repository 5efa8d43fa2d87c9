"""A diagram of the model: a box per module in the order of its tree, those that a finding blames in colour.

boxes_of(model, shapes)   the tree of modules, repeated parts taken together
blamed(reports, names)    the modules that failed findings name
diagram(boxes, blame)     the tree as SVG
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from firstfault.charts.svg import words
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.output.numbers import number
from firstfault.place import FORWARD, OUTPUT_LAYER, Kind
from firstfault.probe.functional_calls import module_of
from firstfault.training.model_summary import JSON

if TYPE_CHECKING:
    import torch
    from torch import nn

    from firstfault.probe import Record


WIDTH, HEIGHT, GAP, INDENT, HEAD = 1080, 30, 7, 16, 27
TOP = 40
MOST_BOXES = 64
FEWEST_REPEATED = 3
BLAMING = (Layer.MODEL, Layer.TRAINING)


@dataclass(frozen=True)
class Box:
    """One module: its name in the model, its class, the shape of its output, all its parameters, its children.

    `times` is how often it is repeated in a row, `until` the name of the last of these.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    parameters: int = 0
    children: tuple[Box, ...] = ()
    in_turn: bool = False
    times: int = 1
    until: str = ""

    def all(self) -> Iterator[Box]:
        """This box and those in it, in order."""
        yield self
        for child in self.children:
            yield from child.all()


@dataclass(frozen=True)
class Blame:
    """What a finding says of a module."""

    status: Status
    check: str
    message: str


def boxes_of(model: nn.Module, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Box:
    """The modules of a model as a tree, with the output shapes that are known."""
    return _box("", model, shapes or {})


def _box(name: str, module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> Box:
    children = tuple(_box(f"{name}.{key}" if name else key, child, shapes) for key, child in module.named_children())
    values = {id(value): value for value in module.parameters()}.values()
    counted = sum(value.numel() for value in values if not _is_lazy(value))
    in_turn = bool(children) and type(module).__name__ in ("Sequential", "TransformerEncoder", "TransformerDecoder")
    return Box(name, type(module).__name__, tuple(shapes.get(name, ())), counted, children, in_turn)


def _is_lazy(value: torch.Tensor) -> bool:
    from torch.nn.parameter import is_lazy

    return bool(is_lazy(value))


def boxes_of_record(record: Record) -> Box:
    """The modules that a record names, where their model is not at hand."""
    sizes: dict[str, int] = {}
    for name, entry in record.parameters.items():
        owner = name.rpartition(".")[0]
        sizes[owner] = sizes.get(owner, 0) + entry.size
    names = [name for name in dict.fromkeys([*record.activations, *sizes]) if name]
    kinds = {name: entry.kind for name, entry in record.activations.items()}
    return _grown("", names, sizes, kinds, ", ".join(record.models) or "model")


def _grown(name: str, below: Sequence[str], sizes: Mapping[str, int], kinds: Mapping[str, str], kind: str = "") -> Box:
    skip = len(name) + 1 if name else 0
    groups: dict[str, list[str]] = {}
    for other in below:
        if other != name:
            groups.setdefault(other[:skip] + other[skip:].split(".")[0], []).append(other)
    children = tuple(_grown(child, inner, sizes, kinds) for child, inner in groups.items())
    whole = sizes.get(name, 0) + sum(child.parameters for child in children)
    return Box(name, kinds.get(name, kind), (), whole, children)


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Output shapes by module, from the model summary of a run's folder; empty where there is none."""
    path = folder / JSON
    if not path.is_file():
        return {}
    return {
        row["name"]: tuple(row["output"])
        for row in json.loads(path.read_text(encoding="utf-8"))["layers"]
        if row["output"]
    }


# ---------------------------------------------------------------------- blame


def blamed(reports: Sequence[LayerReport], box: Box) -> dict[str, Blame]:
    """The modules that findings of the model and training layers name as their place; failures come before warnings."""
    boxes = {entry.name: entry for entry in box.all()}
    last = next((entry.name for entry in reversed(list(box.all())) if not entry.children), "")
    found: dict[str, Blame] = {}
    for status in (Status.FAIL, Status.WARN):
        for report in reports:
            for finding in report.findings if report.layer in BLAMING else ():
                if finding.status is status:
                    for name in _places(finding, boxes, last):
                        found.setdefault(name, Blame(status, finding.check, finding.message))
    return found


def failed_modules(blame: Mapping[str, Blame]) -> list[str]:
    """The names of the modules that a failed finding blames."""
    return [name for name, entry in blame.items() if entry.status is Status.FAIL]


def _places(finding: Finding, names: Mapping[str, Box], last: str) -> Iterator[str]:
    """The modules that a finding's place names: by themselves, by their parameter, or as the output layer."""
    place = finding.where
    if place in (OUTPUT_LAYER, FORWARD):
        yield last if place == OUTPUT_LAYER else ""
    elif place is not None and place.kind in (Kind.MODULE, Kind.PARAMETER):
        for name in place.names:
            module = module_of(name)
            owner = module.rpartition(".")[0]
            yield from [module] if module in names else [owner] if owner in names else []


# ---------------------------------------------------------------------- drawing


def diagram(box: Box, blame: Mapping[str, Blame]) -> Markup:
    """The tree as nested boxes with type, output shape and parameter count.

    Arrows lead through parts that run one after the other. Three and more equal neighbours are drawn once, unless one
    of them is blamed. A tree of more than 64 boxes is drawn to the depth at which it fits.
    """
    tree = _fitting(_folded(box, blame))
    drawn, height = _draw(tree, 0.0, float(TOP), float(WIDTH), blame)
    told = ", ".join(f"{name or tree.kind} ({entry.check})" for name, entry in blame.items()) or "none blamed"
    legend = "".join(
        f'<rect class="box {style}" x="{x}" y="6" width="13" height="13" rx="3"/>{words(text, x + 19, 17)}'
        for x, style, text in ((WIDTH - 230, "fail", "a failed finding"), (WIDTH - 100, "warn", "a warning"))
        if blame
    )
    return Markup(
        f'<svg class="chart diagram" viewBox="0 0 {WIDTH} {TOP + height:.0f}" role="img" '
        f'aria-label="{escape(f"The model, {number(box.parameters)} parameters; blamed: {told}")}">'
        '<defs><marker id="flow" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="6" markerHeight="6" orient="auto">'
        '<path class="head" d="M0 0L10 5L0 10z"/></marker></defs>'
        f"{words('Model', 0, 17, 'title')}{legend}{drawn}</svg>"
    )


def _folded(box: Box, blame: Mapping[str, Blame]) -> Box:
    """The tree with equal neighbours as one box."""
    kept: list[Box] = []
    run: list[Box] = []
    for child in (*(_folded(child, blame) for child in box.children), None):
        same = (
            child is not None
            and run
            and _form(child) == _form(run[0])
            and not _is_blamed(child, blame)
            and not _is_blamed(run[0], blame)
        )
        if not same:
            kept += [replace(run[0], times=len(run), until=run[-1].name)] if len(run) >= FEWEST_REPEATED else run
            run = []
        if child is not None:
            run.append(child)
    return replace(box, children=tuple(kept))


def _form(box: Box) -> tuple[object, ...]:
    return box.kind, box.parameters, box.shape, box.times, tuple(_form(child) for child in box.children)


def _is_blamed(box: Box, blame: Mapping[str, Blame]) -> bool:
    return any(entry.name in blame for entry in box.all())


def _fitting(box: Box) -> Box:
    for depth in range(12, 0, -1):
        cut = _cut(box, depth)
        if len(list(cut.all())) <= MOST_BOXES:
            return cut
    first, last = box.children[: MOST_BOXES // 2], box.children[-MOST_BOXES // 2 :]
    between = len(box.children) - len(first) - len(last)
    return replace(
        _cut(box, 1),
        children=(
            *_cut(replace(box, children=first), 1).children,
            Box("", f"… {between} more …"),
            *_cut(replace(box, children=last), 1).children,
        ),
    )


def _cut(box: Box, depth: int) -> Box:
    return replace(box, children=tuple(_cut(child, depth - 1) for child in box.children) if depth else ())


def _draw(box: Box, x: float, y: float, width: float, blame: Mapping[str, Blame]) -> tuple[str, float]:
    """A box with those in it, its corner at (x, y): the SVG, and its height."""
    inner, at, previous = "", y + HEAD, None
    for child in box.children:
        if previous is not None and box.in_turn:
            ends = f'x1="{x + 40:.1f}" x2="{x + 40:.1f}" y1="{previous:.1f}" y2="{at - 1:.1f}"'
            inner += f'<line class="flow" {ends} marker-end="url(#flow)"/>'
        part, height = _draw(child, x + INDENT, at, width - 2 * INDENT, blame)
        inner, previous = inner + part, at + height
        at = previous + GAP * (2 if box.in_turn else 1)
    whole = (at - y + 2 - GAP * box.in_turn) if box.children else float(HEIGHT)
    return _frame(box, x, y, width, whole, blame) + inner, whole


def _frame(box: Box, x: float, y: float, width: float, height: float, blame: Mapping[str, Blame]) -> str:
    found = blame.get(box.name) if box.name or not box.kind.startswith("…") else None
    inside = (
        None
        if found or box.children
        else next((entry for name, entry in blame.items() if box.name and name.startswith(f"{box.name}.")), None)
    )
    said = found or inside
    style = f"{'part' if box.children else 'box'} {said.status.value if said else ''}".strip()
    title = f"<title>{escape(said.check)}: {escape(said.message)}</title>" if said else ""
    why = f'<tspan class="why-{said.status.value}" dx="14">{escape(said.check)}</tspan>' if said else ""
    line = y + (18 if box.children else HEIGHT / 2 + 4.5)
    name = f"{box.name} … {box.until}" if box.times > 1 else box.name
    return (
        f'<g>{title}<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'
        f'<text class="kind" x="{x + 12:.1f}" y="{line:.1f}">{escape(box.kind)}'
        f'<tspan class="where" dx="9">{escape(_short(name))}</tspan>{_times(box.times)}{why}</text>'
        f'<text class="where" x="{x + width * 0.62:.1f}" y="{line:.1f}">{_shape(box.shape)}</text>'
        f"{words(_count(box.parameters), x + width - 12, line, 'where', anchor='end')}</g>"
    )


def _short(name: str, most: int = 48) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _times(times: int) -> str:
    return f'<tspan class="times" dx="9">× {times}</tspan>' if times > 1 else ""


def _shape(shape: tuple[int, ...]) -> str:
    """A shape with N for the batch, its first length."""
    return " × ".join(["N", *(f"{length:,}" for length in shape[1:])]) if shape else ""


def _count(parameters: int) -> str:
    return f"{parameters:,} parameters" if parameters else ""
