"""Faults of the model: what is wrong, the general remedy, and what else each brings about."""

FAULTS = {
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
}

EXPLAINS = {
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
}
