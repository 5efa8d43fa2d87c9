"""`firstfault.watch` as a callback of Lightning."""

from __future__ import annotations

from typing import Any

from firstfault.extras import needs_extra
from firstfault.watcher.callback import Watching
from firstfault.watcher.watch import Watch

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment, unused-ignore]
    except ModuleNotFoundError as error:
        raise needs_extra("lightning", "the Lightning callback") from error


class FirstfaultCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Watches `fit`, on the first process of several.

        callback = FirstfaultCallback("digits")
        Trainer(callbacks=[callback]).fit(model, loader)
        print(callback.watched.verdict().first_faulty_layer)

    Args:
        name: of the training.
        settings: the other arguments of `firstfault.watch`.
    """

    def __init__(self, name: str = "training", **settings: Any) -> None:
        self._watching, self._settings = Watching(name, settings), settings

    @property
    def watched(self) -> Watch:
        """The watch of the last `fit`: `record`, `verdict()`, `report()`."""
        return self._watching.watched

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Watch from here."""
        if trainer.is_global_zero:
            self._watching.start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the training where an action asked for it."""
        if "actions" in self._settings or "safety" in self._settings:
            # of the first of several processes
            asked = trainer.strategy.reduce_boolean_decision(self._watching.asks_for_the_end, all=False)
            trainer.should_stop = trainer.should_stop or asked

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Watch no longer."""
        self._watching.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Watch no longer, and keep what was raised as the watch's `crash`."""
        self._watching.stop(exception)
