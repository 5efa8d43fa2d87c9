"""Faults of the training: what is wrong, the general remedy, and what else each brings about."""

FAULTS = {
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
}

_OF_LARGE_STEPS = frozenset({"nonfinite_loss", "diverged", "oscillating", "exploding_gradient"})
_OF_SMALL_STEPS = frozenset(
    {"learning_rate_too_low", "too_few_epochs", "batch_size_too_large", "wrong_optimizer", "stalled"}
)
EXPLAINS = {
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
}
