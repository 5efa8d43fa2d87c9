"""The command line: as a process of its own, without what other tests have set, and in this process."""

import os
import signal
import subprocess
import sys

import pytest

from firstfault.cli import app as cli

COMMAND = [sys.executable, "-m", "firstfault"]
# what is started here heeds it, even if the suite runs in the background
signal.signal(signal.SIGINT, signal.default_int_handler)


def environment(**more):
    """The environment without the variables of Prefect, MLflow and firstfault, and with some more."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FIRSTFAULT_"))
    }
    return kept | more


def run_in(folder, *arguments, **more):
    """Run the command line in a folder to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def call_here(monkeypatch, capsys, *arguments):
    """Run the command line in this process: exit code, standard output, standard error.

    What it says of its state to libraries, by the environment, is forgotten behind it.
    """
    monkeypatch.setattr(sys, "argv", ["firstfault", *map(str, arguments)])
    before = dict(os.environ)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return ended.value.code or 0, *capsys.readouterr()


def begin(folder, *arguments, **more):
    """Begin it in a folder, with both its streams in one."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
