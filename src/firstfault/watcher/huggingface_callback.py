"""`firstfault.watch` as a callback of the Hugging Face Trainer."""

from __future__ import annotations

from typing import Any

from firstfault.extras import needs_extra
from firstfault.watcher.callback import Watching
from firstfault.watcher.watch import Watch

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise needs_extra("transformers", "the Hugging Face callback") from error


class FirstfaultCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Watches `train`, on the first process of several.

        callback = FirstfaultCallback("translation")
        Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()
        print(callback.watched.verdict().first_faulty_layer)

    The Trainer tells its callbacks of no exception: where the training raises, the watch goes on until the next
    `train`. To keep a crash, put `train` in a `with firstfault.watch(…)` instead.

    Args:
        name: of the training.
        settings: the other arguments of `firstfault.watch`.
    """

    def __init__(self, name: str = "training", **settings: Any) -> None:
        self._watching = Watching(name, settings)

    @property
    def watched(self) -> Watch:
        """The watch of the last `train`: `record`, `verdict()`, `report()`."""
        return self._watching.watched

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Watch from here."""
        if state.is_world_process_zero:
            self._watching.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the training where an action asked for it."""
        if self._watching.asks_for_the_end:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Watch no longer."""
        self._watching.stop()
