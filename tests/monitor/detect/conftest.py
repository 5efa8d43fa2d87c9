"""A service, and a detector that has learned what is usual of it."""

import copy

import pytest
from credit import Service

from firstfault.monitor.detect.detector import Detector


@pytest.fixture(scope="session")
def learned():
    """A service after a thousand usual requests, and the detector that learned from them."""
    service = Service()
    return service, Detector(baseline=service.requests(1_000))


@pytest.fixture
def service(learned):
    """The service as it goes on; of each test's own."""
    return copy.deepcopy(learned[0])


@pytest.fixture
def detector(learned):
    """The detector as it goes on; of each test's own."""
    return copy.deepcopy(learned[1])
