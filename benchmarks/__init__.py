"""Speed and strength, measured; nothing in the package depends on it."""
