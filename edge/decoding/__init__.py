"""Bytes from outside to pictures and facts, under limits."""
