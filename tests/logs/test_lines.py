"""What a line holds: ECS fields, ids, masked values, and whatever odd objects it is given."""

import contextvars
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest

from firstfault import logs
from firstfault.logs.labels import MOST_LETTERS
from firstfault.logs.line import MOST_MESSAGE, MOST_TRACE
from firstfault.logs.trace_context import begin


class Odd:
    """Can't be shown."""

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def test_a_line_has_the_fields_of_ecs(make):
    """Time, level, logger, message, service, data set, event, origin and labels have the names that ECS gives them."""
    _, logger, lines = make()
    before = datetime.now(UTC)
    logger.warning("took %d ms", 7, extra={"event": "slow", "path": "/p", "http.response.status_code": 503})
    [line] = lines()
    told = {name: line[name] for name in ("log.level", "message", "service.name", "event.dataset", "event.action")}
    assert told == {
        "log.level": "warning",
        "message": "took 7 ms",
        "service.name": "shop",
        "event.dataset": "shop.log",
        "event.action": "slow",
    }
    assert before <= datetime.fromisoformat(line["@timestamp"]) <= datetime.now(UTC)
    assert line["log.logger"] == logger.name and line["log.origin.file.name"] == "test_lines.py"
    assert line["http.response.status_code"] == 503 and line["labels"] == {"path": "/p"}
    assert list(line)[:4] == ["@timestamp", "log.level", "message", "ecs.version"]  # as ECS logging asks


def test_a_line_carries_the_ids_of_where_it_was_logged(make):
    """Trace, run, incident and stage are those of the innermost block, and gone behind it."""
    _, logger, lines = make()
    span = begin()
    with logs.bound(run="r1", stage="data"):
        with logs.bound(trace=span, stage="serving", incident="i1"):
            logger.info("inside")
        logger.info("outside")
    logger.info("behind")
    inside, outside, behind = lines()
    assert (inside["trace.id"], inside["span.id"]) == (span.trace_id, span.span_id)
    assert inside["labels"] == {"run_id": "r1", "incident_id": "i1", "stage": "serving"}
    assert inside["event.dataset"] == "shop.serving"
    assert outside["labels"] == {"run_id": "r1", "stage": "data"} and "trace.id" not in outside
    assert "labels" not in behind


def test_a_block_may_end_in_another_thread():
    """A trainer's callback that ends a block elsewhere than it began is no error."""

    def begin_here_and_end_there():
        block = logs.bound(run="r")
        block.__enter__()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(block.__exit__, None, None, None).result()

    assert not contextvars.copy_context().run(begin_here_and_end_there)


PERSONAL = {
    "message": lambda logger: logger.info("mail from %s", "ada.lovelace@mail.org"),
    "label by pattern": lambda logger: logger.info("x", extra={"note": "call +41 44 668 18 00"}),
    "label by name": lambda logger: logger.info("x", extra={"customer_name": "Ada Lovelace"}),
    "nested": lambda logger: logger.info("x", extra={"body": {"user": {"email": "ada.lovelace@mail.org"}}}),
    "long list": lambda logger: logger.info("x", extra={"all": ["ada.lovelace@mail.org"] * 200}),
    "cut in two": lambda logger: logger.info("y" * (MOST_MESSAGE - 9) + " ada.lovelace@mail.org"),
    "cut behind what was shortened": lambda logger: logger.info(
        "password=" + "p" * 3000 + " z" * ((MOST_MESSAGE + 512 - 3009 - 13) // 2) + " ada.lovelace@mail.org" * 90
    ),
    "cut at the beginning of a long trace": lambda logger: [
        raising(logger, " ada.lovelace@mail.org, +41 44 668 18 00" * 900 + " " * shift) for shift in range(0, 40, 3)
    ],
    "exception": lambda logger: raising(logger, "no row for ada.lovelace@mail.org, +41 44 668 18 00, Mr. Ada Lovelace"),
}
PLANTED = ("lovelace", "668 18 00", "ada.love")


@pytest.mark.parametrize("name", PERSONAL)
def test_personal_data_is_masked(make, name):
    """Wherever a personal value is logged, no file holds it."""
    log, logger, _ = make()
    PERSONAL[name](logger)
    text = log.path.read_text("utf-8").lower()
    assert text and not [value for value in PLANTED if value in text]


def test_equal_values_have_equal_pseudonyms_under_a_key(make, tmp_path):
    """Who is followed stays one person, across logs that share a key; another key gives other names."""
    found = []
    for key, folder in (("a", "1"), ("a", "2"), ("b", "3")):
        _, logger, lines = make(tmp_path / folder, key=key)
        logger.info("from ada@mail.org", extra={"email": "ada@mail.org"})
        [line] = lines()
        found.append((line["message"], line["labels"]["email"]))
    assert found[0] == found[1] != found[2]
    assert found[0][0] == f"from {found[0][1]}"


def raising(logger, text):
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("it failed")


SECRETS = [
    "postgres://bob:hunter2secret@db/x",
    "Authorization: Bearer hunter2secret",
    "{'password': 'hunter2secret'}",
    "api_key=hunter2secret&x=1",
    'client_secret: "hunter2 secret hunter2secret"',
    "AWS AKIAHUNTER2SECRET234",
    "ghp_hunter2secrethunter2secret",
    "sk-hunter2secret-hunter2secret",
    "eyJhunter2secret.eyJhunter2secret.hunter2secret",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2secret\n-----END RSA PRIVATE KEY-----",
    "Cookie: session=hunter2secret; other=hunter2secret",
    "access_token=hunter2secret",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_masked(make, text):
    """Passwords, keys, tokens and logins are in no line, also where an exception quotes them."""
    log, logger, _ = make()
    logger.info("%s", text)
    raising(logger, text)
    logger.info("x", extra={"nested": [text]})
    assert "hunter2" not in log.path.read_text("utf-8").lower()


def test_what_is_no_secret_stays(make):
    """Counts of tokens, settings and file names are told as they are."""
    _, logger, lines = make()
    given = {"max_tokens": 512, "token": "the", "n": 3, "ok": True, "loss": 0.25, "model_name": "resnet", "key": "k7"}
    logger.info("tokens: 512, tokenizer=fast, basic block, version 1.2.3, 2026-11-29", extra=given)
    [line] = lines()
    assert line["message"] == "tokens: 512, tokenizer=fast, basic block, version 1.2.3, 2026-11-29"
    assert line["labels"] == given


def test_an_exception_is_told_by_type_message_and_trace(make):
    """error.* hold what was raised; of a trace that is too long, the end."""
    _, logger, lines = make()
    raising(logger, "bad " + "w" * 2 * MOST_TRACE + " end")
    [line] = lines()
    assert line["error.type"] == "ValueError" and line["error.message"].startswith("bad www")
    assert "end" in line["error.stack_trace"] and len(line["error.stack_trace"]) < MOST_TRACE + 200


ODD = {
    "object": Odd(),
    "nan": float("nan"),
    "huge number": 10**5000,
    "bytes": b"\x00\xff",
    "numpy": np.float32(0.5),
    "array": np.zeros((1000, 1000)),
    "set": {1, 2},
    "date": datetime(2026, 1, 1, tzinfo=UTC),
    "surrogate": "\ud800",
    "line ends": "a\nb\u2028c\x00",
    "keys": {(1, 2): {"deep": {"deeper": {"deepest": {"far": 1}}}}},
    "dots.in.names": 1,
    "large": {str(number): "v" * 500 for number in range(10_000)},
}
LOOPED = {}
LOOPED["itself"] = LOOPED


def test_what_json_cannot_write_is_shown_in_words(make):
    """Any object can be given; the line stays one line of JSON, and small."""
    log, logger, lines = make()
    logger.info("odd", extra={**ODD, "looped": LOOPED})
    logger.info("many", extra={f"label{number}": number for number in range(1_000)})
    logger.info("wrong arguments: %d", "x")
    logger.info(Odd())
    odd, many, wrong, _ = lines()
    assert odd["labels"]["nan"] == "nan" and odd["labels"]["numpy"] == 0.5 and odd["labels"]["bytes"] == "2 bytes"
    assert odd["labels"]["dots_in_names"] == 1
    assert max(len(str(value)) for value in odd["labels"].values()) <= MOST_LETTERS + 100
    assert many["labels"]["left_out"] == 1_000 - 64
    assert "its arguments don't fit it" in wrong["message"]
    assert log.lost == 0


def test_a_huge_message_is_cut(make):
    """A message of ten million letters costs a line of a few thousand, which says how many are left out."""
    log, logger, lines = make()
    logger.info("m" * 10_000_000)
    [line] = lines()
    assert line["message"].endswith(f"… ({10_000_000 - MOST_MESSAGE} letters more)")
    assert log.path.stat().st_size < 2 * MOST_MESSAGE


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"level": "loud"}, "level must be a number or one of .*'loud'"),
        ({"service": "a/b"}, "service must be 1 to 64 letters"),
        ({"rate": 0}, "rate of '\\*' must be a number above 0, but got 0"),
        ({"sample": {"debug": 1.5}}, "sample of 'debug' must be above 0 and at most 1, but got 1.5"),
        ({"keep_days": -1}, "keep_days must be a number above 0, but got -1"),
        ({"key": ""}, "key must have 1 to 64 bytes"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(make, settings, sentence):
    """It says what was expected and what came."""
    with pytest.raises(ValueError, match=sentence):
        make(**settings)


def test_a_log_that_is_set_up_again_takes_the_place_of_the_first(make, tmp_path):
    """A line is written once, and closing leaves the logger as it was."""
    logger = logging.getLogger("shop.twice")
    logger.propagate = False
    logs.setup(tmp_path, service="one", logger=logger.name)
    log = logs.setup(tmp_path, service="two", logger=logger.name)
    logger.info("x")
    log.close()
    assert logger.handlers == [] and logger.level == logging.NOTSET
    assert (tmp_path / "one.jsonl").read_text() == ""
    assert [json.loads(line)["message"] for line in log.path.read_text().splitlines()] == ["x"]
