"""The model file: what it holds and whether to trust it."""
