"""Pruning of single weights by masks of magnitude."""
