"""Animals, people and vehicles found in a picture."""
