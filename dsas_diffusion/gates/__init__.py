"""WHEN and WHERE to steer: one file a gate; a new file is the whole change."""
