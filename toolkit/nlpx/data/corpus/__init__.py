"""A corpus as texts: sources, formats, ranges of bytes."""
