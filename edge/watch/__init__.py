"""One run of edge-watch over an inbox."""
