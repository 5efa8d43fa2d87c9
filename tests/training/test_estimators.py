"""An estimator stands where a network does: fitted in one call, its pipeline examined step by step."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from firstfault import Data, Deployment, Target, Training
from firstfault.ablation.swaps.estimators import another_estimator
from firstfault.ablation.swaps.preprocessing import standardised_inputs
from firstfault.check import NO_STEPS, Depth, checks_of, run_check, run_checks
from firstfault.finding import Layer, Status
from firstfault.subject.fitted_estimator import whole_estimator
from firstfault.subject.serving import serving_inputs
from firstfault.subject.subject import Subject
from firstfault.target.estimators import of_trees
from firstfault.training.evaluation import predict
from firstfault.training.loop import train
from firstfault.training.preprocessing import to_inputs


def table(rows=240):
    """Two numbers, a town, and a label in words that both tell."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    X["town"] = rng.choice(["oslo", "rome"], rows)
    return X.assign(y=np.where(X.a + (X.town == "oslo") + rng.normal(0, 0.3, rows) > 0.5, "up", "down"))


def columns():
    """The preprocessing of the table."""
    return make_column_transformer((StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["town"]))


def subject_of(model, folder, **parts):
    """A subject with that model."""
    target = Target(name="t", model=model, **{"data": Data(train=table, label="y"), **parts})
    return Subject(target, folder)


def numbers(task="classification"):
    """Arrays of that task."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    y = {"classification": (x[:, 0] > 0).astype(int), "regression": x @ [1, 2, 0, 0], "multilabel": (x[:, :2] > 0) * 1}
    return x, y[task]


def test_a_pipeline_is_examined_step_by_step(tmp_path):
    """Its transforming steps are stages of the preprocessing behind the declared ones, its last part is the model."""
    subject = subject_of(
        make_pipeline(columns(), StandardScaler(), LogisticRegression()),
        tmp_path,
        preprocess=lambda X: X.assign(a=X.a * 2),
    )
    assert [stage.name for stage in subject.pipeline.stages] == [
        "raw",
        "<lambda>",
        "columntransformer",
        "standardscaler",
    ]
    assert isinstance(subject.model.estimator, LogisticRegression)
    assert subject.prepared.train.X.shape[1] == 4


def test_it_answers_as_the_users_own_pipeline(tmp_path):
    """The fitted whole, given raw rows, predicts what the examined model does, and what fitting it plainly does."""
    subject = subject_of(make_pipeline(columns(), LogisticRegression()), tmp_path)
    outputs = predict(subject.recipe, subject.trained.model, subject.recipe.test.x)
    raw = subject.raw.test.X
    plain = make_pipeline(columns(), LogisticRegression()).fit(subject.raw.train.X, subject.raw.train.y)
    assert np.allclose(outputs.exp(), whole_estimator(subject).predict_proba(raw), atol=1e-5)
    assert np.allclose(outputs.exp(), plain.predict_proba(raw), atol=1e-3)
    assert set(whole_estimator(subject).predict(raw)) == {"up", "down"}


@pytest.mark.parametrize(
    ("model", "task", "width"),
    [
        (LinearSVC(), "classification", (2,)),
        (RandomForestClassifier(n_estimators=5), "multilabel", (2,)),
        (MultiOutputClassifier(LogisticRegression()), "multilabel", (2,)),
        (HistGradientBoostingRegressor(max_iter=40), "regression", ()),
        (StackingClassifier([("line", LogisticRegression())], cv=2), "classification", (2,)),
    ],
    ids=["margins", "several labels", "one for each label", "numbers", "a stack, which predicts once it is fitted"],
)
def test_outputs_have_the_form_of_the_task(model, task, width, tmp_path):
    """Whatever an estimator answers with: probabilities, margins, lists of them, or numbers."""
    subject = subject_of(model, tmp_path, task=task, data=Data(train=numbers(task)))
    outputs = predict(subject.recipe, subject.trained.model, subject.recipe.test.x)
    assert outputs.shape[1:] == width
    assert subject.trained.score > 0.6


def test_rounds_of_boosting_are_a_learning_curve(tmp_path):
    """After each twelfth of the rounds it is scored, at last as it is."""
    subject = subject_of(GradientBoostingClassifier(n_estimators=24), tmp_path, data=Data(train=numbers()))
    losses = [epoch.train_loss for epoch in subject.trained.epochs]
    assert len(losses) == 12
    assert losses[-1] < losses[0]


def test_categories_reach_the_estimator_as_categories(tmp_path):
    """A frame is handed over with its columns and types, though it was one tensor in between."""

    class Sees(DummyClassifier):
        def fit(self, X, y):
            self.seen_ = X.dtypes.to_dict()
            self.towns_ = set(X.town)
            return super().fit(X, y)

    frame = table().astype({"town": "category"})
    subject = subject_of(Sees(), tmp_path, data=Data(train=frame, label="y"))
    fitted = subject.trained.model.estimator
    assert fitted.towns_ == {"oslo", "rome"}
    assert isinstance(fitted.seen_["town"], pd.CategoricalDtype)


def test_the_codes_of_categories_have_no_scale(tmp_path):
    """Standardised, or under noise, they stay what they are: a code between two towns is none."""
    frame = table().assign(a=lambda X: 900 + 100 * X.a).astype({"town": "category"})
    subject = subject_of(HistGradientBoostingClassifier(max_iter=5), tmp_path, data=Data(train=frame, label="y"))
    scaled = standardised_inputs(subject).train.x
    assert scaled[:, 2].equal(subject.recipe.train.x[:, 2].float())
    assert float(scaled[:, 0].std()) == pytest.approx(1, abs=0.01)
    entry = next(entry for entry in checks_of(Layer.SAFETY) if entry.name == "robustness")
    assert [finding.status for finding in run_check(entry, subject, {})] != [Status.ERROR]


def test_another_estimator_takes_categories_too(tmp_path):
    """A linear model in the place of trees is given indicators of them."""
    frame = table().astype({"town": "category"})
    subject = subject_of(RandomForestClassifier(5), tmp_path, data=Data(train=frame, label="y"))
    assert train(another_estimator(subject)).score > 0.8


def test_sparse_inputs_reach_the_estimator_as_such(tmp_path):
    """What a sparse matrix leaves out is missing to some estimators: as they are served, so they are fitted."""

    class Sees(DummyClassifier):
        def fit(self, X, y):
            self.sparse_ = hasattr(X, "tocsr")
            return super().fit(X, y)

    for dense in (False, True):
        model = make_pipeline(OneHotEncoder(sparse_output=not dense, handle_unknown="ignore"), Sees())
        subject = subject_of(model, tmp_path / str(dense))
        assert subject.trained.model.estimator.sparse_ is not dense


def test_trees_ask_for_no_scale():
    """Nor do those of other libraries, but for their linear kinds, and what only holds trees is asked."""
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    trees = [RandomForestClassifier(), GradientBoostingClassifier(), lightgbm.LGBMClassifier(), xgboost.XGBRegressor()]
    assert all(map(of_trees, trees))
    others = [LogisticRegression(), xgboost.XGBRegressor(booster="gblinear"), BaggingClassifier(LogisticRegression())]
    assert not any(map(of_trees, others))


def test_xgboost_is_given_numbers_for_classes_in_words(tmp_path):
    """It takes no others; its probabilities stand in the order of the classes."""
    xgboost = pytest.importorskip("xgboost")
    model = make_pipeline(columns(), xgboost.XGBClassifier(n_estimators=5, n_jobs=1))
    subject = subject_of(model, tmp_path)
    assert subject.classes == ("down", "up")
    assert subject.trained.score > 0.8


def test_a_seed_draws_the_rows_of_an_estimator_that_draws_nothing(tmp_path):
    """So that pairs of seeds differ, but for the target's own, which fits on all rows as the user does."""
    recipe = subject_of(LogisticRegression(), tmp_path, data=Data(train=numbers())).recipe
    models = {seed: train(recipe, seed).model.estimator.coef_ for seed in (0, 1, 2)}
    assert not np.array_equal(models[1], models[2])
    assert np.array_equal(models[0], train(recipe, 0).model.estimator.coef_)


def test_random_states_follow_the_seed_but_for_the_users_own(tmp_path):
    """The state that the user set stays for the target's own seed."""
    recipe = subject_of(RandomForestClassifier(random_state=7), tmp_path, data=Data(train=numbers())).recipe
    assert recipe.build(0).estimator.random_state == 7
    assert recipe.build(1).estimator.random_state == 1


def test_a_fit_that_raises_is_a_finding_of_the_training(tmp_path):
    """Its sentence says what the estimator said."""
    subject = subject_of(LogisticRegression(C=-1.0), tmp_path, data=Data(train=numbers()))
    report = run_checks(Layer.TRAINING, subject, Depth.QUICK)
    failed = [finding for finding in report.findings if finding.status is Status.FAIL]
    assert [finding.faults for finding in failed] == [{"user_code_raises": 1.0}]
    assert "'C'" in failed[0].message


def test_served_rows_that_keep_their_texts_go_through_the_pipeline(tmp_path):
    """What `deployment.preprocess` makes of raw rows, the steps of the model prepare."""
    blank = lambda X: X.assign(a=0.0)  # noqa: E731
    subject = subject_of(
        make_pipeline(columns(), LogisticRegression()), tmp_path, deployment=Deployment(preprocess=blank)
    )
    raw = subject.raw.test.X
    assert serving_inputs(subject, raw).equal(to_inputs(subject.pipeline.apply(blank(raw))))


def test_checks_of_gradient_steps_are_skipped(tmp_path):
    """With the reason; those that judge what a training came to are not."""
    subject = subject_of(LogisticRegression(), tmp_path, data=Data(train=numbers()))
    model, training = (run_checks(layer, subject, Depth.QUICK) for layer in (Layer.MODEL, Layer.TRAINING))
    assert {finding.message for finding in model.findings} == {NO_STEPS}
    assert {finding.check for finding in training.findings if finding.status is Status.PASS} >= {"underperforms"}


def test_a_network_is_no_estimator(tmp_path):
    """A factory of networks stays one, with its loop."""
    from torch import nn

    target = Target(name="t", data=Data(train=numbers()), model=lambda: nn.Linear(4, 2), training=Training(epochs=1))
    assert target.by_gradients
    assert replace(target, model=LogisticRegression()).estimator is not None
