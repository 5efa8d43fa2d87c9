"""The dependency direction is cli → flows → tasks → library, and never back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "src" / "firstfault").rglob("*.py"))
EVERYTHING = [*LIBRARY, *sorted((ROOT / "flows").glob("*.py")), *sorted((ROOT / "tasks").glob("*.py"))]
EDGES = {"cli.py", "console.py"}


def imports(path):
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_does_not_reach_up(path):
    """No file of the library imports Prefect, and only the command line calls flows."""
    for name in imports(path):
        assert name.split(".")[0] != "prefect"
        if path.name not in EDGES:
            assert not name.startswith(("firstfault.flows", "firstfault.tasks"))


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_tracking_imports_mlflow(path):
    """MLflow is imported under tracking/ alone (console warms the import up)."""
    if "tracking" not in path.parts and path.name not in EDGES:
        assert "mlflow" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").glob("*.py")), ids=lambda path: path.name)
def test_tasks_do_not_call_flows(path):
    """Tasks know the library only."""
    assert not [name for name in imports(path) if name.startswith("firstfault.flows")]


@pytest.mark.parametrize("path", sorted((ROOT / "src" / "firstfault" / "checks").rglob("*.py")), ids=lambda path: path.stem)
def test_checks_know_only_what_lies_below_them(path):
    """A check does not import the ladder, the verdict, ablation, tracking or the report."""
    above = ("ladder", "verdict", "ablation", "tracking", "report", "session", "cli", "console")
    for name in imports(path):
        assert not name.startswith(tuple(f"firstfault.{module}" for module in above)), name
