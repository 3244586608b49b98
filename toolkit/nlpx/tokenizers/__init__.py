"""Character-level and word-level tokenizers behind one small interface."""
