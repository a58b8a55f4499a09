"""What the encoder is computed on, and how it starts quickly."""
