"""The device examined, with advice."""
