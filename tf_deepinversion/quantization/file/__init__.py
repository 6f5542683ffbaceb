"""The content of a LiteRT file: read, changed and checked."""
