"""Faults of the preprocessing: what is wrong, the general remedy, and what else each brings about."""

FAULTS = {
    "missing_normalisation": ("inputs are on wild scales", "standardise the inputs, fitted on train"),
    "double_normalisation": ("inputs are scaled twice", "scale once"),
    "target_not_scaled": ("the regression target is on a wild scale", "standardise the target, and invert at the end"),
    "label_scaled": ("labels went through the input scaling", "scale the inputs only"),
    "misaligned_labels": ("inputs were moved without their labels", "shuffle and filter inputs and labels together"),
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
}

BY_SERVING = frozenset(
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

EXPLAINS = {
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
    )
}
