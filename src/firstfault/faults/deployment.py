"""Faults of the deployment: what is wrong, the general remedy, and what else each brings about."""

FAULTS = {
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
}

EXPLAINS = {
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
}
