"""Sentence vectors: files of them, their moments, and the maps that make them comparable."""
