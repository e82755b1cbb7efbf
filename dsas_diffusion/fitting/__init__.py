"""Learning a steerer from prompts: recording, gates and maps learned from it, training, and how far to trust them."""
