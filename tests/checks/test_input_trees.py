"""A target whose preprocessing leaves several inputs: they are prepared, trained on, judged and served as one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from firstfault import Training
from firstfault.ablation.swaps.preprocessing import one_path, standardised_inputs
from firstfault.check import checks_of
from firstfault.errors import TargetError, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.subject.replay import replayed
from firstfault.subject.serving import golden_of, run_module, served_of, serving_inputs
from firstfault.tracking.packaged_model import PackagedModel
from firstfault.training.input_tree import InputTree
from firstfault.training.one_tensor import Rows, Samples, inputs_of_call
from firstfault.training.tree_calls import as_declared

ROWS, LENGTH, TOKENS = 240, 9, 20


@dataclasses.dataclass
class Two:
    """A user's own container."""

    user: torch.Tensor
    item: torch.Tensor


def numbers(scale=1.0, seed=0):
    """Two sides of four columns each, of which products of pairs make the label."""
    rng = np.random.default_rng(seed)
    sides = rng.normal(size=(ROWS, 8))
    y = (sides[:, :3] * sides[:, 4:7]).sum(1) > 0
    sides[:, 4:] *= scale
    return sides.astype(np.float32), y.astype(int)


def as_dict(X):
    return {"user": X[:, :4], "item": torch.tensor(X[:, 4:])}


FORMS = {
    "dict": as_dict,
    "tuple": lambda X: (X[:, :4], X[:, 4:]),
    "dataclass": lambda X: Two(torch.tensor(X[:, :4]), torch.tensor(X[:, 4:])),
    "frames": lambda X: {"user": pd.DataFrame(X[:, :4]), "item": X[:, 4:].tolist()},
}


class Towers(nn.Module):
    """Two towers; `spelling` says how they are called."""

    def __init__(self):
        super().__init__()
        self.user, self.item = (nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(2))
        self.head = nn.Linear(16, 2)

    def both(self, user, item):
        return self.head(torch.cat([self.user(user), self.item(item)], 1))


class ByName(Towers):
    def forward(self, user, item):
        return self.both(user, item)


class ByBatch(Towers):
    def forward(self, batch):
        if isinstance(batch, tuple):
            return self.both(*batch)
        return self.both(batch["user"], batch["item"]) if isinstance(batch, dict) else self.both(batch.user, batch.item)


def padded(seed=0):
    """Rows of tokens of several lengths, filled up with 0; the class is whether token 7 occurs."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, TOKENS, (ROWS, LENGTH))
    ids[np.arange(LENGTH) >= rng.integers(3, LENGTH + 1, ROWS)[:, None]] = 0
    return ids, (ids == 7).any(1).astype(int)


def encode(ids):
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor((ids != 0).astype(int))}


class Encoder(nn.Module):
    """Attention over tokens, and the mean of those that the mask keeps; `masked` says whether attention does too."""

    def __init__(self, masked=True):
        super().__init__()
        self.masked = masked
        self.embedding, self.places = nn.Embedding(TOKENS, 16, padding_idx=0), nn.Parameter(torch.randn(LENGTH, 16))
        self.attention, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 2)

    def forward(self, input_ids, attention_mask):
        h = self.embedding(input_ids) + self.places
        h = h + self.attention(h, h, h, key_padding_mask=attention_mask == 0 if self.masked else None)[0]
        return {"logits": self.head((h * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))}


def found_by(run, subject, *layers):
    """The findings of the checks of some layers, of which none crashes."""
    found = [finding for layer in layers for entry in checks_of(layer) for finding in run(entry.name, subject)]
    assert not [finding for finding in found if finding.status is Status.ERROR]
    return found


def faults_in(found):
    """The faults that findings tell."""
    return {fault for finding in found if finding.status is Status.FAIL for fault in finding.faults}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", [ByName, ByBatch])
def test_a_model_is_given_the_tree_in_the_way_that_it_takes_it(make, form, model):
    """By names, part by part or whole, each sample gets the answer that the user's own call gives it."""
    if form == "dataclass" and model is ByName:
        pytest.skip("nobody calls a model so")
    if form == "frames" and model is ByBatch:
        form = "dict"
    X, _ = numbers()
    subject = make(numbers(), preprocess=FORMS[form], model=model)
    x = subject.recipe.train.x[:5]
    given = subject.pipeline.before_model(subject.raw.train.X[:5])
    own = subject.recipe.model.own()
    own.load_state_dict(subject.model.state_dict())
    sides = torch.tensor(subject.raw.train.X[:5])
    assert torch.allclose(subject.model(x), own.both(sides[:, :4], sides[:, 4:]), atol=1e-6)
    assert type(given) is type(FORMS[form](X))


def test_a_prepared_tree_is_measured_as_an_array(make):
    """All its numbers side by side, whole or row by row."""
    X, _ = numbers()
    tree = make((X, np.arange(ROWS) % 2), preprocess=as_dict, model=ByName).prepared.train.X
    assert isinstance(tree, InputTree) and tree.shape == np.asarray(tree).shape == (len(tree), 8)
    assert np.array_equal(np.asarray(tree[3:5]), np.asarray(tree)[3:5])
    assert list(tree.tensors) == ["user", "item"]


def test_tokens_with_their_mask_are_the_tokens(make):
    """A mask that follows from the tokens is made for them, so that checks can change these; else rows are given."""
    of_tokens = make(padded(), preprocess=encode, model=Encoder)
    of_sides = make(numbers(), preprocess=as_dict, model=ByName)
    assert isinstance(inputs_of_call(of_tokens.model), Samples) and of_tokens.recipe.train.x.shape[1] == LENGTH
    assert isinstance(inputs_of_call(of_sides.model), Rows)


def test_healthy_trees_are_healthy(make, run):
    """No check of preprocessing and model finds a fault in towers and in a masked encoder, and most can look."""
    for source, step, model in ((numbers(), as_dict, ByName), (padded(), encode, Encoder)):
        subject = make(source, preprocess=step, model=model)
        found = found_by(run, subject, Layer.PREPROCESSING, Layer.MODEL)
        assert faults_in(found) == set()
        assert sum(finding.status is Status.PASS for finding in found) >= 30


def test_attention_without_the_mask_is_found(make, only):
    """An encoder that is given a mask, and does not pass it on, looks at padding."""
    subject = make(padded(), preprocess=encode, model=lambda: Encoder(masked=False))
    assert only("padding_not_masked", subject).status is Status.FAIL


def test_padding_is_seen_beside_another_input(make, run):
    """The tokens are found among several inputs, where rows are looked up."""

    class Beside(Encoder):
        def forward(self, input_ids, attention_mask, age):
            return super().forward(input_ids, attention_mask)["logits"] + age * 0.1

    def with_age(ids):
        return {**encode(ids), "age": torch.linspace(-1, 1, len(ids))[:, None]}

    for masked in (True, False):
        subject = make(padded(), preprocess=with_age, model=lambda masked=masked: Beside(masked))
        assert isinstance(inputs_of_call(subject.model), Rows)
        assert [finding.status for finding in run("padding_not_masked", subject)] == [
            Status.PASS if masked else Status.FAIL
        ]


def test_the_scale_of_the_second_of_two_inputs_is_seen_and_mended(make, only):
    """Of two towers, the one that is called later has inputs in the thousands: the place names its input."""
    subject = make(numbers(scale=5e3), preprocess=as_dict, model=ByName)
    finding = only("missing_normalisation", subject)
    assert finding.status is Status.FAIL
    assert "item" in str(finding.where) and "user" not in str(finding.where)
    model = standardised_inputs(subject).model()
    assert all(rows.std() < 1.1 for rows in model.forward.inputs.rows.values())
    assert only("missing_normalisation", make(numbers(), preprocess=as_dict, model=ByName)).status is Status.PASS


def loop(seen, calls):
    """A user's own loop over dict batches, that notes what it is given."""

    def fit(model, batches, held_out):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(2):
            for batch, y in batches:
                seen.append(batch)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(**batch), y).backward()
                optimizer.step()
        calls.append("forward" in vars(model))
        for batch, _ in held_out:
            seen.append(batch)

    return fit


def test_the_users_own_loop_is_given_trees_and_its_own_model(make):
    """`fit` gets batches as the preprocessing leaves them, calls its model as it is, and is replayed."""
    seen, calls = [], []
    subject = make(numbers(), preprocess=as_dict, model=ByName, training=Training(fit=loop(seen, calls), batch_size=32))
    trained = subject.trained
    assert trained.crash is None and calls == [False]
    assert all(set(batch) == {"user", "item"} and batch["user"].shape[1:] == (4,) for batch in seen)
    assert len(trained.epochs) == 3 and np.isfinite(trained.score)
    assert replayed(subject).training.fit is None


def test_the_users_loader_and_augmentation_are_given_trees(make):
    """A loader batches trees, an augmentation changes them, and the model is trained on what they make."""

    def load(batch, y, split):
        return [
            ({name: value[part] for name, value in batch.items()}, y[part]) for part in torch.arange(len(y)).split(32)
        ]

    def augment(batch):
        kept.append(type(batch))
        return {**batch, "item": batch["item"] + 0.01}

    kept = []
    for training in (Training(loader=load, epochs=1), Training(augment=augment, epochs=1)):
        assert make(numbers(), preprocess=as_dict, model=ByName, training=training).trained.crash is None
    assert set(kept) == {dict}


def test_a_served_tree_gives_the_answers_of_the_trained_model(make):
    """Raw samples go through the steps into the trained model, a network without its wrapping, and a package."""
    subject = make(numbers(), preprocess=as_dict, model=ByName, training=Training(epochs=1))
    golden, trained = golden_of(subject), subject.trained.model
    inputs = serving_inputs(subject, golden.raw)
    assert isinstance(inputs, InputTree) and len(inputs) == len(golden)
    for module in (trained, as_declared(trained)):
        assert np.allclose(run_module(subject, module, inputs), golden.outputs, atol=1e-5)
    steps = [step for _, step in subject.pipeline.steps]
    package = PackagedModel.of(as_declared(trained), steps, subject.raw.train.X, whole=True, style="named")
    assert np.allclose(package.predict(None, golden.raw), golden.outputs, atol=1e-5)


def test_prepare_may_return_trees(make):
    """A `prepare` of the user's own leaves trees too."""

    def prepare(splits):
        return [(as_dict(np.asarray(split.X)), split.y) for _, split in splits.items()]

    subject = make(numbers(), prepare=prepare, model=ByName, training=Training(epochs=1))
    assert subject.trained.crash is None
    golden = golden_of(subject)
    assert np.allclose(served_of(subject).call(golden.raw), golden.outputs, atol=1e-5)
    assert len(one_path(make(numbers(), prepare=shuffled_path, model=ByName)).train) > 0


def shuffled_path(splits):
    """Validation is prepared otherwise than train."""
    factors = {"train": 1, "validation": 2, "test": 1}
    return [(as_dict(np.asarray(split.X) * factors[name]), split.y) for name, split in splits.items()]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            lambda X: {"ids": [[1] * (1 + row % 3) for row in range(len(X))]},
            "ids holds lists of several lengths; pad them",
        ),
        (lambda X: {"ids": X, "text": ["a"] * len(X)}, "text holds lists of no numbers"),
        (lambda X: {"ids": X[:5]}, "a row for each of"),
        (lambda X: (X[:, : 3 + (len(X) > 100)], X), "samples of one shape in all splits"),
    ],
    ids=["ragged", "text", "rows", "shapes"],
)
def test_what_is_no_tree_of_samples_is_said_in_a_sentence(make, step, said):
    """Ragged lists, text, lost rows and shapes that differ between splits are the preprocessing's, by name."""
    with pytest.raises(UserCodeError, match=said):
        _ = make(numbers(), preprocess=step, model=ByName).recipe


def test_raw_data_that_are_a_tree_are_refused_with_what_to_do(make):
    """Raw samples are one frame or array; `preprocess` makes several inputs of them."""
    X, y = numbers()
    with pytest.raises(TargetError, match="data.train must have one frame, array or tensor.*`preprocess`"):
        _ = make((as_dict(X), y), model=ByName).raw
