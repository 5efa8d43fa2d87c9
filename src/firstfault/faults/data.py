"""Faults of the data: what is wrong, the general remedy, and what else each brings about."""

FAULTS = {
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
}

EXPLAINS = {
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
    # without a value there is nothing to compute with
    "missing_values": frozenset({"nonfinite_output", "numerically_unstable"}),
    # a column in another unit, or filled with one value, moved as well
    "unit_change": frozenset({"covariate_drift", "out_of_range"}),
    "upstream_default": frozenset({"covariate_drift", "missing_values"}),
    "stale_feature": frozenset({"covariate_drift", "duplicate_rows"}),
}
