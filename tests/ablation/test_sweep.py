"""Ablation sweeps: the table, its resumption after a kill, and the picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from functools import partial

import pytest
import torch
from optuna.storages import InMemoryStorage
from torch import nn

from firstfault.ablation.sweeps.sweep import FACTORS, sweep
from firstfault.errors import FirstfaultError, TargetError
from firstfault.report.charts.sweep_picture import sweep_picture

FEW = ["higher_rate", "lower_rate", "batches_of_32"]


def row_of(result, factor):
    return next(row for row in result.rows if row.factor == factor)


def test_a_healthy_target_has_nothing_to_gain(subject_of):
    """No change is better than a healthy target; the ones that do not apply say why."""
    result = sweep(subject_of(), storage=InMemoryStorage(), study_name="healthy")
    assert result.rows[0].factor == "baseline"
    assert {row.factor for row in result.rows} == {"baseline", *FACTORS}
    assert not [row.change for row in result.rows if row.verdict == "better"] and result.best == "unchanged"
    skipped = row_of(result, "batches_of_32")
    assert (skipped.verdict, skipped.reason) == ("skipped", "the batch size is 32 already")


def test_the_planted_fault_stands_out(subject_of):
    """Ten times the rate repairs a rate that is too low; a tenth of it does not."""
    result = sweep(subject_of(lr=3e-4), factors=FEW, storage=InMemoryStorage(), study_name="low")
    assert row_of(result, "higher_rate").verdict == "better" and result.best == "learning rate × 10"
    assert row_of(result, "higher_rate").p_value < 0.05
    assert row_of(result, "lower_rate").verdict in ("worse", "within noise")


def test_rows_are_means_over_the_seeds(subject_of):
    """Mean, deviation and difference are those of the scores in the table."""
    result = sweep(subject_of(lr=3e-4), factors=FEW[:1], storage=InMemoryStorage(), study_name="means")
    row, base = row_of(result, "higher_rate"), result.baseline
    assert row.seeds == base.seeds == 3
    assert row.mean == pytest.approx(sum(row.scores) / 3)
    assert row.difference == pytest.approx(row.mean - base.mean)
    assert row.std == pytest.approx(torch.tensor(row.scores, dtype=torch.float64).std().item())
    assert result.noise >= base.std


def test_a_training_that_fails_counts_as_guessing(subject_of):
    """An unchanged target that ends in NaN has a score, and the row says that it failed."""
    subject = subject_of(optimizer=partial(torch.optim.SGD, lr=float("inf")))
    result = sweep(subject, factors=["adam"], storage=InMemoryStorage(), study_name="nan")
    assert "3 of 3 trainings failed" in result.baseline.reason
    assert 0.2 < result.baseline.mean < 0.6
    assert row_of(result, "adam").verdict == "better"


def test_a_changed_metric_is_paired_with_its_own_baseline(subject_of):
    """Balanced classes are judged by balanced accuracy on both sides."""
    result = sweep(subject_of(), factors=["balanced"], storage=InMemoryStorage(), study_name="balanced", seeds=2)
    row = row_of(result, "balanced")
    assert row.verdict == "within noise" and abs(row.difference) < 0.1


def test_a_stopped_sweep_goes_on_where_it_was(subject_of):
    """Trainings that have ended are not run again, and the table is the one of an uninterrupted sweep."""
    trials = []
    first = sweep(subject_of(folder="one"), factors=FEW, n_trials=4, on_trial=trials.append)
    assert len(trials) == 4 and row_of(first, "higher_rate").verdict == "pending"
    second = sweep(subject_of(folder="two"), factors=FEW, on_trial=trials.append, resume=True)
    assert len(trials) == 9 and len({(trial.factor, trial.seed) for trial in trials}) == 9
    whole = sweep(subject_of(folder="three"), factors=FEW, storage=InMemoryStorage(), study_name="whole")
    assert second.rows == whole.rows


def test_another_target_does_not_take_over_old_results(subject_of):
    """The default study depends on the settings, so that a changed target is measured anew."""
    trials = []
    sweep(subject_of(folder="one"), factors=FEW[:1], seeds=2, on_trial=trials.append)
    sweep(subject_of(folder="two", lr=1e-3), factors=FEW[:1], seeds=2, on_trial=trials.append)
    assert len(trials) == 8


def test_threads_give_a_whole_table(subject_of):
    """Two trainings side by side leave no pair out."""
    result = sweep(subject_of(epochs=2), factors=FEW, jobs=2, seeds=2, storage=InMemoryStorage(), study_name="two")
    assert all(row.seeds == 2 for row in result.rows if row.verdict != "skipped")


def test_the_table_is_plain_json(subject_of):
    """The result and its rows go to JSON, also where numbers are absent."""
    result = sweep(subject_of(epochs=1), factors=FEW, seeds=2, storage=InMemoryStorage(), study_name="json")
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [row["factor"] for row in values["rows"]] == ["baseline", *FEW]
    assert len(values["scores"]["higher_rate"]) == 2


def test_the_picture_shows_a_sweep(subject_of):
    """A row for each change that was trained, the scale and the noise in words; also of a sweep that has only begun."""
    for name, limit in (("whole", None), ("begun", 1)):
        result = sweep(
            subject_of(epochs=1), factors=FEW, seeds=2, n_trials=limit, study_name=name, storage=InMemoryStorage()
        )
        root = ElementTree.fromstring(str(sweep_picture(result)))
        texts = ["".join(text.itertext()) for text in root.iter("text")]
        trained = [row.change for row in result.rows if row.mean is not None]
        assert {*(change[:43] for change in trained)} <= {text[:43] for text in texts}
        assert f"{result.metric} on validation, higher is better" in texts
        assert any(text.startswith("seed noise ±") for text in texts) == (limit is None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"seeds": 1}, "seeds must be 2 to 32, but got 1"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"engine": "clouds"}, "engine must be one of threads, processes, ray, but got 'clouds'"),
        ({"n_trials": 0}, "n_trials must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(subject_of, settings, expected):
    """A bad call says what was expected and what came."""
    with pytest.raises(ValueError, match=expected):
        sweep(subject_of(), **settings)


def test_an_unknown_factor_is_refused(subject_of):
    """The sentence lists the factors there are."""
    with pytest.raises(TargetError, match=r"factors must be among .*adam.* but got magic"):
        sweep(subject_of(), factors=["magic"])


def test_a_target_without_a_model_is_refused(subject_of):
    """A sweep needs something to train."""
    with pytest.raises(TargetError, match="declares no model"):
        sweep(subject_of(model=None))


def test_without_resume_a_sweep_begins_anew_and_points_out_what_was_left(subject_of, caplog):
    """Nothing of a sweep that ended early is taken over unasked; the sentence says how it is."""
    trials = []
    sweep(subject_of(folder="one", epochs=1), factors=FEW[:1], seeds=2, n_trials=3, on_trial=trials.append)
    sweep(subject_of(folder="two", epochs=1), factors=FEW[:1], seeds=2, on_trial=trials.append)
    assert len(trials) == 7
    assert caplog.messages == [
        "an earlier sweep of this target ended early, after 3 trainings; --resume goes on with it"
    ]


def test_resume_alone_goes_on_with_the_last_sweep_as_it_was_begun(subject_of):
    """Mode, changes and seeds are those of the sweep that is resumed."""
    begun = sweep(subject_of(folder="one", epochs=1), grid="lr=0.001,0.1", seeds=2, n_trials=2)
    ended = sweep(subject_of(folder="two", epochs=1), resume=True)
    # the limit of trainings is taken over too
    assert begun.left == 4 and ended.left == 2 and ended.study == begun.study
    whole = sweep(subject_of(folder="three", epochs=1), resume=True, n_trials=9)
    assert whole.left == 0 and [row.seeds for row in whole.rows] == [2, 2, 2]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, None, "there must be a sweep to resume, but there is none of small$"),
        ({}, {"lr": 1e-3}, "none of small as it is now: its data, settings, network or source have changed"),
        ({"grid": "lr=0.1"}, {}, "none of small with these settings"),
    ],
    ids=["never swept", "target has changed", "other mode"],
)
def test_there_must_be_something_to_resume(subject_of, first, second, expected):
    """The sentence says why there is nothing."""
    if second is not None:
        sweep(
            subject_of(epochs=1),
            **{"factors": FEW[:1], "seeds": 2, "n_trials": 1} | first | ({"factors": None} if first else {}),
        )
    with pytest.raises(TargetError, match=expected):
        sweep(subject_of(folder="two", epochs=1, **(second or {})), factors=FEW[:1], resume=True)


def test_a_named_study_is_not_written_over(subject_of):
    """A name that is taken is refused; with resume it is gone on with."""
    storage = InMemoryStorage()
    settings = {"factors": FEW[:1], "seeds": 2, "storage": storage, "study_name": "mine"}
    first = sweep(subject_of(epochs=1), n_trials=1, **settings)
    with pytest.raises(TargetError, match="study_name must be new, but there is a study 'mine'"):
        sweep(subject_of(epochs=1), **settings)
    assert first.left == 3 and sweep(subject_of(epochs=1), resume=True, **settings).left == 0


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (
            "file/optuna.journal",
            "the sweep's storage .*optuna.journal must be writable, but: (Not a directory|File exists)",
        ),
        (
            "gone/db.sqlite",
            "the sweep's storage sqlite:.*db.sqlite must be writable, but: .*unable to open database file",
        ),
        ("nonsense", "the sweep's storage nonsense must be writable, but: it is no database URL"),
    ],
)
def test_a_storage_that_does_not_work_is_one_sentence(subject_of, tmp_path, storage, expected):
    """A journal below a file, a database in a folder that isn't there, and no URL at all."""
    (tmp_path / "file").write_text("")
    place = {"file": tmp_path / storage, "gone": f"sqlite:///{tmp_path}/{storage}"}.get(storage.split("/")[0], storage)
    with pytest.raises(FirstfaultError, match=expected) as refused:
        sweep(subject_of(), factors=FEW, storage=place)
    assert len(str(refused.value).splitlines()) == 1


def test_the_password_of_a_storage_is_not_said(subject_of):
    """Only the rest of the URL is."""
    with pytest.raises(FirstfaultError) as refused:
        sweep(subject_of(), factors=FEW, storage="postgresql://me:s3cret@127.0.0.1:1/sweeps")
    assert "s3cret" not in str(refused.value) and "me:***@127.0.0.1" in str(refused.value)


def test_a_target_whose_model_raises_is_refused(subject_of):
    """The sentence says where the user's code raised."""
    with pytest.raises(TargetError, match="a sweep trains the target, but model raised ZeroDivisionError"):
        sweep(subject_of(model=lambda: 1 / 0))


def test_a_model_of_saturating_units_is_changed_to_relu(subject_of):
    """The ReLU factor applies where hidden units saturate."""
    model = lambda: nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 3))  # noqa: E731
    result = sweep(
        subject_of(model=model, epochs=1),
        factors=["relu_for_saturating"],
        seeds=2,
        storage=InMemoryStorage(),
        study_name="relu",
    )
    assert row_of(result, "relu_for_saturating").seeds == 2


def test_a_users_own_loop_is_varied_by_its_replay(subject_of):
    """The rate of a `fit` is changed in its replay, and compared with the replay unchanged."""

    def fit(model, train, validation):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(4):
            for x, y in train:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

    result = sweep(
        subject_of(fit=fit), factors=["adam", "higher_rate"], seeds=2, storage=InMemoryStorage(), study_name="own loop"
    )
    assert row_of(result, "higher_rate").verdict == "better" and row_of(result, "higher_rate").seeds == 2
