"""Where the user's code divides labels by a scale and cuts the fractions off, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from firstfault.errors import is_user_code
from firstfault.place import Kind, Place
from firstfault.probe.source import NESTS, name_of, remember, tree_of
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

READ = ("train", "validation", "test")
DEPTH = 3  # functions that name each other: bounds the search
WHOLE = re.compile(r"\b(u?int\d*|long|short|LongTensor|IntTensor)\b")
CUTTING = {"long", "int", "short", "floor", "trunc", "int32", "int64", "uint8", "floor_divide"}
LABELS = re.compile(r"(?i)(^|\W|_)(y|ys|y_\w+|labels?|lbls?|targets?|class(es)?)(\W|_|$)")
LARGEST = re.compile(r"\b(max|amax|nanmax|ptp)\b")


@memo(of="raw")
def cutting_line(subject: Subject) -> Place | None:
    """The first line on which the labels are divided by their maximum or a constant and cut; None where none is found.

    It is one of the functions that read the data, of those that they name, or, for data that are no functions, of the
    target's file outside of functions.
    """
    target, sources = subject.target, [getattr(subject.target.data, name, None) for name in READ]
    codes = [code for source in sources if isinstance(source, FunctionType) for code in _codes(source, DEPTH)]
    files = dict.fromkeys(code.co_filename for code in codes) or [str(target.file)] * bool(target.file)
    for file in files:
        lines = _cutting_lines(file, [_lines(code) for code in codes if code.co_filename == file])
        if lines and is_user_code(Path(file), target.root):
            return Place(Kind.LINE, file=Path(file).name, line=min(lines))
    return None


def _codes(function: FunctionType, depth: int) -> Iterator[CodeType]:
    """The code of a function, and of the functions that it names."""
    yield function.__code__
    for name in function.__code__.co_names if depth else ():
        if isinstance(other := function.__globals__.get(name), FunctionType):
            yield from _codes(other, depth - 1)


def _lines(code: CodeType) -> range:
    inside = [number for _, _, number in code.co_lines() if number is not None]
    return range(min(inside), max(inside) + 1)


def _cutting_lines(file: str, spans: list[range]) -> list[int]:
    """The lines that cut labels, within the spans; outside of all functions where there are none."""
    remember(file)
    tree = tree_of(file)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr | ast.stmt)]
    halves = {name for node in nodes for name in _divided(node)}
    inner = [range(node.lineno, (node.end_lineno or node.lineno) + 1) for node in nodes if isinstance(node, NESTS)]
    found = [node.lineno for node in nodes if _cuts(node, halves)]
    return [line for line in found if any(line in span for span in spans or inner) is bool(spans)]


def _divided(node: ast.AST) -> Iterator[str]:
    """The name that a statement gives to labels divided by a scale."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and _scales(node.value, ast.Div):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div) and _is_scale(node.target, node.value):
        yield ast.unparse(node.target)


def _cuts(node: ast.AST, halves: set[str]) -> bool:
    if isinstance(node, ast.BinOp):
        return _scales(node, ast.FloorDiv)
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.FloorDiv) and _is_scale(node.target, node.value)
    return isinstance(node, ast.Call) and any(_is_fraction(part, halves) for part in _cut_by(node))


def _cut_by(call: ast.Call) -> list[ast.expr]:
    """What a call makes whole numbers of; nothing for other calls."""
    name, of = name_of(call), call.func.value if isinstance(call.func, ast.Attribute) else None
    if name in ("astype", "to", "type", "view") and any(WHOLE.search(ast.unparse(part)) for part in call.args):
        return [of] if of is not None else []
    return [*call.args[:1], *([of] if of is not None else [])] if name in CUTTING else []


def _is_fraction(node: ast.expr, halves: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in halves
    return isinstance(node, ast.BinOp) and _scales(node, ast.Div)


def _scales(node: ast.BinOp, how: type[ast.operator]) -> bool:
    return isinstance(node.op, how) and _is_scale(node.left, node.right)


def _is_scale(divided: ast.expr, by: ast.expr) -> bool:
    """Whether labels are divided by a constant or by a maximum, or anything by its own maximum."""
    numerator, divisor = ast.unparse(divided), ast.unparse(by)
    largest = bool(LARGEST.search(divisor))
    constant = isinstance(by, ast.Constant) and isinstance(by.value, int | float) and by.value >= 2
    return (largest and numerator in divisor) or bool(LABELS.search(numerator) and (largest or constant))
