"""A tokenized corpus on disk."""
