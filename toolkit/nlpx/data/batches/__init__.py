"""Rows of tokens as batches: buckets, packing, masking, padding."""
