"""Raw frames of a memory card, searched once for animals before a training run."""
