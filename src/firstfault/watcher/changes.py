"""A remedy as a change of one line of the user's code, made only where it is certain what the line has to be."""

from __future__ import annotations

import ast
import linecache
import math
from collections.abc import Mapping
from typing import Any

from firstfault.place import Place
from firstfault.probe import source
from firstfault.probe.record import Record
from firstfault.verdict import Change, Fault

RATES = ("lr", "learning_rate")
OF_RATE = ("learning_rate_too_high", "learning_rate_too_low")
ORDERED_BY = {"sampler", "batch_sampler"}
WITHOUT_GRADIENTS = ("no_grad", "inference_mode")


def change_of(fault: Fault, place: Place, record: Record) -> Change | None:
    """The change of the line at `place`, as a swap has tested it or structure proves it; None where it is uncertain."""
    if place.file is None or place.line is None:
        return None
    if fault.fault == "missing_zero_grad":
        return _clearing(place, record)
    if fault.fault == "missing_eval_mode":
        return _eval_mode(place, record)
    if fault.fault == "no_shuffle":
        return _shuffled(place)
    if fault.fault == "wrong_loss_reduction":
        return _averaged(place)
    if fault.fault == "flipped_loss_sign":
        return _unsigned(place) if fault.confirmed else None
    tested = fault.swap.sets if fault.swap is not None and fault.confirmed else {}
    return _tested(fault.fault, place, tested, record)


def _tested(fault: str, place: Place, tested: Mapping[str, Any], record: Record) -> Change | None:
    """What a swap set otherwise, in the call that sets it."""
    kind = record.optimizers[0] if record.optimizers else ""
    if fault in OF_RATE and "lr" in tested:
        return _rate(place, kind, tested["lr"], record)
    if fault == "wrong_optimizer" and {"optimizer", "lr"} <= set(tested):
        return _optimizer(place, kind, tested["optimizer"], tested["lr"])
    if fault == "over_regularised" and "weight_decay" in tested:
        text = _number(tested["weight_decay"])
        return _with_argument(place, _call(place, kind) or _trainers_call(place), ("weight_decay",), text)
    if fault.startswith("batch_size") and "batch_size" in tested:
        text = str(tested["batch_size"])
        return _with_argument(place, _call(place, "DataLoader"), ("batch_size",), text, position=1)
    return None


# --- calls
# ---------------------------------------------------------------------------------------------------------------------


def _call(place: Place, kind: str) -> ast.Call | None:
    """The call of that name at a place; None where there are none or several."""
    return source.call_at(source.tree_of(str(place.file)), place.line or 0, kind)


def _trainers_call(place: Place) -> ast.Call | None:
    """The only call at a place that is given a rate: the arguments of a trainer, which makes the optimizer."""
    calls = [call for call in source.calls_in(source.tree_of(str(place.file))) if source.covers(call, place.line or 0)]
    found = [call for call in calls if any(word.arg in RATES for word in call.keywords)]
    return found[0] if len(found) == 1 else None


def _with_argument(
    place: Place, call: ast.Call | None, names: tuple[str, ...], text: str, *, position: int | None = None
) -> Change | None:
    """A call with another value of an argument; one that is not there is added where it has a `position`."""
    if call is None:
        return None
    value = _argument(call, names, position)
    if value is not None:
        return _replaced(place, value, text)
    unpacked = any(word.arg is None for word in call.keywords) or any(isinstance(one, ast.Starred) for one in call.args)
    end = call.end_col_offset
    if unpacked or position is None or call.lineno != call.end_lineno or end is None:
        return None
    return _written(place, call.lineno, end - 1, end - 1, f", {names[0]}={text}")


def _argument(call: ast.Call, names: tuple[str, ...], position: int | None) -> ast.expr | None:
    """The value of a named argument, or of the one at a position."""
    for word in call.keywords:
        if word.arg in names:
            return word.value
    if position is None or len(call.args) <= position:
        return None
    before = call.args[: position + 1]
    return None if any(isinstance(each, ast.Starred) for each in before) else before[-1]


def _rate(place: Place, kind: str, rate: float, record: Record) -> Change | None:
    """Another rate, where the call sets the one that was seen."""
    own = _call(place, kind)
    call, position = (own, 1) if own is not None else (_trainers_call(place), None)
    if call is None or _sets_groups(call) or not record.lr:
        return None
    value = _argument(call, RATES, position)
    known = value.value if isinstance(value, ast.Constant) else None
    if isinstance(known, int | float):
        certain = math.isclose(known, record.lr[0], rel_tol=1e-6)
    else:  # an expression, or the default: a scheduler may have set another
        certain = not record.schedulers
    return _with_argument(place, call, RATES, _number(rate), position=position) if certain else None


def _sets_groups(call: ast.Call) -> bool:
    """Whether groups of parameters bring rates of their own."""
    return any(
        isinstance(key, ast.Constant) and key.value == "lr"
        for node in ast.walk(call)
        if isinstance(node, ast.Dict)
        for key in node.keys
    )


def _optimizer(place: Place, kind: str, other: str, rate: float) -> Change | None:
    """Another class on the same parameters, in a call such as `torch.optim.SGD(…)` of one line."""
    call = _call(place, kind)
    if call is None or not isinstance(call.func, ast.Attribute) or not call.args or _sets_groups(call):
        return None
    if call.lineno != call.end_lineno or isinstance(call.args[0], ast.Starred):
        return None
    text = f"{ast.unparse(call.func.value)}.{other}({ast.unparse(call.args[0])}, lr={_number(rate)})"
    return _replaced(place, call, text)


def _shuffled(place: Place) -> Change | None:
    call = _call(place, "DataLoader")
    if call is None or len(call.args) > 2 or any(word.arg in ORDERED_BY for word in call.keywords):
        return None
    value = _argument(call, ("shuffle",), None)
    if value is not None and not (isinstance(value, ast.Constant) and not value.value):
        return None
    return _with_argument(place, call, ("shuffle",), "True", position=2)


def _unsigned(place: Place) -> Change | None:
    """A statement without its minus sign, where it has one."""
    found = source.negations_at(source.tree_of(str(place.file)), place.line or 0)
    if len(found) != 1:
        return None
    begin = found[0].col_offset
    return _written(place, found[0].lineno, begin, begin + 1, "")


def _averaged(place: Place) -> Change | None:
    """A mean in place of a sum, where the reduction is given by name."""
    tree = source.tree_of(str(place.file))
    found = [
        word.value
        for call in source.calls_in(tree)
        if source.covers(call, place.line or 0)
        for word in call.keywords
        if word.arg == "reduction" and isinstance(word.value, ast.Constant) and word.value.value == "sum"
    ]
    return _replaced(place, found[0], '"mean"') if len(found) == 1 else None


# --- lines that are missing
# ---------------------------------------------------------------------------------------------------------------------


def _clearing(place: Place, record: Record) -> Change | None:
    """`optimizer.zero_grad()` above the backward pass, where each step has one, in the function that steps."""
    name, step = record.names.get("step"), record.lines.get("step")
    if name is None or step is None or (step.file, step.names) != (place.file, place.names):
        return None
    if record.backwards != record.steps or len(record.optimizers) != 1:
        return None
    statement = source.statement_at(source.tree_of(str(place.file)), place.line or 0)
    if not isinstance(statement, ast.Expr) or not source.calls_in(statement, "backward"):
        return None
    return _above(place, statement, f"{name}.zero_grad()")


def _eval_mode(place: Place, record: Record) -> Change | None:
    """`model.eval()` above the block without gradients, where the loop tells the model to train after it."""
    name = record.names.get("validation")
    if name is None or record.learnt_untold or place != record.lines.get("validation"):
        return None
    for statement in source.around(source.tree_of(str(place.file)), place.line or 0):
        if isinstance(statement, ast.With) and any(_no_gradients(item.context_expr) for item in statement.items):
            return _above(place, statement, f"{name}.eval()")
    return None


def _no_gradients(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and source.name_of(expression) in WITHOUT_GRADIENTS


def _above(place: Place, statement: ast.stmt, text: str) -> Change | None:
    line = source.line_of(str(place.file), statement.lineno)
    indent = line[: len(line) - len(line.lstrip())]
    if statement.col_offset != len(indent):  # another statement stands before it on its line
        return None
    return Change(str(place.file), statement.lineno, "", indent + text)


# --- text
# ---------------------------------------------------------------------------------------------------------------------


def _replaced(place: Place, node: ast.expr, text: str) -> Change | None:
    if node.lineno != node.end_lineno or node.end_col_offset is None:
        return None
    return _written(place, node.lineno, node.col_offset, node.end_col_offset, text)


def _number(value: float) -> str:
    return repr(float(f"{value:.6g}"))


def _written(place: Place, line: int, begin: int, end: int, text: str) -> Change | None:
    """A line with bytes `begin` to `end` replaced; None where that changes nothing, or leaves what can't be parsed."""
    file = str(place.file)
    before = source.line_of(file, line)
    letters = before.encode()
    after = (letters[:begin] + text.encode() + letters[end:]).decode()
    if after == before or not _parses(file, line, after):
        return None
    return Change(file, line, before, after)


def _parses(file: str, line: int, text: str) -> bool:
    lines = linecache.getlines(file)
    try:
        ast.parse("".join([*lines[: line - 1], text + "\n", *lines[line:]]))
    except (SyntaxError, ValueError):
        return False
    return True
