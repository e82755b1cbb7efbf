"""Putting steering into a model and taking it out again."""
