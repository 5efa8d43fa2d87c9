"""How many workers there are, the order of the tests' files, and where their folders lie.

One more worker than there are processors works while others wait for servers and browsers. Files whose tests take
longest are begun first, so that no worker is left with one of them at the end. Folders lie in memory where there is
enough of it: some hundred databases are made in them, each of which waits for a disk for seconds.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from firstfault.imports import uncollected

LONGEST = (
    "services/test_up.py",
    "cli/test_cli.py",
    "cli/test_endings.py",
    "watcher/test_rerun.py",
    "faults/test_examples.py",
    "services/test_owner.py",
    "watcher/test_parallel_training.py",
    "checks/training/test_reproducibility.py",
    "data/test_privacy_of_a_run.py",
    "test_plugins.py",
)
TESTS = Path(__file__).parent
MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 2 * 2**30
"""The whole suite leaves some hundred megabytes there."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Let all workers have their folders in memory, unless the caller has named a place."""
    if config.option.basetemp is None and not hasattr(config, "workerinput") and _has_room(MEMORY):
        config.option.basetemp = folder = tempfile.mkdtemp(prefix="firstfault-tests-", dir=MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """As many as `-n auto` starts."""
    return len(os.sched_getaffinity(0)) + 1


def _has_room(place):
    """Whether much can be written there, and programs be run."""
    if not place.is_dir():
        return False
    told = os.statvfs(place)
    return told.f_bavail * told.f_frsize >= ENOUGH_BYTES and not told.f_flag & os.ST_NOEXEC


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import all test modules, and what they import, as the command line imports: it takes two thirds of the time."""
    with uncollected():
        return (yield)


def pytest_collection_modifyitems(items):
    """Sort by file alone: within one, and among the others, the order stays."""
    place = {TESTS / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
