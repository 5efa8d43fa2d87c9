"""The plan of the house: rooms in an order, and an arrow only ever points down it (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HALL = (
    "__init__",
    "actions",
    "check",
    "clock",
    "coverage",
    "depth",
    "errors",
    "examined",
    "extras",
    "faults",
    "finding",
    "imports",
    "interrupts",
    "judgement",
    "ladder",
    "metrics",
    "muting",
    "place",
    "plugins",
    "production",
    "progress",
    "raised",
    "safety",
    "seeds",
    "sinks",
    "standing",
    "texts",
    "values",
    "verdict",
)
"""Words that every room may use, and the public faces."""
FACES = {"firstfault", "firstfault.actions", "firstfault.production", "firstfault.safety", "firstfault.sinks"}
ROOMS = (
    "output",
    "hall",
    "charts",
    "target",
    "data",
    "training",
    "runs",
    "logs",
    "tracking",
    "probe",
    "lm",
    "behaviour",
    "subject",
    "checks",
    "ablation",
    "diagnosis",
    "report",
    "monitor",
    "watcher",
    "recording",
    "tasks",
    "flows",
    "cli",
    "__main__",
    "pytest_plugin",
)
"""From the lowest up: a module imports from its own room and from those before it."""
ONE_ROOM = {
    "prefect": {"tasks", "flows"},
    "mlflow": {"tracking"},
    "great_expectations": {"data"},
    "ydata_profiling": {"data"},
    "reportlab": {"report"},
    "matplotlib": set(),
    "wandb": {"probe"},
    "aim": {"probe"},
    "clearml": {"probe"},
}
REGISTRIES = {*FACES, "firstfault.check", "firstfault.ablation.swap"}
"""The only modules that import others of ours by a name made at run time."""


def modules():
    """Every module by its name, with its file."""
    found = {}
    for base, package in (
        (ROOT / "src" / "firstfault", "firstfault"),
        (ROOT / "flows", "firstfault.flows"),
        (ROOT / "tasks", "firstfault.tasks"),
    ):
        for file in sorted(base.rglob("*.py")):
            parts = [package, *file.relative_to(base).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


@pytest.fixture(scope="module")
def sources():
    """The source of every module, by its name."""
    return {name: file.read_text() for name, file in MODULES.items()}


@pytest.fixture(scope="module")
def nodes(sources):
    """Every node of every module's syntax tree, by the module's name."""
    return {name: list(ast.walk(ast.parse(source))) for name, source in sources.items()}


@pytest.fixture(scope="module")
def arrows(nodes):
    """The modules of ours that each imports, by its name."""
    return {
        name: {other for other in imported(found) if other in MODULES and other != name}
        for name, found in nodes.items()
    }


def room(name):
    """The room in which a module lies; None where it lies nowhere in the plan."""
    first = name.split(".")[1] if "." in name else "__init__"
    return "hall" if first in HALL else first if first in ROOMS else None


def imported(nodes):
    """Every name that a module imports, wherever in the file: deferred and for types alone too."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def test_every_module_lies_in_a_room():
    """No module lies flat at the root but the words of the hall."""
    assert not [name for name in MODULES if room(name) is None]


def test_arrows_point_down(arrows):
    """A module imports from its own room and from lower ones; the public faces hand on what lies above."""
    floor = {name: ROOMS.index(room(name)) for name in MODULES if name not in FACES}
    assert not [(name, other) for name in floor for other in arrows[name] - FACES if floor[other] > floor[name]]


def test_no_circles(arrows):
    """No chain of imports comes back to where it began, deferred imports and those for types included."""
    open_, done = [], set()

    def visit(name):
        if name in done:
            return
        assert name not in open_, " → ".join([*open_[open_.index(name) :], name])
        open_.append(name)
        for other in sorted(arrows[name] - FACES):
            visit(other)
        done.add(open_.pop())

    for name in MODULES:
        if name not in FACES:
            visit(name)


def test_each_framework_has_one_room(nodes):
    """Each framework is imported in its room alone, and matplotlib in none."""
    everything = [(name, other) for name, found in nodes.items() for other in imported(found)]
    assert not [
        (name, other) for name, other in everything if room(name) not in ONE_ROOM.get(other.split(".")[0], ROOMS)
    ]


IMPORTERS = ("import_module", "importlib.import_module", "__import__")


def test_nothing_of_ours_is_imported_by_a_string(nodes):
    """Only the registries import modules of ours by a name made at run time, which the other tests can't see."""
    calls = [(name, node) for name, found in nodes.items() for node in found if isinstance(node, ast.Call)]
    by_name = [(name, ast.unparse(call)) for name, call in calls if ast.unparse(call.func) in IMPORTERS]
    assert not [(name, call) for name, call in by_name if "firstfault" in call and name not in REGISTRIES]


SAFETY_IS_NAMED = {
    "firstfault.faults",
    "firstfault.diagnosis",
    "firstfault.watcher.safety_monitor",
    "firstfault.tasks.steps",
    "firstfault.recording.debug_run",
}
"""Its faults, how it is examined, how it is judged while it trains, what its task is called, and where its PDF lies."""


def test_a_step_is_named_where_it_is_declared_alone(nodes):
    """Whoever walks, shows or records the steps takes them as data, so that another one touches few files."""
    named = {
        name
        for name, found in nodes.items()
        for node in found
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "Layer.SAFETY"
    }
    assert {name for name in named if not name.startswith("firstfault.checks.safety.")} == SAFETY_IS_NAMED


OURS = {"subject", "target", "recipe", "record", "trained", "trial", "finding", "verdict", "bench"}
"""Names that stand for objects of ours wherever they are declared."""
OF_USERS = {
    ("firstfault.probe.loss_inputs", "target"),
    ("firstfault.probe.token_targets", "target"),
    ("firstfault.probe.constant_answers", "target"),
}
"""Targets of a loss, in a loop that is the user's."""
UNSEEN = {
    ("firstfault.check", "subject"),
    ("firstfault.subject.memo", "subject"),
    ("firstfault.training.loop", "record"),
}
"""What a room works on that is made in one above it, or by whom it is asked."""


def declared(nodes):
    """Every parameter and attribute with its type, as texts."""
    for node in nodes:
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.arg, ast.unparse(node.annotation)
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target), ast.unparse(node.annotation)


def test_what_is_ours_has_its_type(nodes):
    """`Any` is for what users hand in: a subject, a recipe or a finding has the type that it is of."""
    everything = [(name, what, kind) for name, found in nodes.items() for what, kind in declared(found)]
    found = {(name, what) for name, what, kind in everything if what in OURS and kind in ("Any", "Any | None")}
    assert found <= OF_USERS | UNSEEN


def test_an_ignored_type_says_what_is_wrong_with_it(sources):
    """Every `type: ignore` names the error that it is for."""
    lines = [(name, line) for name, source in sources.items() for line in source.splitlines()]
    assert not [(name, line) for name, line in lines if "type: ignore" in line.replace("type: ignore[", "")]


OF_LOOKS = {"charts", "report", "output", "logs", "monitor"}
"""Rooms whose numbers are sizes of pictures, bounds of memory or seconds of a wait; what decides has its reason too."""
OF_A_NUMBER = (ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context)


def is_number(value):
    """Whether an expression is a number, several, or a sum of them, all written out."""
    parts = [value.value for value in ast.walk(value) if isinstance(value, ast.Constant)]
    plain = all(isinstance(part, OF_A_NUMBER) for part in ast.walk(value))
    return plain and bool(parts) and all(type(part) in (int, float) for part in parts)


def numbers_without_a_reason(source):
    """The module's constants that are numbers, and have no docstring below, and no comment beside or above."""
    body, lines = ast.parse(source).body, source.splitlines()
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if not (isinstance(node, ast.Assign) and is_number(node.value) and ast.unparse(node.targets[0]).isupper()):
            continue
        below = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        above = lines[node.lineno - 2].startswith("#") and node.lineno > 1
        if not below and not above and "#" not in "".join(lines[node.lineno - 1 : node.end_lineno]):
            yield ast.unparse(node)


def test_a_number_says_why_it_is_what_it_is(sources):
    """Whoever wants to change a number that a verdict may depend on reads in one line what lies on either side."""
    found = {name: list(numbers_without_a_reason(source)) for name, source in sources.items()}
    assert not {name: numbers for name, numbers in found.items() if numbers and room(name) not in OF_LOOKS}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("FOLDS = 4\n", ["FOLDS = 4"]),
        ("LOW, HIGH = -1, 2 * 3.0\n", ["LOW, HIGH = (-1, 2 * 3.0)"]),
        ("FOLDS = 4  # a quarter is held out\n", []),
        ('FOLDS = 4\n"""A quarter is held out."""\n', []),
        ("# A quarter is held out.\nFOLDS = 4\n", []),
        ('NAME = "x"\nON = True\nBOTH = NAME + NAME\n', []),
    ],
)
def test_a_reason_is_a_comment_or_a_docstring(source, found):
    """A bare number is found, alone or among several; one with its reason, and what is no number, are not."""
    assert list(numbers_without_a_reason(source)) == found
