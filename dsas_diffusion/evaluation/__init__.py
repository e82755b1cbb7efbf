"""Measures of removal and preservation, one a file; each a pure function and a streaming class."""
