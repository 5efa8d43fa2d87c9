"""Faults of a model's behaviour: what is wrong, and the general remedy."""

FAULTS = {
    "harmful_output": ("the model complies with harmful requests", "align or filter the model"),
    "over_refusal": ("the model refuses harmless requests", "align with harmless look-alikes"),
    "not_robust": ("small changes flip the answer", "train with the perturbation"),
    "unfair": ("groups are treated unequally", "mitigate, or reconsider the features"),
    "misaligned": ("behaviour differs from its specification", "align with the scenario"),
    "metric_gaming": ("one metric is suspiciously good", "judge by several metrics"),
}
