"""`@monitored`: what a call leaves behind, and that the call itself stays what it was."""

import asyncio
import datetime
import decimal
import http
import inspect

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import firstfault
from firstfault.errors import FirstfaultError
from firstfault.logs import context, trace_context
from firstfault.monitor import cut, describe, mark, monitored, request_id, stage
from firstfault.monitor.record import Outcome
from firstfault.monitor.snapshot import PART, hash_of, snapshot

KEY = b"k" * 32


def test_a_call_is_recorded_with_its_stages_and_cuts(recorder, options):
    """One record has the raw request, every cut, the stages that were marked, and what was said of the answer."""

    @monitored(**options)
    def predict(row):
        with stage("preprocess"):
            x = cut("tensor", np.array([row["age"], row["income"]]))
        with stage("model"):
            cut("logits", torch.tensor([0.0, 2.0]))
        mark("income_is_high")
        describe(version="8", arm="canary")
        return {"label": int(x.sum() > 0), "id": request_id()}

    answer = predict({"age": 30.0, "income": 9.5})
    (record,) = recorder.written()
    assert record.request_id == answer["id"] == record.span_id
    assert (record.way, record.model, record.version, record.arm) == ("function", "churn", "8", "canary")
    assert record.values["raw"] == {"age": 30.0, "income": 9.5}
    assert record.values["tensor"] == [30.0, 9.5]
    assert {record.cuts.raw, record.cuts.tensor, record.cuts.logits, record.cuts.label} - {None} and record.cuts.label
    assert record.stages.total >= record.stages.preprocess + record.stages.model > 0
    assert record.confidence == pytest.approx(float(torch.softmax(torch.tensor([0.0, 2.0]), 0).max()))
    assert record.marks == ("income_is_high",) and "marked" in record.reasons


def test_it_is_found_where_one_looks_for_it():
    """`firstfault.monitored` is the decorator."""
    assert firstfault.monitored is monitored


def test_what_a_function_raises_is_raised_and_recorded(recorder, options):
    """The same exception comes out, and its traceback is in the record."""
    error = KeyError("income")

    @monitored(**options)
    def predict(row):
        raise error

    with pytest.raises(KeyError) as raised:
        predict({"age": 1})
    (record,) = recorder.written()
    assert raised.value is error
    assert (record.outcome, record.status, record.reasons[0]) == ("error", 500, "error")
    assert record.error.endswith("KeyError: 'income'\n")


def test_coroutines_are_recorded_apart(recorder, options):
    """Two calls that run at the same time keep their own ids, cuts and traces, which their log lines carry."""

    @monitored(**options)
    async def predict(number):
        cut("tensor", number * 10)
        await asyncio.sleep(0)
        return request_id(), context.ids()

    async def both():
        return await asyncio.gather(predict(1), predict(2))

    assert inspect.iscoroutinefunction(predict)
    answers = asyncio.run(both())
    found = {record.request_id: record for record in recorder.written()}
    for number, (name, ids) in enumerate(answers, 1):
        assert (found[name].values["raw"], found[name].values["tensor"]) == (number, number * 10)
        assert (found[name].trace_id, "serving") == (ids["trace.id"], ids["stage"])
    assert context.ids() == {}


def test_a_call_belongs_to_the_trace_around_it(recorder, options):
    """A trace that is open when a function is called is that of its record."""
    around = trace_context.begin()
    token = trace_context.current.set(around)
    monitored(**options)(len)("abc")
    trace_context.current.reset(token)
    (record,) = recorder.written()
    assert record.trace_id == around.trace_id and record.span_id != around.span_id


def test_a_method_is_recorded_without_its_object(recorder, options):
    """The model whose method is called is not part of the request."""

    class Model:
        weights = np.ones(10)

        @monitored(**options)
        def predict(self, rows, scale=1):
            return [row * scale for row in rows]

    assert Model().predict([1, 2], scale=3) == [3, 6]
    (record,) = recorder.written()
    assert record.values["raw"] == {"0": [1, 2], "scale": 3}


def test_a_class_may_be_sent_to_another_process(recorder, options):
    """As Ray does with a deployment and MLflow with a model: its monitored methods are recorded there."""

    class Deployment:
        factor = 3

        @monitored(**options)
        def predict(self, number):
            return self.factor * number

    sent = cloudpickle.loads(cloudpickle.dumps(Deployment()))
    assert sent.predict(2) == 6
    (record,) = recorder.written()
    assert (record.values["raw"], record.values["label"]) == (2, 6)


def test_outside_of_a_request_nothing_is_noted():
    """A function that marks stages and cuts can be called by a test as it is."""
    with stage("model"):
        assert cut("tensor", 3) == 3
    mark("x")
    describe(confidence=0.5)
    assert request_id() is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: monitored(modle="x"), "did you mean model"),
        (lambda: monitored(sample=2.0), "sample must lie between"),
        (lambda: monitored(sample="much"), "Expected `float`"),
        (lambda: cut("middle", 1), "a cut must be one of raw, tensor, logits, label"),
        (lambda: describe(arm="blue"), "an arm must be one of"),
        (lambda: stage("think").__enter__(), "a stage must be one of"),
    ],
)
def test_a_bad_call_gets_a_sentence(call, said):
    """What was expected and what came is said when a monitor is set up, not when it serves."""
    with pytest.raises(FirstfaultError, match=said):
        call()


class Wild:
    """A value whose own methods raise."""

    def __repr__(self):
        raise RuntimeError

    columns = property(lambda self: 1 / 0)
    iloc = None


class Changing(dict):
    """A mapping that another thread fills while it is looked at."""

    def items(self):
        raise RuntimeError("dictionary changed size during iteration")


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((300, 300)),
        torch.zeros(100_000),
        "x" * 200_000,
        list(range(100_000)),
        Wild(),
        object(),
        {"deep": [[[[[[[[[[1]]]]]]]]]]},
        torch.nn.Linear(2, 2),
        [[1.0] * 1_000] * 1_000,
        [{"text": "x" * 60_000}] * 1_000,
        {"k" * 70_000: 1},
        [np.zeros(8_000)] * 1_000,
        np.array(["a"] * 100_000, dtype=object),
        pd.DataFrame(np.zeros((2_000, 300))),
        pa.table({"a": range(100_000)}),
        [10**5_000],
        Changing(a=1),
        torch.empty(3, device="meta"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_large_or_wild_value_is_represented_by_a_part(value):
    """Its snapshot is small, says that it is a part, and comes out the same again."""
    copy = snapshot(value)
    assert hash_of(copy, KEY) == hash_of(snapshot(value), KEY)
    assert hash_of(copy, KEY).startswith("~") and len(repr(copy)) < 300_000 and PART in repr(copy)


@pytest.mark.parametrize(
    ("value", "copy"),
    [
        (datetime.date(2026, 11, 30), "2026-11-30"),
        (decimal.Decimal("1.10"), "1.10"),
        (Outcome.OK, "ok"),
        (http.HTTPStatus.OK, 200),
        ({"a": np.float64(1.5)}, {"a": 1.5}),
        (10**30, "1" + "0" * 30),
        (pd.DataFrame({"a": [1], "b": ["x"]}), {"columns": ["a", "b"], "rows": [[1, "x"]]}),
    ],
)
def test_what_json_has_no_type_for_is_told_as_json_would(value, copy):
    """Dates, decimals, members of an enumeration, numbers of numpy and frames are plain values in a record."""
    assert snapshot(value) == copy


def test_a_hash_tells_values_apart_and_not_their_order_of_fields():
    """Equal values have equal hashes; another type, shape or number has another; and so has another store's key."""
    one = snapshot({"a": np.arange(4.0), "b": True})
    assert hash_of(one, KEY) == hash_of(snapshot({"b": True, "a": np.arange(4.0)}), KEY)
    others = [np.arange(4), np.arange(4.0).reshape(2, 2), np.array([0, 1, 2, 4.0])]
    assert len({hash_of(snapshot({"a": other, "b": True}), KEY) for other in others} | {hash_of(one, KEY)}) == 4
    assert hash_of(one, KEY) != hash_of(one, b"o" * 32)


def test_a_value_is_taken_as_it_was(recorder, options):
    """What the function changes afterwards does not change the record."""

    @monitored(**options)
    def predict(row):
        row["age"] = 99
        return row

    predict({"age": 1})
    (record,) = recorder.written()
    assert record.values["raw"] == {"age": 1}
