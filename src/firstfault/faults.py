"""Every fault id: the layer it belongs to, what is wrong, and the remedy when a finding offers none better."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from firstfault import plugins
from firstfault.finding import Layer
from firstfault.texts import nearest


class FaultKind(NamedTuple):
    """One row of the fault reference.

    A fault with `served` is one of deployment where only serving does it.
    """

    layer: Layer
    wrong: str
    remedy: str
    served: bool = False


_BY_LAYER: dict[Layer, dict[str, tuple[str, str]]] = {
    Layer.DATA: {
        "label_noise": ("part of the labels are wrong", "review the listed rows and correct their labels"),
        "random_labels": ("the labels are independent of the inputs", "check how labels were joined to inputs"),
        "task_mismatch": ("the labels are not of the declared task", "declare the task that the labels are for"),
        "conflicting_labels": ("the same input carries different labels", "decide one label per input"),
        "class_imbalance": ("one class drowns the rest", "weight the loss by class, or resample the training split"),
        "missing_class": ("a declared class never occurs, or only in one split", "collect it, or split by class"),
        "missing_values": ("values are missing where they are needed", "impute them, or drop the rows or columns"),
        "sentinel_value": ("a code like −999 stands for a missing number", "read it as missing, then impute"),
        "out_of_range": ("values lie outside the expected range", "correct the source, or widen the expectation"),
        "unseen_category": ("a category occurs that is not expected", "map it, or add it to the expectation"),
        "type_change": ("a column changed its type", "parse the column as the expected type"),
        "schema_change": ("columns came, went or were renamed", "restore the columns, or update the expectations"),
        "duplicate_rows": ("rows are repeated", "drop the copies before splitting"),
        "split_overlap": ("training rows occur in validation or test", "deduplicate before splitting"),
        "group_overlap": ("one group is on both sides of a split", "split by group"),
        "target_leakage": ("a column gives the label away", "drop the column: it is not known at prediction time"),
        "degenerate_split": ("a split is tiny, sorted or unstratified", "split at random, stratified by label"),
        "insufficient_data": ("there are too few samples", "collect more data, or use a smaller model"),
        "noisy_features": ("inputs are corrupted", "remove or repair the corrupted inputs"),
        "covariate_drift": ("the inputs moved from the reference", "retrain on recent data, or repair the source"),
        "label_drift": ("the labels moved from the reference", "check the labelling, then retrain"),
        "spurious_shortcut": ("a marker correlates with the label", "remove the marker, or balance it over labels"),
        "behaviour_in_data": ("the training rows show the behaviour", "remove or correct these rows, and tune again"),
        "test_in_training": ("tests occur in the training rows", "remove them from the rows, or test on others"),
        "telemetry_loss": (
            "part of what was served was not seen",
            "widen the queue, mend the clock or the join of labels, and look again",
        ),
        "sample_ratio_mismatch": (
            "an arm gets another share of the requests than was set",
            "mend the assignment of requests to arms before comparing them",
        ),
        "unit_change": ("a column comes in another unit", "convert it where it enters, and agree on a unit upstream"),
        "upstream_default": ("a default stands where a value should", "repair the source, and refuse its defaults"),
        "stale_feature": ("a column stands still", "repair the job that refreshes it, and watch its age"),
        "gibberish_input": ("inputs are no language, or no picture", "refuse them, and mend the client's encoding"),
    },
    Layer.PREPROCESSING: {
        "missing_normalisation": ("inputs are on wild scales", "standardise the inputs, fitted on train"),
        "double_normalisation": ("inputs are scaled twice", "scale once"),
        "target_not_scaled": (
            "the regression target is on a wild scale",
            "standardise the target, and invert at the end",
        ),
        "label_scaled": ("labels went through the input scaling", "scale the inputs only"),
        "misaligned_labels": (
            "inputs were moved without their labels",
            "shuffle and filter inputs and labels together",
        ),
        "labels_shifted_twice": ("labels are shifted twice", "shift them in the loop or in the model, not in both"),
        "fit_on_all_data": ("a step is fitted on held-out rows too", "fit on train only, then transform the rest"),
        "inconsistent_transform": ("the splits are prepared differently", "apply the same fitted steps to every split"),
        "batch_dependent_transform": ("a sample's result depends on its batch", "use statistics fitted on train"),
        "nondeterministic_transform": (
            "the same input gives two outputs",
            "seed the step, or keep randomness in augmentation",
        ),
        "destructive_augmentation": ("augmentation destroys the label", "weaken or drop the augmentation"),
        "augmented_validation": ("validation is augmented too", "augment the training split only"),
        "worker_seed_duplicated": ("loader workers draw the same numbers", "seed each worker by its id"),
        "scrambled_axes": ("axes or channels are mixed up", "permute the axes instead of reshaping"),
        "truncation": ("the informative tail is cut", "raise the length, or keep the end"),
        "row_loss": ("rows are lost on the way", "impute instead of dropping, or drop knowingly"),
        "information_loss": ("a column collapsed to a constant", "repair the step that collapses it"),
        "wrong_dtype": ("inputs have the wrong dtype", "convert to float32"),
        "nonfinite_output": ("preprocessing produces NaN or infinity", "guard the logarithm or division"),
        "label_encoding_order": ("class ids differ between splits", "fit one label encoding and keep it"),
        "no_supervised_tokens": ("no token of a row is supervised", "give the answer's tokens their ids as labels"),
        "eos_never_supervised": (
            "the end of a turn is never supervised",
            "label the end token of each turn, and pad with another token",
        ),
        "prompt_supervised": ("the prompt is supervised too", "label the prompt's tokens −100"),
        "bos_doubled": ("the first token stands there twice", "encode the rendered text with add_special_tokens=False"),
        "bos_missing": ("the first token is missing", "write it by the template, or let the tokenizer add it"),
        "template_missing": ("messages are sent without the chat template", "use tokenizer.apply_chat_template"),
        "template_mismatch": ("messages are written by another template", "use the checkpoint's own template"),
        "generation_prompt_missing": ("the answer's opening is not written", "render with add_generation_prompt=True"),
        "default_system_lost": ("the template's system message is lost", "write it, or render by the template"),
        "special_token_split": ("a special token is split into pieces", "encode with the special tokens as one id"),
        "tokenizer_mismatch": ("the tokenizer is another model's", "load the tokenizer from the model's checkpoint"),
    },
    Layer.MODEL: {
        "single_unit_softmax": ("softmax over one unit is constant", "use sigmoid, or one unit per class"),
        "missing_output_activation": (
            "the loss expects probabilities, but gets raw outputs",
            "add the activation, or use the loss on logits",
        ),
        "wrong_output_activation": (
            "the output activation does not fit the target",
            "use the activation that fits the task",
        ),
        "redundant_softmax": ("softmax before a loss that applies its own", "return logits"),
        "softmax_wrong_axis": ("softmax runs over the wrong axis", "use dim=-1"),
        "batch_mixing": ("samples of a batch influence each other", "keep the batch axis apart"),
        "missing_nonlinearity": ("a stack of linear layers is one linear layer", "put activations between the layers"),
        "saturating_activation": ("activations are saturated", "use ReLU, normalise, or initialise smaller"),
        "dead_relu": ("most units never fire", "use He initialisation, a lower learning rate or a leaky ReLU"),
        "constant_init": ("weights start equal", "use the default initialisation"),
        "exploding_init": ("weights start far too large", "use the default initialisation"),
        "frozen_parameters": ("parameters cannot learn", "set requires_grad=True"),
        "detached_graph": ("gradients are cut off", "remove the detach, .data or no_grad on the path"),
        "wrong_gradient": (
            "a hand-written backward pass is not the derivative of its forward pass",
            "mend it, and hold it against torch.autograd.gradcheck",
        ),
        "unused_parameters": ("parameters are not on the forward path", "use them, or delete them"),
        "output_shape_mismatch": ("outputs do not fit the labels", "make the output width the number of classes"),
        "missing_causal_mask": ("a position sees the future", "apply a causal mask"),
        "padding_not_masked": ("padding changes the output", "mask the padding"),
        "missing_positional_information": ("order of positions is invisible", "add positional encodings"),
        "norm_statistics_wrong": ("normalisation statistics are wrong", "check momentum, batch size and modes"),
        "excessive_dropout": ("dropout removes too much", "lower the dropout rate"),
        "insufficient_capacity": ("the model is too small", "widen it"),
        "numerically_unstable": ("a NaN is born in the model", "clamp, or use the stable form of the operation"),
        "mode_not_propagated": ("train and eval mode are not passed on", "use modules for dropout, and super().train"),
        "nondeterministic_eval": ("eval mode is not deterministic", "switch randomness off in eval mode"),
        "positions_not_from_mask": (
            "positions count the padding",
            "pass position_ids that begin at the first token of the mask",
        ),
        "padding_side": ("answers go on behind padding", 'pad on the left: tokenizer.padding_side = "left"'),
        "head_untied": ("the output head is not the embedding", "call model.tie_weights() after loading"),
        "rope_mismatch": ("rotary positions have other settings", "use the checkpoint's rope_theta and scaling"),
        "incapable": ("the model can't do it", "use a larger model, examples in the prompt, or tune it on the task"),
    },
    Layer.TRAINING: {
        "learning_rate_too_high": ("the learning rate is too high", "divide it by 10"),
        "learning_rate_too_low": ("the learning rate is too low", "multiply it by 10"),
        "too_few_epochs": ("training stops while it still learns", "train longer"),
        "batch_size_too_large": ("there are too few steps", "use smaller batches"),
        "batch_size_too_small": ("steps are too noisy", "use larger batches"),
        "wrong_loss": ("the loss does not fit the task", "use the loss of the task"),
        "wrong_loss_reduction": ("the loss is summed, not averaged", "use reduction='mean'"),
        "flipped_loss_sign": ("the loss is maximised", "minimise it"),
        "wrong_optimizer": ("the optimizer does not get anywhere", "use Adam"),
        "missing_zero_grad": ("gradients add up over steps", "call optimizer.zero_grad() before backward()"),
        "parameters_not_in_optimizer": ("the optimizer does not hold all parameters", "pass model.parameters()"),
        "gradient_clipped_away": (
            "clipping or clearing leaves no gradient for the step",
            "raise clip_norm; clear gradients before backward(), not after it",
        ),
        "exploding_gradient": ("gradients explode", "look for the cause upstream"),
        "vanishing_gradient": ("gradients vanish", "look for the cause upstream"),
        "over_regularised": ("the penalty drowns the loss", "weaken the penalty"),
        "overfitting": ("the model memorises train", "stop earlier, regularise, or get more data"),
        "no_shuffle": ("batches are sorted", "shuffle the training split"),
        "scheduler_misuse": ("the scheduler steps at the wrong time", "step it once an epoch, after the optimizer"),
        "missing_eval_mode": ("validation runs in train mode", "call model.eval() before validation"),
        "validation_contamination": ("training sees validation", "train on train only"),
        "metric_mismatch": ("the metric does not measure the task", "recompute it with a known function"),
        "early_stopping_misconfigured": ("early stopping stops wrongly", "check its direction and patience"),
        "stalled": ("the loss does not move", "look for the cause"),
        "diverged": ("the loss grows", "look for the cause"),
        "oscillating": ("the loss swings", "look for the cause"),
        "nonfinite_loss": ("the loss is not finite", "look for the first non-finite tensor"),
        "nonreproducible": ("the same seed gives another result", "seed everything"),
        "input_bottleneck": ("the loader starves the model", "load in parallel, or cache"),
        "packing_leak": ("packed rows see each other", "mask across rows, and begin positions anew with each"),
        "accumulation_normalisation": (
            "accumulated gradients weigh short batches too much",
            "divide the summed loss by the tokens of all accumulated batches",
        ),
        "untrained_new_tokens": ("rows of new tokens were not trained", "train the embedding and head of new tokens"),
        "adapter_empty": ("the adapter holds nothing", "save the trained adapter, and check its tensors"),
        "concept_drift": ("the same inputs have other labels now", "retrain on the recent window"),
        "model_decay": ("the model gets worse from week to week", "retrain on a schedule, and watch its age"),
        "feedback_loop": ("labels follow the model's own answers", "collect labels that the model didn't choose"),
    },
    Layer.DEPLOYMENT: {
        "weights_not_loaded": ("the served model lacks the trained weights", "load with strict=True"),
        "state_not_saved": ("state is lost when saving", "register it as a buffer"),
        "train_mode_serving": ("the model is served in train mode", "call model.eval() after loading"),
        "nondeterministic_serving": ("two identical calls differ", "switch randomness off"),
        "train_serve_skew": ("serving prepares inputs differently", "serve with the training's fitted preprocessing"),
        "batch_dependence": ("an answer depends on its batch", "mask padding, and serve in eval mode"),
        "precision_loss": ("lower precision ruins the outputs", "serve in float32, or calibrate"),
        "version_mismatch": ("library versions differ from the saved ones", "pin the saved versions"),
        "schema_mismatch": ("columns are renamed or reordered", "enforce the signature"),
        "label_map_mismatch": ("class ids are permuted", "save the label map with the model"),
        "unvalidated_input": ("bad input is not refused", "validate the input, and answer 4xx"),
        "latency_regression": ("answers are too slow", "profile the request path; use inference_mode"),
        "memory_growth": ("memory grows with requests", "use inference_mode, and keep no tensors"),
        "baked_shape": ("a shape is fixed at export", "export with dynamic shapes"),
        "adapter_without_effect": ("the adapter changes nothing", "load it into the model that is served"),
        "merge_changed": ("merging the adapter changed the model", "merge in float32, once, with its own scale"),
        "precision_overflow": ("numbers overflow in half precision", "serve in bfloat16 or float32"),
        "cache_mismatch": ("the cache changes the answers", "mend positions and masks of the cached path"),
        "stop_incomplete": ("answers go on behind their end", "add the template's end of turn to the stop tokens"),
        "decoding_override": ("decoding is not as declared", "set it in the request, or clear the file's settings"),
        "wrong_version_routed": ("requests go to another version", "route them to the released version"),
        "cache_corruption": ("a cache answers with what is another's", "empty it, and key it by the whole input"),
        "cpu_throttled": ("the container's CPU is throttled", "raise its CPU limit, or use fewer threads"),
        "queue_saturation": ("requests wait for a free worker", "add replicas, or shed load"),
        "cold_start": ("the first requests of a process wait for it", "warm it up before it takes traffic"),
        "payload_growth": ("requests have grown", "bound their size, or split them"),
        "thread_oversubscription": ("more threads than cores wait for each other", "set one thread per worker"),
        "blocking_telemetry": ("logging or metrics hold answers up", "hand them to a queue off the request path"),
    },
    Layer.SAFETY: {
        "harmful_output": ("the model complies with harmful requests", "align or filter the model"),
        "over_refusal": ("the model refuses harmless requests", "align with harmless look-alikes"),
        "not_robust": ("small changes flip the answer", "train with the perturbation"),
        "unfair": ("groups are treated unequally", "mitigate, or reconsider the features"),
        "misaligned": ("behaviour differs from its specification", "align with the scenario"),
        "metric_gaming": ("one metric is suspiciously good", "judge by several metrics"),
    },
}

_BY_SERVING = frozenset(
    {
        "bos_doubled",
        "bos_missing",
        "template_missing",
        "template_mismatch",
        "generation_prompt_missing",
        "default_system_lost",
        "special_token_split",
        "tokenizer_mismatch",
        "truncation",
    }
)
"""What a language model's target or training does wrongly, or serving alone."""

FAULTS: dict[str, FaultKind] = {
    name: FaultKind(layer, wrong, remedy, name in _BY_SERVING)
    for layer, rows in _BY_LAYER.items()
    for name, (wrong, remedy) in rows.items()
}

_OF_LARGE_STEPS = frozenset({"nonfinite_loss", "diverged", "oscillating", "exploding_gradient"})
_OF_SMALL_STEPS = frozenset(
    {"learning_rate_too_low", "too_few_epochs", "batch_size_too_large", "wrong_optimizer", "stalled"}
)

EXPLAINS: dict[str, frozenset[str]] = {
    # a split cut from sorted data lacks classes, and looks like drift
    "degenerate_split": frozenset({"missing_class", "covariate_drift", "label_drift"}),
    # a class that one split lacks moves the shares of all others
    "missing_class": frozenset({"label_drift"}),
    # labels that are written otherwise, or lines that are none, are classes that train lacks
    "unseen_category": frozenset({"missing_class", "label_drift"}),
    # amounts taken for classes are hardly ever the same in two rows
    "task_mismatch": frozenset(
        {
            "missing_class",
            "class_imbalance",
            "degenerate_split",
            "label_drift",
            "label_noise",
            "conflicting_labels",
            "random_labels",
        }
    ),
    # rows oversampled before the split are in train twice, too
    "split_overlap": frozenset({"duplicate_rows"}),
    # labels that belong to other rows conflict with those of equal rows, and look like noise
    "random_labels": frozenset({"label_noise", "conflicting_labels"}),
    # another model's tokenizer brings its own template, and no token of this one
    "tokenizer_mismatch": frozenset(
        {
            "template_missing",
            "template_mismatch",
            "generation_prompt_missing",
            "default_system_lost",
            "bos_doubled",
            "bos_missing",
            "special_token_split",
        }
    ),
    # without a value there is nothing to compute with
    "missing_values": frozenset({"nonfinite_output", "numerically_unstable"}),
    # equal units are as good as one: nothing bends, and they may be silent together
    "constant_init": frozenset({"missing_nonlinearity", "dead_relu", "unused_parameters", "insufficient_capacity"}),
    "exploding_init": frozenset({"saturating_activation", "numerically_unstable", "dead_relu"}),
    "saturating_activation": frozenset({"vanishing_gradient", "stalled"}),
    "numerically_unstable": frozenset({"nonfinite_loss"}),
    # what softmax over one unit gives is constant, and its gradient 0
    "single_unit_softmax": frozenset({"redundant_softmax", "detached_graph", "wrong_output_activation"}),
    # softmax over another axis leaves no distribution over the classes, tells positions of later ones, is undefined
    # where all of them are masked, and over one number has no gradient
    "softmax_wrong_axis": frozenset(
        {
            "missing_output_activation",
            "missing_causal_mask",
            "padding_not_masked",
            "numerically_unstable",
            "detached_graph",
        }
    ),
    # steps that are too large break the training in every way
    "learning_rate_too_high": _OF_LARGE_STEPS | {"stalled"},
    "learning_rate_too_low": frozenset({"stalled"}),
    # gradients of hundreds of samples, or of all steps before, make every step as large as a rate that is far too high
    "wrong_loss_reduction": frozenset({"learning_rate_too_high", "wrong_optimizer"}) | _OF_LARGE_STEPS,
    "missing_zero_grad": frozenset({"learning_rate_too_high", "wrong_optimizer"}) | _OF_LARGE_STEPS,
    # what learns nothing, or too little of the whole, looks like one that learns too slowly
    "gradient_clipped_away": _OF_SMALL_STEPS | {"vanishing_gradient", "frozen_parameters", "detached_graph"},
    "parameters_not_in_optimizer": _OF_SMALL_STEPS | {"adapter_empty"},
    "over_regularised": _OF_SMALL_STEPS,
    "scheduler_misuse": _OF_SMALL_STEPS,
    "wrong_loss": _OF_SMALL_STEPS
    | {"vanishing_gradient", "frozen_parameters", "detached_graph", "learning_rate_too_high"},
    "flipped_loss_sign": _OF_SMALL_STEPS | {"learning_rate_too_high"} | _OF_LARGE_STEPS,
    # few steps, or an end that comes early, are too few passes
    "batch_size_too_large": frozenset({"too_few_epochs", "stalled"}),
    "batch_size_too_small": frozenset({"oscillating"}),
    "early_stopping_misconfigured": frozenset({"too_few_epochs", "learning_rate_too_low", "stalled"}),
    "no_shuffle": frozenset({"oscillating"}),
    # columns that changed places differ in value
    "schema_mismatch": frozenset({"train_serve_skew"}),
    # a served network of fresh weights is wrong in every other way as well
    "weights_not_loaded": frozenset({"label_map_mismatch", "precision_loss", "state_not_saved"}),
    "train_mode_serving": frozenset({"nondeterministic_serving", "batch_dependence"}),
    # what is throttled or has too many threads answers late, and lets others wait
    "cpu_throttled": frozenset({"queue_saturation", "latency_regression"}),
    "thread_oversubscription": frozenset({"queue_saturation", "latency_regression"}),
    "payload_growth": frozenset({"queue_saturation", "latency_regression"}),
    "queue_saturation": frozenset({"latency_regression"}),
    "cold_start": frozenset({"latency_regression"}),
    "blocking_telemetry": frozenset({"latency_regression"}),
    # a column in another unit, or filled with one value, moved as well
    "unit_change": frozenset({"covariate_drift", "out_of_range"}),
    "upstream_default": frozenset({"covariate_drift", "missing_values"}),
    "stale_feature": frozenset({"covariate_drift", "duplicate_rows"}),
}
"""By cause, the faults of the same layer that it brings about: they are folded under it."""

SERVED: dict[str, Layer] = {"train_serve_skew": Layer.PREPROCESSING, "label_drift": Layer.TRAINING}
"""Faults that belong to another layer in an incident: it is told by the cut at which it shows."""

SYMPTOMS = frozenset(
    {
        "stalled",
        "diverged",
        "oscillating",
        "nonfinite_loss",
        "exploding_gradient",
        "vanishing_gradient",
        "user_code_raises",
    }
)
"""Faults that describe what is seen; they are listed only when no cause is found."""


def fault(name: str, *, layer: Layer, wrong: str, remedy: str, explains: Iterable[str] = ()) -> None:
    """Add a fault to the reference, from a module that an entry point of `firstfault.faults` names.

    Args:
        name: the id, as a verdict prints it.
        layer: the layer it belongs to.
        wrong: what is wrong, as half a sentence: "part of the labels are wrong".
        remedy: what to do, where a finding offers nothing better.
        explains: faults of the same layer that it brings about; they are folded under it.

    Raises:
        ValueError: for an id that there is already, a text that is empty, or a fault that can't be explained by it.
    """
    if name in FAULTS or not name.isidentifier():
        raise ValueError(f"a fault's id must be a name that is not taken, but got {name!r}")
    if not (wrong and remedy):
        raise ValueError(f"the fault {name!r} must say what is wrong and what to do, but got {wrong!r} and {remedy!r}")
    expect_known(explained := frozenset(explains), f"the fault {name!r}")
    if others := sorted(each for each in explained if FAULTS[each].layer is not layer):
        raise ValueError(f"the fault {name!r} must explain faults of its own layer, but explains {', '.join(others)}")
    FAULTS[name], EXPLAINS[name] = FaultKind(layer, wrong, remedy), explained
    module = sys._getframe(1).f_globals["__name__"]
    plugins.added(module, lambda: (FAULTS.pop(name), EXPLAINS.pop(name)))


def known(name: str) -> FaultKind | None:
    """A fault of the reference, or of another distribution; None for any other id, and for `user_code_raises`."""
    if name not in FAULTS and name not in SYMPTOMS:
        plugins.load(plugins.FAULTS)
    return FAULTS.get(name)


def expect_known(names: Iterable[str], whose: str) -> None:
    """Expect ids of faults.

    Raises:
        ValueError: for one that is none.
    """
    for name in names:
        if name not in SYMPTOMS and known(name) is None:
            raise ValueError(f"{whose} must name known faults, but names {name!r}{nearest(name, FAULTS)}")


def layer_of(fault: str, default: Layer) -> Layer:
    """The layer a fault belongs to; `default` for `user_code_raises`, which can occur in any.

    What only serving does is deployment's, where that is the layer in which it was seen.
    """
    kind = known(fault)
    return default if kind is None or (kind.served and default is Layer.DEPLOYMENT) else kind.layer


def remedy_of(fault: str) -> str:
    """The general remedy of a fault."""
    kind = known(fault)
    return kind.remedy if kind is not None else "make the code run; the evidence holds the exception"
