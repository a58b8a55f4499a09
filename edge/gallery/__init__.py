"""The known animals: a log that no mistake can ruin."""
