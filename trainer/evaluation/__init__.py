"""How well an encoder finds the same animal again: protocols, figures, controls."""
