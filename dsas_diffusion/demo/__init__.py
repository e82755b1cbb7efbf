"""`dsas demo`: one concept from prompts to judged pictures, beside the rivals that remove as much."""
