"""The callbacks of Lightning and of the Hugging Face Trainer: the same probe, a loop that somebody else wrote."""

import importlib

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import firstfault
from firstfault.finding import Layer

STEPS = 40


def data(n=320, seed=0):
    """Points whose class is the sign of their sum."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x.sum(1) > 0).long()


def network():
    """A small network with dropout."""
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))


def lightning_fit(package, tmp_path, callbacks, *, rate=0.1, training_step=None):
    """The weights after `Trainer.fit` on a fixed seed."""
    lightning = pytest.importorskip(package, reason=f"{package} is not installed")

    class Module(lightning.LightningModule):
        """The network, its loss and its optimizer."""

        def __init__(self):
            super().__init__()
            self.net = network()

        def training_step(self, batch, index):
            return (
                training_step(self, batch, index)
                if training_step
                else nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            )

        def validation_step(self, batch, index):
            right = self.net(batch[0]).argmax(1) == batch[1]
            self.log("val_acc", right.float().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), rate, momentum=0.9)

    torch.manual_seed(3)
    x, y = data(640)
    module, batches = Module(), DataLoader(TensorDataset(x[:320], y[:320]), 32)
    held_out = DataLoader(TensorDataset(x[320:], y[320:]), 32)
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=callbacks,
    )
    trainer.fit(module, batches, held_out)
    return list(module.parameters())


@pytest.mark.parametrize("by_name", [False, True])
def test_the_gradients_of_a_closure_are_those_of_its_step(by_name, tmp_path):
    """Lightning learns in a closure: its norms and update ratios are those of the same loop without one."""

    def norms(closure, folder):
        torch.manual_seed(1)
        model, (x, y) = network(), data(64)
        optimizer = torch.optim.SGD(model.parameters(), 0.3)

        def learn():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        with firstfault.watch(folder=folder) as watched:
            for _ in range(20):
                if closure:
                    optimizer.step(**{"closure": learn}) if by_name else optimizer.step(learn)
                else:
                    learn()
                    optimizer.step()
        return watched.record.grad_norm, watched.record.update_ratio, watched.record.parameters

    assert norms(True, tmp_path / "closure") == norms(False, tmp_path / "plain")


PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


@pytest.fixture
def lightning_callback():
    """The callback's class."""
    pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    return importlib.import_module("firstfault.watcher.lightning_callback").FirstfaultCallback


@pytest.mark.parametrize("package", PACKAGES)
def test_lightning_trains_as_without_and_every_step_is_seen(package, lightning_callback, tmp_path):
    """The weights end equal; each step has its loss, and the sampled ones the norm of their own gradients."""
    callback = lightning_callback("digits", folder=tmp_path / "watch")
    alone, seen = lightning_fit(package, tmp_path, []), lightning_fit(package, tmp_path, [callback])
    record = callback.watched.record
    assert all(torch.equal(a, b) for a, b in zip(alone, seen, strict=True))
    assert record.steps == STEPS and record.optimizers == ["SGD"] and record.grad_norm.steps[:5] == [1, 2, 3, 4, 5]
    assert callback.watched.verdict().first_faulty_layer is None
    assert record.stale_steps == 0 and record.validated_in_train_mode == 0 and 0 < record.logged["val_acc"] <= 1


def test_a_fault_of_a_lightning_training_is_named(lightning_callback, tmp_path):
    """A learning rate of 300 is found through the callback, and confirmed on a replay."""
    callback = lightning_callback(folder=tmp_path)
    lightning_fit("lightning.pytorch", tmp_path, [callback], rate=300.0)
    verdict = callback.watched.verdict()
    assert verdict.first_faulty_layer is Layer.TRAINING and verdict.faults[0].fault == "learning_rate_too_high"


def test_a_lightning_training_that_raises_is_no_longer_watched(lightning_callback, tmp_path):
    """The watch has the exception, and torch is as before."""

    def fails(module, batch, index):
        raise ArithmeticError("third batch")

    backward = torch.autograd.backward
    callback = lightning_callback(folder=tmp_path)
    with pytest.raises(ArithmeticError):
        lightning_fit("lightning.pytorch", tmp_path, [callback], training_step=fails)
    assert isinstance(callback.watched.crash, ArithmeticError) and torch.autograd.backward is backward


def test_a_callback_that_saw_nothing_says_so(lightning_callback):
    """Before `fit` there is no watch."""
    with pytest.raises(ValueError, match="must train first"):
        lightning_callback().watched  # noqa: B018


class Rows(torch.utils.data.Dataset):
    """Rows as mappings, as the Trainer takes them."""

    def __init__(self):
        self.x, self.y = data()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return {"x": self.x[row], "labels": self.y[row]}


class Classifier(nn.Module):
    """A model that gives loss and logits, as the Trainer takes it."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels=None):
        logits = self.net(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def hugging_face_train(tmp_path, callbacks):
    """The weights after `Trainer.train` on a fixed seed."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    torch.manual_seed(3)
    model = Classifier()
    arguments = transformers.TrainingArguments(
        str(tmp_path / "trainer"),
        num_train_epochs=4,
        per_device_train_batch_size=32,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        learning_rate=1e-2,
    )
    transformers.Trainer(model, arguments, train_dataset=Rows(), callbacks=callbacks).train()
    return list(model.parameters())


def test_the_hugging_face_trainer_trains_as_without_and_every_step_is_seen(tmp_path):
    """The weights end equal; losses, norms, the falling rate and what the Trainer logs are in the record."""
    alone = hugging_face_train(tmp_path, [])
    callback = importlib.import_module("firstfault.watcher.huggingface_callback").FirstfaultCallback(
        folder=tmp_path / "watch"
    )
    seen = hugging_face_train(tmp_path, [callback])
    record = callback.watched.record
    assert all(torch.equal(a, b) for a, b in zip(alone, seen, strict=True))
    assert (
        record.steps == STEPS
        and record.lr[-1] < record.lr[0]
        and set(record.parameters) == {f"net.{name}" for name, _ in network().named_parameters()}
    )
    assert record.logged["train_loss"] == pytest.approx(sum(record.loss.values) / STEPS, rel=1e-3)
    assert callback.watched.verdict(swaps=False).first_faulty_layer is None
