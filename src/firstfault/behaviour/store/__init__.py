"""The store of failures: of models, language models and incidents, each kept once, masked, and asked again."""
