"""Arithmetic on tensors; knows no model, no hook, no hub."""
