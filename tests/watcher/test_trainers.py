"""Actions under trainers that somebody else wrote: they are told to stop, and nothing is raised through them."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

RATES = [(30.0, True), (0.1, False)]
STEPS = 40


def data():
    """Points whose class is the sign of their sum."""
    x = torch.randn(320, 6, generator=torch.Generator().manual_seed(0))
    return x, (x.sum(1) > 0).long()


@pytest.mark.parametrize(("rate", "stops"), RATES)
def test_lightning_is_told_to_stop(rate, stops, tmp_path):
    """`trainer.should_stop` ends the fit cleanly."""
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from firstfault.watcher.lightning_callback import FirstfaultCallback

    class Module(lightning.LightningModule):
        """A regression whose weights explode with a high rate."""

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

        def training_step(self, batch, index):
            return nn.functional.mse_loss(self.net(batch[0])[:, 0], batch[1].float())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), rate)

    torch.manual_seed(0)
    callback = FirstfaultCallback("toy", folder=tmp_path / "run", actions=["stop"])
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[callback],
    )
    trainer.fit(Module(), DataLoader(TensorDataset(*data()), 32))
    assert bool(callback.watched.record.stopped) == stops and (trainer.global_step < STEPS) == stops


@pytest.mark.parametrize(("rate", "stops"), RATES)
def test_the_hugging_face_trainer_is_told_to_stop(rate, stops, tmp_path):
    """`control.should_training_stop` ends the training cleanly."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from firstfault.watcher.huggingface_callback import FirstfaultCallback

    class Model(nn.Module):
        """A regression that returns its loss."""

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

        def forward(self, x, labels):
            return {"loss": nn.functional.mse_loss(self.net(x)[:, 0], labels.float())}

    torch.manual_seed(0)
    callback = FirstfaultCallback("toy", folder=tmp_path / "run", actions=["stop"])
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        num_train_epochs=4,
        per_device_train_batch_size=32,
        learning_rate=rate,
        optim="sgd",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
    )
    rows = [{"x": x, "labels": y} for x, y in zip(*data(), strict=True)]
    trainer = transformers.Trainer(Model(), arguments, train_dataset=rows, callbacks=[callback])
    trainer.train()
    assert bool(callback.watched.record.stopped) == stops and (trainer.state.global_step < STEPS) == stops
