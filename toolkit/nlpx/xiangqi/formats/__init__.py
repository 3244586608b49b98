"""Games and positions as files and text."""
