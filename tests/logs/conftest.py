"""A log of an own logger in a temporary folder, and its lines as they were written."""

import itertools
import json
import logging

import pytest

from firstfault import logs

NAMES = itertools.count()


@pytest.fixture
def make(tmp_path):
    """A function that sets up a log for a logger of its own: the log, the logger, and what reads the lines."""
    opened = []

    def made(folder=None, **settings):
        logger = logging.getLogger(f"shop{next(NAMES)}")
        logger.propagate = False
        log = logs.setup(
            folder or tmp_path, logger=logger.name, **{"service": "shop", "key": "of the test", **settings}
        )
        opened.append(log)

        def lines():
            files = sorted(log.path.parent.glob("shop*.jsonl"), key=lambda file: file == log.path)
            return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]

        return log, logger, lines

    yield made
    for log in opened:
        log.close()
