"""Folders on a disk: in shared memory, a script that is run again may write where it likes."""

import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path():
    """A folder of the test's own, where the user's files usually lie."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()
