"""Files that arrive in the inbox."""
