"""Removal of channels: the same architecture with fewer channels."""
