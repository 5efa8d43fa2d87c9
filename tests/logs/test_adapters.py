"""The ids on lines of Loguru and structlog, in their own outputs and in the file of a log."""

import io
import json

import pytest

from firstfault import logs
from firstfault.logs.trace_context import begin

loguru = pytest.importorskip("loguru", reason="Loguru is not installed: pip install -e '.[dev]'")
structlog = pytest.importorskip("structlog", reason="structlog is not installed: pip install -e '.[dev]'")


@pytest.fixture
def span():
    with logs.bound(run="r1", stage="training", trace=(span := begin())):
        yield span


@pytest.fixture
def logger():
    loguru.logger.remove()
    loguru.logger.configure(patcher=logs.loguru_ids)
    yield loguru.logger
    loguru.logger.remove()
    loguru.logger.configure(patcher=None, extra={})


def test_loguru_has_the_ids_in_its_own_lines(logger, span):
    """They are in `extra`, beside what was bound to it."""
    written = io.StringIO()
    logger.add(written, serialize=True)
    logger.bind(user_group="b").info("hi")
    extra = json.loads(written.getvalue())["record"]["extra"]
    assert extra == {
        "trace.id": span.trace_id,
        "span.id": span.span_id,
        "run_id": "r1",
        "stage": "training",
        "user_group": "b",
    }


def test_loguru_writes_into_the_file_of_a_log(logger, span, make):
    """With its levels, masked, and from another thread with the ids of where it was called."""
    log, _, lines = make()
    logger.add(log.handler, format=logs.loguru_format, enqueue=True)
    secret = "hunter2secret"  # a value that Loguru's own tracebacks would show
    logger.bind(n=3).success("to ada@mail.org")
    try:
        {}[len(secret)]
    except KeyError:
        logger.exception("it failed")
    logger.complete()
    done, failed = lines()
    assert done["log.level"] == "success" and "ada@" not in done["message"]
    assert done["trace.id"] == span.trace_id and done["labels"] == {"n": 3, "run_id": "r1", "stage": "training"}
    assert failed["message"] == "it failed" and failed["error.type"] == "KeyError"
    assert "hunter2" not in log.path.read_text()


def test_structlog_has_the_ids_in_its_own_lines(span):
    """What was given itself stays."""
    written = io.StringIO()
    own = structlog.wrap_logger(
        structlog.PrintLogger(written), processors=[logs.structlog_ids, structlog.processors.JSONRenderer()]
    )
    own.info("hi", stage="mine")
    line = json.loads(written.getvalue())
    assert line == {"event": "hi", "trace.id": span.trace_id, "span.id": span.span_id, "run_id": "r1", "stage": "mine"}


def test_structlog_writes_into_the_file_of_a_log(span, make):
    """Through standard logging, its fields as labels, masked."""
    _, logger, lines = make()
    own = structlog.wrap_logger(
        logger,
        processors=[logs.structlog_ids, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    own.warning("slow", took=7, email="ada@mail.org")
    [line] = lines()
    assert (line["message"], line["trace.id"]) == ("slow", span.trace_id)
    assert line["labels"]["took"] == 7 and line["labels"]["email"].startswith("e-mail •")
    assert line["labels"]["run_id"] == "r1" and line["event.dataset"] == "shop.training"
