"""Decoding: scores of texts, samples, and generated text from a trained model."""
