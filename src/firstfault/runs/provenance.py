"""Where a run comes from: the commit of the user's code, the versions it ran on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "firstfault",
    "torch",
    "numpy",
    "pandas",
    "scikit-learn",
    "mlflow",
    "prefect",
    "great-expectations",
    "optuna",
)


def git_sha(folder: Path) -> str | None:
    """The commit checked out in `folder`, marked when the tree differs from it; None outside git."""
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return f"{head}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
