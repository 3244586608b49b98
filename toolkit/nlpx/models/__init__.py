"""The one Transformer, its parts, and the checkpoints it reads and writes."""
