"""What was seen of a training: plain numbers per step, and a few facts about its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from firstfault.finding import plain
from firstfault.place import Place
from firstfault.probe.series import Series


@dataclass
class Activations:
    """The outputs of one module on the sampled steps: over a strided subsample of their values.

    zero: share of values that are exactly 0; beyond: share beyond ±5, or for sigmoid and tanh, of outputs that an input
    beyond ±5 gives; dead: share of the units of a ReLU (last axis, or channels of images) that were 0 for every sample
    of the last 5 batches looked at.
    """

    kind: str
    mean: Series = field(default_factory=Series)
    std: Series = field(default_factory=Series)
    zero: Series = field(default_factory=Series)
    beyond: Series = field(default_factory=Series)
    dead: Series = field(default_factory=Series)
    largest: Series = field(default_factory=Series)


@dataclass
class Attention:
    """The attention weights of one module on the sampled steps, of the first sample of the batch.

    entropy: mean over heads and queries, relative to the largest possible, 0–1; pattern: the last weights, averaged
    over heads `(queries, keys)`, at most 32 of each.
    """

    entropy: Series = field(default_factory=Series)
    pattern: list[list[float]] = field(default_factory=list)


@dataclass
class Parameter:
    """One parameter tensor on the sampled steps: L2 norms of gradient and weight, and ‖Δw‖ / ‖w‖ of the step.

    Those of a weight of more than 16,384 values and of its update are estimated from a part of its rows.
    """

    size: int
    gradient: Series = field(default_factory=Series)
    weight: Series = field(default_factory=Series)
    update: Series = field(default_factory=Series)


@dataclass(frozen=True)
class Spread:
    """A loss that was given as many outputs as labels, in shapes that give more differences than that.

    `line` called it.
    """

    outputs: tuple[int, ...]
    target: tuple[int, ...]
    line: Place | None


@dataclass(frozen=True)
class OtherRows:
    """A loss that was given `rows` rows of an answer, and labels of which `other` are those of other rows.

    `line` called it.
    """

    rows: int
    other: int
    line: Place | None


@dataclass(frozen=True)
class HandWritten:
    """An autograd function of the user's, whose backward pass stands at `line`.

    At a share `off` of the numbers that were tried it is not the derivative of the forward pass.
    """

    name: str
    off: float
    line: Place | None


@dataclass
class TokensSeen:
    """The rows of tokens that a loop learns from, as far as they were kept (`probe.token_rows`), and how.

    Of `rows`, `unsupervised` ask for no token; `supervised` is the share of tokens that are asked for. `with_end` of
    the others hold a token that ends an answer, `end_supervised` are asked for one; `pad_is_end` tells that padding has
    the same id. `prompts` hold a user's turn that the tokenizer's template opens, and `prompt_supervised` of them ask
    for it. `first` and `last` are the texts of the tokens with which the supervised part mostly begins and ends, and
    `start` the ids with which the template begins a conversation.
    `ahead` is by how many positions what is asked for lies ahead of its position. `unigram` and `bigram` are what
    counts of the other rows cost, in nat a token, and `loss` the loss of the model on the sampled passes. Of the
    `rounds` of several passes on sampled steps whose passes ask for unequal numbers of tokens, `by_batch` weigh every
    batch alike, whatever its tokens, and `heaviest` is the largest ratio of the weights of two tokens of one step.
    `unmoved` are new tokens by their texts: the rows ask for them or hold them, and their embedding ends as the mean of
    all others, as it began. `factors` are the second factors of adapters, of which `zero_factors` end as zero.
    """

    rows: int = 0
    unsupervised: int = 0
    supervised: float = 0.0
    with_end: int = 0
    end_supervised: int = 0
    pad_is_end: bool = False
    prompts: int = 0
    prompt_supervised: int = 0
    first: str = ""
    last: str = ""
    start: list[int] = field(default_factory=list)
    ahead: int | None = None
    unigram: float = math.nan
    bigram: float = math.nan
    loss: Series = field(default_factory=Series)
    rounds: int = 0
    by_batch: int = 0
    heaviest: float = 1.0
    unmoved: list[str] = field(default_factory=list)
    factors: int = 0
    zero_factors: int = 0


@dataclass
class Record:
    """One observed training.

    Per optimizer step: `loss` (of the last backward) and `lr`. On the sampled steps: `grad_norm` (L2 over all
    parameters of the optimizer, before clipping), `clipped` (what clipping left of it, where it left less),
    `update_ratio` (‖Δw‖ / ‖w‖, median over parameters), `parameters` and `activations` by name, `attention`.
    `first_nonfinite` says where the first NaN or infinity was seen: (step, kind, place) with kind input, activation,
    loss, gradient or weight. `moved` is ‖w_end − w_start‖ / ‖w_start‖ by parameter name. `stale_steps` counts optimizer
    steps whose gradients still held those of the step before, `emptied_steps` those of the first whose gradients were
    cleared after the backward pass that gave them. `steps_on_validation` counts optimizer steps whose
    gradients came from a batch of the validation loader. `validated_in_train_mode` counts validation batches seen with
    the model in train mode, `others_in_train_mode` those that a model was given that never learns by itself;
    `validation_size` is the largest of them over the largest batch that was learnt from, `learning_models` the number
    of models called with gradients on. `misdirected` counts the optimizers that were given nothing but what another one
    holds too, or that stepped while nothing of theirs had a gradient. `constants` has, by
    loss function of torch that was learnt from, what the last calls on sampled steps came to and what the best
    constant answer to their targets costs: see `probe.constant_answers`. `never_stepped` has a row for each optimizer
    that was made and never stepped: its kind, the line of the user's code, and its parameters. `left_in_eval` is, by
    model, the share of the batches that it learnt from in the eval mode of a validation before them, or from the
    start. `spread` has, by loss function, those whose shapes are broadcast; one that autograd alone shows has no
    name. `loss_inputs` has, by loss function of torch and over its sampled `calls`, in how many of them it was given
    `probabilities`, rows whose exponentials don't sum to 1 (`unnormalised`), or the result of a `softmax`, `sigmoid` or
    `relu`, and of similarities `(N, N)` one target for all rows (`one_partner`); of binary
    cross-entropy the `low` and `high` of its targets, and its lowest `loss`, where that is below 0. A cross-entropy
    that the loop writes out stands under `logarithm`, with what
    it is of: `raw` outputs, those of a `relu`, or `other` numbers. `evaluated` has, by what the script calls them
    (`held-out`, `training`, or nothing), how many `batches` and `rows` were evaluated, and how many of the batches had
    been `learnt` from. `norms_in_eval` are the normalisations that were in eval mode whenever their model learnt, and
    that end with the statistics of no data. `stale_share` is the largest share of stale steps of an optimizer with 3
    and more. `lines` has the lines of the user's code, by part, as far as they were seen: the construction of the
    optimizer that stepped first (`optimizer`), of the `scheduler`, of the `loader` that was learnt from and of the loss
    module (`criterion`); the first call of the `loss`, of `backward`, `step` and `clipping`, and of the model in a
    `validation` in train mode. `names` are what these lines call the optimizer (`step`) and the model (`validation`).
    `other_rows` is a loss whose labels are those of other rows than its outputs: see `probe.answer_rows`. `logged` has
    the last values of what a Trainer logs, by name.
    `backward_by_hand` are the autograd functions of the user's: see `probe.custom_gradients`.
    `targets_ahead` counts the sampled losses of tokens, by how many positions their targets lay ahead of the inputs.
    `learnt_untold` tells that a model went on learning after a validation in train mode without being told to train.
    `rewards` are those of the episodes of an environment, by the step after which one ended, or of what `reward_of`
    names; `draws` tells that the loop learns from the probability of what it drew, and `credit` is, by update, how
    minus the slope of the loss in the log-probabilities of actions correlates with what came of them: see
    `probe.credit`. `pull` is, by sampled step, how it correlates in the outputs with their labels: see
    `probe.label_pull`. `generated` has, by generator whose outputs a critic is given, how many `batches` of them, and
    where real samples were seen too, how far from these the `first` and the `last` ones lie, and their `spread`
    relative to theirs: see `probe.generated_samples`. `tokens` is what a language model learns from.
    `phases` are seconds by what the loop did: data, forward, backward, optimizer, other; `cpu` those of the processor
    in them. `validation_loss` is the mean of the losses asked for without gradients between two steps. `seconds` of a
    step are those from its first forward pass to the end of its update, `waits` those until a torch DataLoader gave a
    batch, less the first of each pass; `workers` is the largest number of its processes, None without such a loader,
    `others` the share of the processors that other processes used.
    `maximises` tells that an optimizer goes up the slope.
    `passed_over` says what could not be looked at, and why. `acts` are the actions on findings while it ran, `stopped`
    says why one of them ended it, `stopped_at` after which step, and `safety` has one row for each evaluation of safety
    on the way: epoch, step, safety_score, capability_score, alignment_tax,
    what was violated, and the last good checkpoint.
    """

    loss: Series = field(default_factory=Series)
    lr: Series = field(default_factory=Series)
    grad_norm: Series = field(default_factory=Series)
    clipped: Series = field(default_factory=Series)
    update_ratio: Series = field(default_factory=Series)
    validation_loss: Series = field(default_factory=Series)
    seconds: Series = field(default_factory=Series)
    waits: Series = field(default_factory=Series)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    activations: dict[str, Activations] = field(default_factory=dict)
    attention: dict[str, Attention] = field(default_factory=dict)
    epoch_ends: list[int] = field(default_factory=list)
    first_nonfinite: tuple[int, str, Place] | None = None
    moved: dict[str, float] = field(default_factory=dict)
    had_gradient: dict[str, bool] = field(default_factory=dict)
    in_optimizer: dict[str, bool] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    optimizers: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    schedulers: dict[str, int] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    workers: int | None = None
    others: float = 0.0
    device: str = ""
    passed_over: dict[str, str] = field(default_factory=dict)
    acts: list[dict[str, Any]] = field(default_factory=list)
    safety: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    stopped_at: int = 0
    weight_decay: float = 0.0
    maximises: bool = False
    steps: int = 0
    backwards: int = 0
    stale_steps: int = 0
    emptied_steps: int = 0
    steps_on_validation: int = 0
    validation_batches: int = 0
    validated_in_train_mode: int = 0
    others_in_train_mode: int = 0
    validation_size: float = 0.0
    learning_models: int = 0
    stale_share: float = 0.0
    misdirected: int = 0
    constants: dict[str, dict[str, float]] = field(default_factory=dict)
    never_stepped: list[dict[str, Any]] = field(default_factory=list)
    left_in_eval: dict[str, float] = field(default_factory=dict)
    norms_in_eval: list[str] = field(default_factory=list)
    spread: dict[str, Spread] = field(default_factory=dict)
    other_rows: OtherRows | None = None
    logged: dict[str, float] = field(default_factory=dict)
    backward_by_hand: list[HandWritten] = field(default_factory=list)
    loss_inputs: dict[str, dict[str, float]] = field(default_factory=dict)
    evaluated: dict[str, dict[str, int]] = field(default_factory=dict)
    lines: dict[str, Place | None] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    learnt_untold: bool = False
    rewards: Series = field(default_factory=Series)
    reward_of: str = ""
    draws: bool = False
    credit: Series = field(default_factory=Series)
    pull: Series = field(default_factory=Series)
    generated: dict[str, dict[str, float]] = field(default_factory=dict)
    targets_ahead: dict[str, int] = field(default_factory=dict)
    tokens: TokensSeen = field(default_factory=TokensSeen)

    def model_of(self, name: str) -> str:
        """Which of several models a module or parameter is of: the first has no name of its own."""
        first = name.partition(".")[0]
        return first if any(first.startswith(model) for model in self.models[1:]) else ""

    def loss_ends(self) -> tuple[float, float]:
        """Mean loss of the first and of the last tenth of the steps; NaN without steps."""
        if not self.loss:
            return math.nan, math.nan
        tenth = max(1, len(self.loss) // 10)
        return float(np.mean(self.loss.values[:tenth])), float(np.mean(self.loss.values[-tenth:]))

    def to_json(self) -> dict[str, Any]:
        """This record as JSON values; a series is `{"steps": […], "values": […]}`."""
        step, kind, place = self.first_nonfinite or (None, None, None)
        born = [step, kind, place.to_json()] if place is not None else None
        return plain(_bare({**asdict(self), "first_nonfinite": born}))  # type: ignore[no-any-return]


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = ("steps", "values") if set(value) == {"steps", "values", "stride", "seen"} else tuple(value)
        return {key: _bare(value[key]) for key in kept}
    return [_bare(item) for item in value] if isinstance(value, list) else value
