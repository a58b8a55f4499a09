"""The page about one training run: what was trained, how it went, how good it is."""
