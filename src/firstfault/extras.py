"""What is not part of the core: which extra brings which module, and the error that says so where one is missing."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec

from firstfault.errors import MissingExtra, user_frame

P = ParamSpec("P")

EXTRA_OF: Mapping[str, str] = {
    "aim": "aim",
    "cleanlab": "pipeline",
    "clearml": "clearml",
    "fairlearn": "pipeline",
    "great_expectations": "pipeline",
    "lightning": "lightning",
    "mlflow": "pipeline",
    "opentelemetry.exporter.otlp.proto.http": "otel",
    "optuna": "pipeline",
    "peft": "peft",
    "prefect": "pipeline",
    "prometheus_client": "metrics",
    "psycopg2": "postgres",
    "ray": "ray",
    "reportlab": "pipeline",
    "sqlalchemy": "sql",
    "tensorboard": "tensorboard",
    "transformers": "hf",
    "wandb": "wandb",
    "ydata_profiling": "pipeline",
}
"""Each optional module with the smallest extra that brings it."""
CORE: Mapping[str, str] = {
    "fsspec": "fsspec",
    "jinja2": "jinja2",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "pandas": "pandas",
    "phonenumbers": "phonenumberslite",
    "PIL": "pillow",
    "psutil": "psutil",
    "py3langid": "py3langid",
    "pyarrow": "pyarrow",
    "rich": "rich",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "stdnum": "python-stdnum",
    "torch": "torch",
    "torchinfo": "torchinfo",
    "yaml": "pyyaml",
}
"""Each module that firstfault itself brings with its package: one may be absent, as after `pip install --no-deps`."""


def needs_extra(module: str, feature: str) -> MissingExtra:
    """The error of a feature whose optional module is not installed."""
    brings = CORE.get(module) or f"'firstfault[{EXTRA_OF[module]}]'"
    return MissingExtra(f"{feature} needs {module}, which is not installed: pip install {brings}")


def missing_extra(error: BaseException, feature: str, root: Path | None = None) -> MissingExtra | None:
    """The same from what an import raised.

    None for any other error, and for an import in the user's own files below `root`.
    """
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if name is None or name not in {**EXTRA_OF, **CORE} or (root is not None and user_frame(error, root)):
        return None
    return needs_extra(name, feature)


def installed(module: str) -> bool:
    """Whether an optional module is installed; it is not imported."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return False
    return found is not None and found.origin is not None  # a folder of that name, such as W&B's own, is no module


def expect_installed(module: str, feature: str) -> None:
    """Expect the optional module of a feature, which is not imported.

    Raises:
        MissingExtra: when it is not installed.
    """
    if not installed(module):
        raise needs_extra(module, feature)


def optional_files(write: Callable[P, tuple[str, ...]]) -> Callable[P, tuple[str, ...]]:
    """Let a function that writes files to look at write none where its library is not installed.

    What was measured stands without them.
    """

    @functools.wraps(write)
    def written(*arguments: P.args, **options: P.kwargs) -> tuple[str, ...]:
        try:
            return write(*arguments, **options)
        except ModuleNotFoundError as error:
            if missing_extra(error, write.__name__) is None:
                raise
            return ()

    return written
