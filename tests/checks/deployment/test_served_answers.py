"""Serving that is built otherwise than training and is sound, and serving that looks sound and is not."""

import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
from sklearn.datasets import load_diabetes, load_wine
from torch import nn

from firstfault import Deployment, Training
from firstfault.faults import SYMPTOMS
from firstfault.finding import Status
from firstfault.runs.processes import free_port
from firstfault.standing import PROOF

WINE = load_wine()
MEAN, STD = WINE.data.mean(0), WINE.data.std(0)
NAMES = np.array(["barolo", "grignolino", "barbera"])
TRAINING = Training(epochs=30, batch_size=16, optimizer=lambda p: torch.optim.Adam(p, 1e-2))


def scaled(X):
    return ((np.asarray(X) - MEAN) / STD).astype(np.float32)


def network(outputs=3):
    return nn.Sequential(nn.Linear(13, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, outputs))


def save(model, path):
    torch.save(model.state_dict(), path)


def loaded(path, **how):
    model = network()
    model.load_state_dict(torch.load(path), **how)
    return model.eval()


def scores(model, X):
    return model(torch.as_tensor(scaled(X))).detach().numpy()


class Service(nn.Module):
    """A served network that holds the trained one, and scales raw inputs itself."""

    def __init__(self, inner, order=(0, 1, 2)):
        super().__init__()
        self.inner, self.order = inner, list(order)
        self.register_buffer("mean", torch.as_tensor(MEAN, dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(STD, dtype=torch.float32))

    def forward(self, x):
        return self.inner((x - self.mean) / self.std).softmax(1)[:, self.order]


def raw(X):
    return np.asarray(X, dtype=np.float32)


def forgotten(path):
    model = network().eval()
    return lambda X: scores(model, X)


def in_train_mode(path):
    model = loaded(path).train()
    return lambda X: scores(model, X)


def fixed_batch(path):
    model = loaded(path)

    def predict(X):
        if len(X) not in (8, 16):
            raise ValueError(f"expected 8 or 16 rows, but got {len(X)}")
        return scores(model, X)

    return predict


def names(order):
    return lambda path: (lambda model: lambda X: NAMES[order][scores(model, X).argmax(1)])(loaded(path))


def fused(path):
    model = loaded(path)
    return nn.Sequential(nn.utils.fusion.fuse_linear_bn_eval(model[0], model[1]), *model[2:])


class Sized(nn.Module):
    """A network that takes the number of its rows as a number, which a trace keeps."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + torch.zeros(int(x.shape[0]), 1)


def rows_of_the_example(path):
    return torch.jit.trace(Sized(loaded(path)).eval(), torch.zeros(36, 13), check_trace=False)


def squeezed(path):
    model = loaded(path)
    return lambda X: np.squeeze(scores(model, X))


def quantised_weights(levels):
    """A loader of the trained weights, rounded to so many levels a side and kept as float32."""

    def load(path):
        model = loaded(path)
        with torch.no_grad():
            for layer in (model[0], model[3]):
                step = layer.weight.abs().max() / levels
                layer.weight.copy_((layer.weight / step).round() * step)
        return model

    return load


def coarse(path):
    model = loaded(path)
    with torch.no_grad():
        for value in model.parameters():
            step = value.abs().max() / 1.5
            value.copy_((value / step).round() * step)
    return model.half()


WHOLE = (
    "train_mode_serving",
    "nondeterministic_serving",
    "train_serve_skew",
    "served_parameters",
    "served_answers",
    "batch_dependence",
    "latency_regression",
)


def faults(run, subject):
    found = [finding for name in WHOLE for finding in run(name, subject)]
    assert not [finding for finding in found if finding.status is Status.ERROR], found
    proven = {
        fault
        for finding in found
        if finding.status is Status.FAIL
        for fault, weight in finding.faults.items()
        if weight >= PROOF
    }
    return proven - SYMPTOMS  # a refusal is listed under its cause


@pytest.mark.parametrize(
    "served",
    [
        Deployment(save=save, load=lambda path: Service(loaded(path)).eval(), preprocess=raw),
        Deployment(save=save, load=fused),
        Deployment(save=save, load=lambda path: (lambda model: lambda X: scores(model, X))(loaded(path))),
        Deployment(save=save, load=lambda path: loaded(path).bfloat16()),
        Deployment(save=save, load=names([1, 0, 2])),
        Deployment(save=save, load=quantised_weights(127)),
        Deployment(save=lambda m, path: save(m, f"{path}.pt"), load=lambda path: fused(f"{path}.pt")),
    ],
    ids=[
        "a wrapper that scales",
        "fused layers",
        "a function of raw inputs",
        "half precision",
        "other names",
        "8 bits as floats",
        "a suffix that both append",
    ],
)
def test_serving_that_answers_as_the_trained_model_is_sound(make, run, served):
    """However it is built: what counts is the answer. Unknown names for the classes are names."""
    subject = make("wine", preprocess=scaled, model=network, training=TRAINING, deployment=served)
    assert not [finding for name in WHOLE for finding in run(name, subject) if finding.status is Status.FAIL]


@pytest.mark.parametrize(
    ("fault", "served"),
    [
        (
            "label_map_mismatch",
            Deployment(save=save, load=lambda path: Service(loaded(path), (1, 0, 2)).eval(), preprocess=raw),
        ),
        ("weights_not_loaded", Deployment(save=save, load=forgotten)),
        ("train_mode_serving", Deployment(save=save, load=in_train_mode)),
        ("baked_shape", Deployment(save=save, load=fixed_batch)),
        ("baked_shape", Deployment(save=save, load=rows_of_the_example)),
        ("baked_shape", Deployment(save=save, load=squeezed)),
        ("precision_loss", Deployment(save=save, load=coarse)),
        ("precision_loss", Deployment(save=save, load=quantised_weights(1.5))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_it_is_named(make, run, fault, served):
    """Within a wrapper, a closure, or behind a refusal; only that is certain."""
    subject = make("wine", preprocess=scaled, model=network, training=TRAINING, deployment=served)
    assert faults(run, subject) == {fault}


def test_names_that_changed_places_are_a_label_map(make, run):
    """The labels are known here, and each is served for another."""
    source = WINE.data, NAMES[WINE.target]
    order = np.argsort(NAMES)
    for served, expected in ((order, set()), (np.roll(order, 1), {"label_map_mismatch"})):
        subject = make(
            source,
            preprocess=scaled,
            model=network,
            training=TRAINING,
            deployment=Deployment(save=save, load=names(served)),
        )
        assert faults(run, subject) == expected


@pytest.mark.parametrize(
    ("back", "status"),
    [(lambda y: 152 + 77 * y, Status.PASS), (np.exp, Status.PASS), (lambda y: -y, Status.FAIL)],
    ids=["scaled back", "out of the logarithm", "flipped"],
)
def test_a_regression_may_answer_in_another_unit(make, only, back, status):
    """The served numbers rise with the trained model's."""
    X, y = load_diabetes(return_X_y=True)

    def load(path):
        model = nn.Linear(10, 1)
        model.load_state_dict(torch.load(path))
        return lambda X: back(model(torch.as_tensor(np.asarray(X), dtype=torch.float32)).detach().numpy()[:, 0])

    source = X.astype(np.float32), ((y - 152) / 77).astype(np.float32)
    subject = make(
        source,
        task="regression",
        model=lambda: nn.Linear(10, 1),
        training=Training(epochs=2),
        deployment=Deployment(save=save, load=load),
    )
    assert only("served_answers", subject).status is status


def test_scores_of_unscaled_inputs_are_a_skew_though_the_classes_are_the_same(make, only):
    """A network without biases is blind to a factor, but not to a shift that is small."""

    def load(path):
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        model.load_state_dict(torch.load(path))
        return lambda X: model(torch.as_tensor(np.asarray(X), dtype=torch.float32)).detach().numpy()

    def subject(preprocess):
        training = Training(epochs=8, optimizer=lambda p: torch.optim.Adam(p, 3e-3))
        return make(
            "digits",
            preprocess=preprocess,
            model=lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
            training=training,
            deployment=Deployment(save=save, load=load),
        )

    assert only("served_answers", subject(lambda X: (X - 4.9) / 6)).status is Status.FAIL
    assert only("served_answers", subject(lambda X: np.asarray(X, dtype=np.float32))).status is Status.PASS


def test_parametrised_layers_are_served_without_a_package(make, run):
    """MLflow can't pickle them; that is no fault of the target."""
    subject = make(
        "wine",
        preprocess=scaled,
        model=lambda: nn.utils.parametrizations.weight_norm(nn.Linear(13, 3)),
        training=Training(epochs=1),
    )
    assert faults(run, subject) == set()
    assert run("served_process", subject)[0].status is Status.SKIPPED


def test_a_url_that_does_not_answer_leaves_the_verdict_undecided(make, only):
    """What is served there was not seen: no fault can be named, and nothing is cleared."""
    deployment = Deployment(url=f"http://127.0.0.1:{free_port()}/predict")
    subject = make("wine", model=lambda: nn.Linear(13, 3), training=Training(epochs=1), deployment=deployment)
    found = only("served_process", subject)
    assert found.status is Status.FAIL and not found.faults and "nothing answers at http" in found.message


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone kills a child with its parent")
def test_a_server_ends_with_the_process_that_started_it():
    """Also where that is killed, and can't clean up."""
    code = (
        "import subprocess, time; from firstfault.runs.ownership import ends_with_us; "
        "print(subprocess.Popen(['sleep', '300'], start_new_session=True, preexec_fn=ends_with_us()).pid, flush=True); "
        "time.sleep(300)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
