"""Training Orchard's models from nothing, one file a model."""
