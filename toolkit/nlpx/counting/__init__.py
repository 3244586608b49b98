"""Exact counts of the words, characters, n-grams and tokens of any corpus."""
