"""Vocabularies: built from counts, extended by words, trimmed to what is used, and described."""
