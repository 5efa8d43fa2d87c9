"""A module of the core that is not installed is named in a sentence, by whatever command needs it."""

import subprocess
import sys

import pytest
from command_line import environment

WITHOUT = """
import sys

module = sys.argv.pop(1)

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from firstfault.cli.app import main

main()
"""
"""The command line, where the module that is its first argument can't be imported."""
ARRAYS = """
import numpy as np
from torch import nn
from firstfault import Data, Target

pair = np.random.default_rng(0).normal(size=(60, 2)).astype("float32"), np.arange(60) % 2
target = Target(name="arrays", data=Data(train=pair), model=lambda: nn.Linear(2, 2))
"""


def without(module, folder, *arguments):
    """Run the command line in a folder without a module."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, module, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("command", [["debug", "target.py"], ["sweep", "target.py"], ["expect", "target.py"]])
def test_a_command_that_needs_pandas_says_so(tmp_path, command):
    """One sentence with what to install, exit code 2, no traceback."""
    (tmp_path / "target.py").write_text(ARRAYS)
    done = without("pandas", tmp_path, *command)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith("needs pandas, which is not installed: pip install pandas")


def test_a_check_that_needs_torchinfo_is_skipped(tmp_path):
    """The run goes on without it, and the finding names what to install."""
    (tmp_path / "target.py").write_text(ARRAYS)
    done = without(
        "torchinfo", tmp_path, "debug", "target.py", "--only", "model", "--depth", "quick", "--json", "v.json"
    )
    told = (tmp_path / "v.json").read_text()
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert "needs torchinfo, which is not installed: pip install torchinfo" in told and '"error"' not in told


def test_commands_that_need_neither_work(tmp_path):
    """A target is written, and the state is told."""
    assert without("pandas", tmp_path, "init", "a").returncode == 0
    assert without("pandas", tmp_path, "status").returncode == 0
