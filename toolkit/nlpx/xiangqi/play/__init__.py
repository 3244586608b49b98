"""Players, matches, a session at a terminal, and UCI."""
