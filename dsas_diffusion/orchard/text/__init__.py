"""Orchard's texts: a grammar of descriptions, questions and talk that knows the probability of what it says."""
