"""How firstfault runs a target's preprocessing, and makes tensors of what comes out."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from firstfault import Data, Target
from firstfault.data.splits import load_raw
from firstfault.errors import TargetError, UserCodeError
from firstfault.training.preprocessing import Labels, prepare, steps_of, to_inputs

X = np.random.default_rng(0).normal(5, 2, (60, 3))
Y = np.arange(60) % 3


def pipeline(**parts):
    target = Target(name="t", data=Data(train=(X, Y)), **parts)
    return prepare(target, load_raw(target))


def test_steps_are_fitted_on_train_alone():
    """The prepared training split has mean 0 exactly; the others do not."""
    prepared = pipeline(preprocess=StandardScaler()).prepared
    assert np.allclose(prepared.train.X.mean(0), 0)
    assert not np.allclose(prepared.test.X.mean(0), 0)


def test_every_stage_is_kept_by_name():
    """Named steps leave a stage each, after the raw one."""
    stages = pipeline(preprocess=[("scale", MinMaxScaler()), ("double", lambda X: X * 2)]).stages
    assert [stage.name for stage in stages] == ["raw", "scale", "double"]


def test_a_scikit_learn_pipeline_is_seen_step_by_step():
    """A pipeline counts as its steps, without those that pass through."""
    chain = make_pipeline(StandardScaler(), "passthrough", MinMaxScaler())
    assert [name for name, _ in steps_of(chain)] == ["standardscaler", "minmaxscaler"]
    assert np.allclose(
        pipeline(preprocess=chain).prepared.train.X,
        chain.fit_transform(load_raw(Target(name="t", data=Data(train=(X, Y)))).train.X),
    )


def test_the_users_own_objects_stay_unfitted():
    """Fitting happens on a copy."""
    scaler = StandardScaler()
    pipeline(preprocess=scaler)
    assert not hasattr(scaler, "mean_")


def test_a_step_that_changes_its_input_in_place_leaves_the_stage_before_alone():
    """The raw stage still holds raw values."""

    def in_place(X):
        X *= 0
        return X

    stages = pipeline(preprocess=in_place).stages
    assert stages[0].splits.train.X.std() > 1
    assert (stages[1].splits.train.X == 0).all()


class OnlyFitTransform:
    """A step without fit."""

    def fit_transform(self, X):
        self.top = X.max()
        return self.transform(X)

    def transform(self, X):
        return X / self.top


def test_a_step_with_fit_transform_only_is_fitted():
    """fit_transform fits where there is no fit."""
    assert pipeline(preprocess=OnlyFitTransform()).prepared.train.X.max() == 1


def test_sparse_results_become_arrays():
    """The sparse matrix of an encoder has a length afterwards."""
    prepared = pipeline(preprocess=OneHotEncoder(handle_unknown="ignore")).prepared
    assert isinstance(prepared.train.X, np.ndarray)
    assert len(prepared.train.X) == len(prepared.train.y)


def test_prepare_may_return_pairs_with_sparse_matrices():
    """prepare owns the splits, and may return plain pairs."""
    from scipy.sparse import csr_matrix

    def user(splits):
        return tuple((csr_matrix(split.X), split.y) for _, split in splits.items())

    assert isinstance(pipeline(prepare=user).prepared.test.X, np.ndarray)


def test_prepare_cannot_change_the_raw_data():
    """What prepare does in place stays in its own copy."""

    def user(splits):
        splits.train.X[:] = 0
        return splits

    assert pipeline(prepare=user).stages[0].splits.train.X.std() > 1


def test_fitted_steps_apply_to_new_rows():
    """`apply` sends raw rows through what was fitted on train."""
    fitted = pipeline(preprocess=[("scale", StandardScaler()), ("double", lambda X: X * 2)])
    assert np.allclose(fitted.apply(fitted.stages[0].splits.test.X), fitted.prepared.test.X)


def test_a_step_that_raises_is_named():
    """The user's exception names the step."""
    with pytest.raises(UserCodeError, match="'broken'"):
        pipeline(preprocess=[("broken", lambda X: X / "a")])


def test_a_wrong_return_of_prepare_is_the_users_error():
    """Anything but three splits is refused."""
    with pytest.raises(UserCodeError, match="must return Splits"):
        pipeline(prepare=lambda splits: 3)


def test_labels_of_text_become_ids_in_sorted_order():
    """Text classes are numbered alphabetically."""
    labels = Labels.of("classification", np.array(["b", "a", "b"], dtype=object))
    assert labels.encode(["a", "b"]).tolist() == [0, 1]


def test_an_unknown_label_is_refused():
    """A class that train lacks is an error that names it."""
    with pytest.raises(ValueError, match="'c'"):
        Labels.of("classification", np.array(["a", "b"])).encode(np.array(["c"]))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.ones((2, 3)), torch.float32),
        (np.ones((2, 3), np.uint8), torch.int64),
        (torch.ones(2, 3, dtype=torch.float64), torch.float32),
        (pd.DataFrame({"a": [1.5, 2], "b": [True, False], "c": pd.array([1, None], dtype="Int64")}), torch.float32),
        (pd.DataFrame({"a": [1, 2], "b": [0, 1]}), torch.int64),
        (pd.DataFrame({"a": [1, 2], "b": [0, 1]}, dtype="Int64"), torch.int64),
        (pd.DataFrame({"a": [1, None], "b": [0, 1]}, dtype="Int64"), torch.float32),
        (np.array([[1, 2.5], [3, 4]], dtype=object), torch.float32),
        (np.ones((2, 3), bool), torch.float32),
    ],
    ids=["float64", "uint8", "tensor", "frame", "whole frame", "nullable", "with a gap", "objects", "bool"],
)
def test_prepared_inputs_become_tensors(value, dtype):
    """Floats become float32, whole numbers int64, whatever holds them."""
    assert to_inputs(value).dtype is dtype


def test_text_that_is_left_is_named():
    """A column that is still text is a target error with its name."""
    with pytest.raises(TargetError, match="'city'"):
        to_inputs(pd.DataFrame({"city": ["Bern"]}))
