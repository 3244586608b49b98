"""Gibbs sampling from masked language models."""
