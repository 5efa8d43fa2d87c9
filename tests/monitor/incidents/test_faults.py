"""Planted incidents and their healthy twins: each is served by real code with one thing broken."""

import copy

import msgspec
import numpy as np
import pytest
import torch
from served import START, Server
from target import rows

from firstfault.checks.training._recent_window import refit
from firstfault.finding import Layer, Status
from firstfault.subject.harm import WORSE_P, harm_beside, lower
from firstfault.subject.offline import offline
from firstfault.verdict import VerdictStatus

ONSET = START + 700


@pytest.fixture(scope="module")
def good(base, settings):
    """The control: healthy answers, labelled."""
    frame, truth = rows(600, 11)
    return Server(offline(base), settings).serve(frame.to_dict("records"), truth)


@pytest.fixture
def bad(base, settings):
    """The records of an incident: `change(row, place)` upstream, and parts of the server replaced."""

    def serve(change=None, *, n=400, seed=12, labelled=True, batch=1, cuts=True, truths=None, **parts):
        frame, truth = rows(n, seed)
        raw = [dict(row) for row in frame.to_dict("records")]
        raw = [change(row, place) for place, row in enumerate(raw)] if change else raw
        truth = truths(frame, truth) if truths else truth
        server = Server(offline(base), settings, **parts)
        return server.serve(raw, truth if labelled else None, batch=batch, at=ONSET, cuts=cuts)

    return serve


def column(name, value, share=1.0):
    """A change of one column, in a share of the rows."""

    def change(row, place):
        if (place * 7919 % 1000) / 1000 < share:
            row[name] = value(row[name]) if callable(value) else value
        return row

    return change


def renamed(row, place):
    row["years"] = row.pop("age")
    return row


def usual_age(raw):
    """Rows as a server takes them that knows no other field, and puts in what is usual."""
    return [{**row, "age": row["age"] if isinstance(row.get("age"), float) else 45.0} for row in raw]


DATA = {
    "unit_change": column("amount", lambda value: value * 100),
    "unit_change, in some": column("age", lambda value: value * 12, 0.4),
    "upstream_default": column("age", 0.0, 0.5),
    "upstream_default, of a category": column("city", "south", 0.7),
    "sentinel_value": column("amount", -999, 0.3),
    "missing_values": column("age", None, 0.5),
    "stale_feature": column("age", 51.3),
    "out_of_range": column("amount", lambda value: value + 900, 0.3),
    "unseen_category": column("city", str.upper, 0.6),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("labelled", [True, False])
def test_a_column_that_came_otherwise_is_the_cause(base, good, bad, judged, name, labelled):
    """The data are named, and putting the column back on the incident's own requests brings the answers back."""
    verdict = judged(base, bad(DATA[name], labelled=labelled), good, paged=name == "unseen_category")
    fault = verdict.faults[0]
    assert (verdict.first_faulty_layer, fault.fault) == (Layer.DATA, name.partition(",")[0])
    assert fault.confirmed and fault.swap.before < fault.swap.after and fault.swap.p_value < 0.05


@pytest.mark.parametrize(("change", "fault"), [(renamed, "schema_change"), (column("age", str), "type_change")])
def test_a_field_that_a_server_no_longer_takes_is_the_cause(base, good, bad, judged, change, fault):
    """The server takes what is usual in its place, which the training's steps would not have to."""
    truth = offline(base)
    verdict = judged(base, bad(change, prepare=lambda raw: truth.prepared(usual_age(raw))), good, paged=True)
    assert [(found.fault, found.confirmed) for found in verdict.faults] == [(fault, True)]


def test_requests_of_which_none_can_be_prepared_offline_are_judged(base, good, bad, judged):
    """Each has a number with a unit, and no label came: what a replay would say is unknown, and nothing breaks."""
    truth = offline(base)
    euros = column("age", lambda value: f"{value} €")
    verdict = judged(base, bad(euros, labelled=False, prepare=lambda raw: truth.prepared(usual_age(raw))), good)
    assert verdict.status is VerdictStatus.FAULTY and verdict.faults[0].fault == "type_change"


HEALTHY = {
    "nothing": None,
    "another unit of a column that the model ignores": column("noise", lambda value: value * 100),
    "drift of a column that the model ignores": column("noise", lambda value: value + 8),
    "another type of a column that the model ignores": column("noise", lambda value: f"B-{value:.0f}", 0.3),
    "a default in a column that the model ignores": column("noise", 0.0),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_changes_no_answer_is_no_fault(base, good, bad, judged, name):
    """Drift that the model doesn't look at is noise."""
    assert judged(base, bad(HEALTHY[name]), good).status is VerdictStatus.HEALTHY


def test_a_promotion_is_no_fault(base, settings, good, judged):
    """Younger people than before, answered as well: by labels it is healthy, without them nobody can tell."""
    frame, truth = rows(3000, 77)
    young = frame.age < 40
    server = Server(offline(base), settings)
    asked = frame[young].head(400).to_dict("records")
    for truths, status in ((truth[young][:400], VerdictStatus.HEALTHY), (None, VerdictStatus.UNDECIDED)):
        verdict = judged(base, server.serve(asked, truths, at=ONSET), good)
        assert verdict.status is status and not verdict.faults


def scaled(truth):
    return lambda raw: truth.prepared(raw) * np.array([1.6, 0.7, 1, 1, 1]) + np.array([0.5, 0.9, 0, 0, 0])


def unscaled(truth):
    def prepare(raw):
        numbers = [[row["amount"], row["age"]] for row in raw]
        return np.hstack([np.array(numbers), truth.prepared(raw)[:, 2:]])

    return prepare


def by_fours(truth):
    def prepare(raw):
        x = truth.prepared(raw)
        parts = [x[start : start + 4] for start in range(0, len(x), 4)]
        return np.vstack([(part - part.mean(0)) / (part.std(0) + 0.05) for part in parts])

    return prepare


PREPARED = {
    "train_serve_skew": (scaled, Layer.PREPROCESSING),
    "missing_normalisation": (unscaled, Layer.PREPROCESSING),
    "schema_mismatch": (lambda truth: lambda raw: truth.prepared(raw)[:, [1, 0, 2, 3, 4]], Layer.DEPLOYMENT),
    "schema_mismatch, before the steps": (
        lambda truth: lambda raw: truth.prepared([{**row, "amount": row["age"], "age": row["amount"]} for row in raw]),
        Layer.DEPLOYMENT,
    ),
    "batch_dependence": (by_fours, Layer.DEPLOYMENT),
}


@pytest.mark.parametrize("fault", PREPARED)
@pytest.mark.parametrize("labelled", [True, False])
def test_another_preparation_is_found_at_its_columns(base, good, bad, judged, fault, labelled):
    """The same raw requests through the training's fitted steps give other tensors, and the control's answers."""
    (make, layer), fault = PREPARED[fault], fault.partition(",")[0]
    verdict = judged(base, bad(prepare=make(offline(base)), labelled=labelled), good)
    assert [(found.fault, found.layer, found.confirmed) for found in verdict.faults] == [(fault, layer, True)]
    assert verdict.faults[0].where


def in_train_mode(truth):
    def answer(x):
        torch.manual_seed(5)
        with torch.no_grad():
            return copy.deepcopy(truth.model).train()(torch.as_tensor(x).float()).numpy()

    return answer


def three_bits(truth):
    model = copy.deepcopy(truth.model)
    with torch.no_grad():
        for weight in model.parameters():
            step = weight.abs().max() / 3
            weight.copy_((weight / step).round() * step)
    return lambda x: truth.outputs(x, model)


def of_others(truth):
    def answer(x):
        outputs, draw = truth.outputs(x), np.random.default_rng(3)
        wrong = draw.random(len(outputs)) < 0.3
        return np.where(wrong[:, None], outputs[draw.integers(0, len(outputs), len(outputs))], outputs)

    return answer


MODEL = {
    "weights_not_loaded": lambda truth: lambda x: truth.outputs(x, truth.recipe.build(99)),
    "train_mode_serving": in_train_mode,
    "precision_loss": three_bits,
    "cache_corruption": of_others,
}


@pytest.mark.parametrize("fault", MODEL)
@pytest.mark.parametrize("labelled", [True, False])
def test_answers_that_the_offline_model_does_not_give_are_given_again(base, good, bad, judged, fault, labelled):
    """What explains them is named, and the offline model's answers are the control's."""
    verdict = judged(base, bad(model=MODEL[fault](offline(base)), labelled=labelled), good)
    assert [(found.fault, found.confirmed) for found in verdict.faults] == [(fault, True)]


def test_half_precision_that_changes_no_answer_is_no_fault(base, good, bad, judged):
    """Answers may differ in the fourth digit."""
    truth = offline(base)
    model = copy.deepcopy(truth.model).half().float()
    assert judged(base, bad(model=lambda x: truth.outputs(x, model)), good).status is VerdictStatus.HEALTHY


@pytest.mark.parametrize(("version", "fault"), [("6", "wrong_version_routed"), ("8", "")])
def test_an_older_version_is_wrong_and_a_better_one_is_not(base, good, bad, judged, version, fault):
    """Answers of another version alone differ: an older one was routed to, a newer one answers as well by labels."""
    truth = offline(base)
    model = copy.deepcopy(truth.model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.4 if fault else 1.3)
            if fault:
                weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(4)))
    verdict = judged(base, bad(model=lambda x: truth.outputs(x, model), version=version), good)
    assert [found.fault for found in verdict.faults] == ([fault] if fault else [])


def test_a_few_worse_answers_are_seen_beside_others_to_the_same_requests(base):
    """Four more wrong in 100 are lost in the noise beside other requests, and none of it beside the same ones."""
    true = np.eye(2)[np.arange(400) % 2]
    others, given = true.copy(), true.copy()
    others[:28] = given[4:48] = [0.9, 0.4]
    others[:28:2] = given[4:48:2] = [0.4, 0.9]
    seen = harm_beside(offline(base), given, others, true)
    assert seen.worse and not seen.is_denied
    wrong = [np.repeat([0.0, 1.0], [n, 400 - n]) for n in (28, 44)]
    assert lower(*wrong) > WORSE_P
    assert harm_beside(offline(base), others, others, true).is_denied


def test_swapped_names_of_classes_are_found_behind_right_scores(base, good, bad, judged):
    """The scores are the offline model's, and the labels are not what they say."""
    truth = offline(base)
    verdict = judged(base, bad(label=lambda logits: [1 - one for one in truth.labels(truth.scores(logits))]), good)
    fault = verdict.faults[0]
    assert (fault.fault, fault.layer, fault.confirmed) == ("label_map_mismatch", Layer.DEPLOYMENT, True)
    assert "swapped" in fault.evidence[0]


def test_other_labels_of_the_same_requests_are_a_drift_of_the_concept(base, good, bad, judged):
    """Every cut is right; a model refitted on the window is right where the champion is not."""
    verdict = judged(base, bad(truths=lambda frame, _: (frame.age > 45).to_numpy(int)), good)
    fault = verdict.faults[0]
    assert (fault.fault, fault.layer, fault.confirmed) == ("concept_drift", Layer.TRAINING, True)
    assert fault.swap.after > fault.swap.before


def test_without_a_target_marks_stand_unproven_and_drift_is_open(good, bad, judged):
    """A unit is told by its factor alone; a column that moved may be sound traffic."""
    unit = judged(None, bad(DATA["unit_change"]), good, paged=True)
    assert [(found.fault, found.confirmed) for found in unit.faults] == [("unit_change", None)]
    assert "unproven" in unit.outcomes[0].reason
    assert judged(None, bad(column("age", lambda value: value + 6)), good).status is VerdictStatus.UNDECIDED
    assert judged(None, bad(), good).status is VerdictStatus.UNDECIDED


def test_a_masked_column_that_the_model_needs_leaves_it_unproven(base, good, bad, judged):
    """What was masked can't be replayed, and the verdict says which column that is."""

    def masked(records):
        hidden = [{**record.values, "raw": {**record.values["raw"], "age": "name •00ff00ff00"}} for record in records]
        return [msgspec.structs.replace(record, values=own) for record, own in zip(records, hidden, strict=True)]

    verdict = judged(base, masked(bad(DATA["unit_change"])), masked(good))
    assert verdict.faults[0].confirmed is None
    assert "unproven: the column age is masked" in {outcome.reason for outcome in verdict.outcomes}


def test_few_requests_clear_nothing(base, good, bad, judged):
    """Forty healthy requests are no proof of health."""
    verdict = judged(base, bad(n=40), good)
    assert verdict.status is VerdictStatus.UNDECIDED and "too few" in verdict.not_cleared[0]


@pytest.mark.parametrize("again", [True, False], ids=["sent again", "a closed set of people"])
def test_repeats_are_compared_among_as_many_requests(base, settings, judged, again):
    """Requests that are sent again are told; of few people, more requests hold more repeats, and nothing is told."""
    people = rows(3_000 if again else 120, 81)[0].to_dict("records")
    draw = np.random.default_rng(82)
    server = Server(offline(base), settings)
    control = server.serve([people[place] for place in draw.integers(0, len(people), 100)])
    places = draw.integers(0, len(people), 600)
    asked = [people[place] for place in (np.where(np.arange(600) % 2, places % 3, places) if again else places)]
    verdict = judged(base, server.serve(asked, at=ONSET), control, monitor="repeats")
    (found,) = [each for layer in verdict.layers for each in layer.findings if each.check == "served_repeats"]
    assert (found.status is not Status.PASS) is again
    (values,) = [each for layer in verdict.layers for each in layer.findings if each.check == "served_values"]
    assert values.status is Status.PASS  # copies of whole requests say nothing of a column


def test_a_change_that_was_noticed_late_is_seen_beside_what_was_usual(base, good, bad, judged):
    """The last requests before the alarm show it, too: those by which detection knew what is usual don't."""
    wrong = bad(column("amount", lambda value: value * 100))
    late = judged(base, wrong[200:], wrong[:200], usual=good)
    assert [(fault.fault, fault.confirmed) for fault in late.faults] == [("unit_change", True)]
    assert judged(base, wrong[200:], wrong[:200]).status is VerdictStatus.HEALTHY


def test_what_was_noticed_late_is_no_drift_of_the_concept(base, good, bad, judged):
    """A code in a column has come for long when labels say that answers are worse: it comes before the training."""
    wrong = bad(column("amount", -999, 0.3))
    verdict = judged(base, wrong[120:], [*good[300:], *wrong[:120]], monitor="label_errors", usual=good[:300])
    assert [(fault.fault, fault.confirmed) for fault in verdict.faults] == [("sentinel_value", True)]


@pytest.mark.parametrize(("version", "fault"), [("6", "wrong_version_routed"), ("7", "weights_not_loaded")])
def test_one_process_that_answers_otherwise_has_other_weights(base, settings, good, judged, version, fault):
    """Equal requests get two answers, as of a network with dropout, but each process always gives the same."""
    truth = offline(base)
    people = rows(60, 83)[0].to_dict("records") * 4
    own = Server(truth, settings, version=version, model=lambda x: truth.outputs(x, truth.recipe.build(99)))
    second = [
        msgspec.structs.replace(record, raw=record.raw.replace("-w:", "-v:")) for record in own.serve(people, at=ONSET)
    ]
    records = sorted([*Server(truth, settings).serve(people, at=ONSET + 0.5), *second], key=lambda record: record.time)
    verdict = judged(base, records, [*good, *second[:10]])
    assert [(found.fault, found.confirmed) for found in verdict.faults] == [(fault, True)]


def test_a_lower_accuracy_that_nothing_explains_is_not_cleared(base, bad, good, judged):
    """All that was looked at is as it was, and no label says that the answers are right."""
    verdict = judged(base, bad(labelled=False), good, monitor="estimated_accuracy")
    assert verdict.status is VerdictStatus.UNDECIDED and "estimated_accuracy" in verdict.not_cleared[0]


def test_what_opened_and_is_not_explained_is_not_healthy(base, good, bad, judged):
    """Nothing is found and no label denies harm: it stays open, where a time that somebody asked for is healthy."""
    opened = judged(base, bad(labelled=False), good)
    assert opened.status is VerdictStatus.UNDECIDED and "the monitor scores opened it" in opened.not_cleared[0]
    assert judged(base, bad(labelled=False), good, monitor="window").status is VerdictStatus.HEALTHY


def test_labels_that_are_a_toss_now_are_a_drift_of_the_concept(base, good, bad, judged):
    """No refitted model is right more often, and one that knows of the toss is less sure."""

    def tossed(frame, truth):
        return np.where((frame.age > 45) & (np.random.default_rng(6).random(len(truth)) < 0.5), 1 - truth, truth)

    (fault,) = judged(base, bad(n=1_000, truths=tossed), good).faults
    assert (fault.fault, fault.confirmed) == ("concept_drift", True)
    assert "squared error" in fault.swap.metric and fault.swap.after < fault.swap.before


@pytest.mark.parametrize(
    ("true", "regression"), [(np.arange(40.0)[:, None], True), (np.eye(3)[np.arange(40) % 2], False)]
)
def test_a_refit_answers_in_the_form_of_the_champion(true, regression):
    """A number keeps its axis, and a class that no label had gets nothing."""
    x = np.stack([np.arange(40.0), np.arange(40.0) % 2], axis=1)
    found = refit(x, true, x[:7], regression=regression)
    assert found.shape == (7, true.shape[1]) and np.abs(found - true[:7]).max() < 1.5
