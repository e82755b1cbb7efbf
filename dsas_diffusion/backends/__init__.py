"""Running prompts through models: what differs between pictures and text."""
