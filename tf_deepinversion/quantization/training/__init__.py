"""Training of a network that computes as its file of whole numbers will."""
