"""HOW to steer: one file a method; a new file is the whole change."""
