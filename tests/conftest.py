"""Files whose tests take longest are begun first, so that no worker is left with one of them at the end."""

from pathlib import Path

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


def pytest_collection_modifyitems(items):
    """Sort by file alone: within one, and among the others, the order stays."""
    place = {TESTS / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
