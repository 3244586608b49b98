"""Rows: from files and stdin, with labels, in pairs, and in their splits."""
