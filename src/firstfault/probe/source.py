"""The user's source as a tree: which calls, statements and classes stand on which line."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from types import FunctionType

NESTS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def remember(file: str) -> None:
    """Read a file now: a person may edit it while it runs."""
    linecache.getlines(file)


def line_of(file: str, number: int) -> str:
    """A line as it was written, without its end; empty where there is none."""
    return linecache.getline(file, number).rstrip("\r\n")


def tree_of(file: str) -> ast.Module:
    """The file as a tree; one without statements where it can't be read or parsed."""
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[])


def covers(node: ast.AST, line: int) -> bool:
    """Whether a node begins at that line or before it, and ends there or after it."""
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    return bool(first <= line <= (last or 0))


def statement_at(tree: ast.Module, line: int) -> ast.stmt | None:
    """The innermost statement on a line; None where there is none."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and covers(node, line)]
    return max(found, key=lambda node: (node.lineno, -(node.end_lineno or 0)), default=None)


def negations_at(tree: ast.Module, line: int) -> list[ast.UnaryOp]:
    """The minus signs before anything else than a number, in the statement at a line."""
    statement = statement_at(tree, line)
    return [
        node
        for node in (ast.walk(statement) if statement is not None else ())
        if isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and not isinstance(node.operand, ast.Constant)
    ]


def around(tree: ast.Module, line: int) -> Iterator[ast.stmt]:
    """The statements around a line, the innermost first, up to the function that it is in."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and covers(node, line)]
    for node in sorted(found, key=lambda node: (-node.lineno, node.end_lineno or 0)):
        if isinstance(node, NESTS):
            return
        yield node


def name_of(call: ast.Call) -> str:
    """What is called, without what it lies in: `SGD` of `torch.optim.SGD(…)`."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def calls_in(tree: ast.AST, *names: str) -> list[ast.Call]:
    """The calls of those names, or all."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if not names or name_of(call) in names]


def call_at(tree: ast.Module, line: int, name: str) -> ast.Call | None:
    """The call of that name on a line; None where there are none or several."""
    found = [call for call in calls_in(tree, name) if covers(call, line)]
    return found[0] if len(found) == 1 else None


def file_of(kind: type) -> str | None:
    """The file of a class, by the code of its own methods; None where it has none."""
    codes = (value.__code__ for value in vars(kind).values() if isinstance(value, FunctionType))
    return next((code.co_filename for code in codes if not code.co_filename.startswith("<")), None)


def line_of_definition(tree: ast.Module, name: str, first: int) -> int:
    """The line of a function's `def`, given that of its first decorator."""
    found = (node.lineno for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    return min((line for line in found if line >= first), default=first)


def class_in(tree: ast.Module, name: str) -> ast.ClassDef | None:
    """The definition of a class; None where there are none or several of that name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
    return found[0] if len(found) == 1 else None


def returns_of(definition: ast.ClassDef, method: str) -> list[ast.Return]:
    """The statements with which a method of a class returns something."""
    bodies = [node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == method]
    return [node for body in bodies for node in ast.walk(body) if isinstance(node, ast.Return) and node.value]


def assigned_in(definition: ast.AST, attribute: str) -> list[ast.stmt]:
    """The statements that set `self.<attribute>`."""
    return [
        node
        for node in ast.walk(definition)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for goal in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(goal, ast.Attribute) and ast.unparse(goal) == f"self.{attribute}"
    ]
