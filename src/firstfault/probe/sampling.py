"""A step that is sampled: all that looks on in it, turned on and off."""

from __future__ import annotations

from firstfault.probe.activations import Looker
from firstfault.probe.backward_passes import BackwardPasses
from firstfault.probe.label_pull import LabelPull
from firstfault.probe.loss_calls import LossCalls
from firstfault.probe.model_calls import ModelCalls
from firstfault.probe.models import Models
from firstfault.probe.norms import Norms


class Sampling:
    """Hooks the modules of the models, and tells the others, from the beginning of a sampled step to its end."""

    def __init__(
        self,
        models: Models,
        looker: Looker,
        norms: Norms,
        pull: LabelPull,
        losses: LossCalls,
        calls: ModelCalls,
        passes: BackwardPasses,
    ) -> None:
        self._models, self._looker, self._norms, self._pull = models, looker, norms, pull
        self._losses, self._calls, self._passes = losses, calls, passes
        self.on = False

    def begin(self) -> None:
        """Look on from now on."""
        self._turn(True)
        self._calls.finder.begin()
        self.look()

    def look(self) -> None:
        """Hook the modules as they are now: a model may have been found, or have grown."""
        self._looker.end()
        self._models.look()
        self._looker.begin(self._models.leaves, self._models.attention)

    def look_no_more(self) -> None:
        """Take the hooks off; norms and losses are still wanted."""
        self._looker.end()
        self._calls.finder.end()

    def end(self) -> None:
        """Look no longer."""
        self._turn(False)
        self.look_no_more()
        self._norms.forget()
        self._pull.forget()

    def _turn(self, on: bool) -> None:
        self.on = self._losses.sampling = self._calls.sampling = self._passes.sampling = on
