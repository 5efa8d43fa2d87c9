"""Tuned searches: what is tried, what is given up, what is compared, and on what the scores depend."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from functools import partial

import pytest
import torch
from optuna.storages import InMemoryStorage
from torch import nn

from firstfault.ablation.sweeps.importances import analysed, importances_of
from firstfault.ablation.sweeps.sweep import sweep
from firstfault.report.charts.search_pictures import search_pictures
from firstfault.report.sweep_page import headline, sweep_markdown, write_sweep_report

SPACE = "lr=1e-4..1e-1;batch_size=16,128"


def blobs():
    random = torch.Generator().manual_seed(0)
    y = torch.randint(3, (600,), generator=random)
    centres = torch.randn(3, 8, generator=random) * 1.5
    return (centres[y] + torch.randn(600, 8, generator=random)).numpy(), y.numpy()


@pytest.fixture
def searched(subject_of):
    """A function that searches the rate of a target whose own is far too low."""

    def run(trials=9, storage=None, **settings):
        subject = subject_of(lr=1e-4, epochs=6, data=blobs())
        return sweep(
            subject,
            tune=None if settings.get("resume") else SPACE,
            n_trials=trials,
            seeds=2,
            storage=storage or InMemoryStorage(),
            **settings,
        )

    return run


def test_a_search_finds_better_settings_and_proves_them_on_other_seeds(searched):
    """The target's own settings are tried first; the comparison has none of the search's seeds."""
    result = searched()
    assert result.searched[0].values == {"lr": 1e-4, "batch_size": 32} and {
        trial.seed for trial in result.searched
    } == {0}
    best = result.rows[1]
    assert best.change.startswith("best found: lr 0.0") and best.verdict == "better" and result.best == best.change
    assert {trial.seed for trial in result.compared} == {1, 2} and best.seeds == 2
    assert headline(result) == f"{best.change}: accuracy {best.difference:+.3f}"


def test_a_search_gives_hopeless_settings_up(searched):
    """A pruned training has fewer epochs than the others, and no training is pruned before its third."""
    states = {trial.state: len(trial.epochs) for trial in searched(12).searched}
    assert states["complete"] == 6 and 3 <= states["pruned"] < 6


def test_the_same_search_gives_the_same_trials(searched):
    """The sampler is seeded."""
    first, second = searched(6), searched(6)
    assert [trial.values for trial in first.searched] == [trial.values for trial in second.searched]
    assert first.rows == second.rows


def test_a_resumed_search_tries_other_settings_than_its_beginning(searched):
    """It goes on to the wanted number, and draws new random numbers."""
    storage = InMemoryStorage()
    searched(4, storage, study_name="mine")
    result = searched(8, storage, study_name="mine", resume=True)
    tried = [tuple(trial.values.values()) for trial in result.searched]
    assert len(tried) == len(set(tried)) == 8


def test_settings_that_were_tried_are_not_trained_again(subject_of):
    """In a space of two points, the other trials take over what is known."""
    trained = []
    result = sweep(
        subject_of(epochs=1),
        tune="shuffle=true,false",
        n_trials=6,
        seeds=2,
        storage=InMemoryStorage(),
        on_trial=trained.append,
    )
    assert len(result.searched) == 6 and sum(trial.seed == 0 for trial in trained) == 2


def test_a_training_that_raises_is_a_failed_trial(subject_of):
    """The user's model raises for some settings: the search goes on, and the best is another."""

    def build(hidden=8):
        if hidden > 8:
            raise MemoryError("too wide")
        return nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, 3))

    result = sweep(
        subject_of(model=build, epochs=2), tune="model.hidden=4,8,16", n_trials=7, seeds=2, storage=InMemoryStorage()
    )
    assert {trial.state for trial in result.searched if trial.values["model.hidden"] == 16} == {"failed"}
    assert all("16" not in row.change for row in result.rows)


def test_a_users_own_loop_is_searched_too(subject_of):
    """A `fit` that swallows every Exception is given up all the same."""

    def fit(model, train, validation):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(8):
            for x, y in train:
                try:
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(x), y).backward()
                    optimizer.step()
                except Exception:
                    continue

    result = sweep(subject_of(fit=fit), tune="batch_size=4..256", n_trials=9, seeds=2, storage=InMemoryStorage())
    assert any(trial.state == "pruned" and len(trial.epochs) < 8 for trial in result.searched)


def test_the_rate_matters_and_the_seed_is_the_noise(subject_of):
    """Importances are shares; that of the seed is among them where seeds vary."""
    result = sweep(subject_of(epochs=3), grid="lr=1e-5,1e-2;shuffle=true,false", seeds=2, storage=InMemoryStorage())
    shares = result.importances
    assert set(shares) == {"lr", "shuffle", "seed"} and sum(shares.values()) == pytest.approx(1)
    assert shares["lr"] > 0.8 > shares["seed"]
    assert importances_of(analysed(result.searched[:2], result.distributions)) == {}


def test_a_search_is_drawn_by_its_order_settings_and_epochs(searched):
    """Four pictures, with the metric, each setting and its values in words."""
    pictures = search_pictures(searched(8))
    assert list(pictures) == ["Score of every training", "Settings together", "Each setting", "Scores after each epoch"]
    shown = {title: words(picture) for title, picture in pictures.items()}
    assert {"lr", "batch_size", "16", "128", "accuracy"} <= shown["Settings together"] & shown["Each setting"]
    assert "epoch" in shown["Scores after each epoch"] and "the best until then" in shown["Score of every training"]


def words(picture):
    """The texts of a picture, which is sound XML."""
    return {"".join(text.itertext()) for text in ElementTree.fromstring(str(picture)).iter("text")}


def test_the_report_has_everything_inside(searched, tmp_path):
    """Table, noise, importances, pictures and trainings in one file that loads nothing; the pictures are files too."""
    result = searched(5)
    page = write_sweep_report(result, tmp_path, facts={"seed": 0}).read_text()
    assert result.rows[1].change in page and "What the scores depend on" in page and ">Each setting<" in page
    assert (
        page.count("<tr") > len(result.trials)
        and "http" not in page.replace("http-equiv", "")
        and "<script" not in page
    )
    assert sweep_markdown(result).count("\n| ") == 4
    assert {"ablation.svg", "search_each_setting.svg"} <= {path.name for path in tmp_path.iterdir()}


def test_a_report_of_a_sweep_that_has_hardly_begun(subject_of, tmp_path):
    """One training makes no comparison, and the page says that more are left."""
    result = sweep(
        subject_of(epochs=1, optimizer=partial(torch.optim.SGD, lr=float("inf"))),
        factors=["adam"],
        n_trials=1,
        storage=InMemoryStorage(),
    )
    page = write_sweep_report(result, tmp_path).read_text()
    assert "Not every training has ended" in page and "5 trainings are left" in page
