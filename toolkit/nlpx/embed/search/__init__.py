"""Exact search among vectors: blocks of products, their largest, and the libraries that may do it instead."""
