"""What is told about a running watch: health, logs, metrics."""
