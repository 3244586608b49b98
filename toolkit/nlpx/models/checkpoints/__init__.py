"""Checkpoints of every origin: reading, recognising, loading with a report, and writing."""
