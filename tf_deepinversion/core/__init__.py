"""Argument checks, labels, files, and the saved state of a run."""
