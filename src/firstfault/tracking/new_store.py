"""The file of a new MLflow store, made in memory: MLflow's hundreds of migrations each wait for a disk otherwise."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from firstfault.imports import uncollected
from firstfault.output.whole_files import DRAFT

MEMORY = Path("/dev/shm")
"""Where Linux has files in memory."""
OF_FILE = "sqlite:///"


def make_store(uri: str) -> None:
    """Make the SQLite file that `uri` names, with MLflow's tables and nothing in them, unless there is one.

    It appears whole. What can't be made so is left to MLflow, which makes it where it lies.
    """
    path = Path(uri.removeprefix(OF_FILE).partition("?")[0])
    if not uri.startswith(OF_FILE) or path.exists() or not MEMORY.is_dir():
        return
    with contextlib.suppress(Exception), tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        made = Path(folder) / "mlflow.db"
        _fill(f"{OF_FILE}{made}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _appear(made, path)


def _fill(uri: str) -> None:
    with uncollected():
        from mlflow.store.db.utils import _initialize_tables
        from sqlalchemy import create_engine

    engine = create_engine(uri)
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()


def _appear(made: Path, path: Path) -> None:
    """Put a file in its place at once, and only where none has come to lie there meanwhile."""
    draft = path.with_name(f"{DRAFT}{os.getpid()}-{path.name}")
    try:
        shutil.copyfile(made, draft)
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
