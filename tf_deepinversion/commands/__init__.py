"""What the command `tf-deepinversion` runs, and the flags of the examples."""
