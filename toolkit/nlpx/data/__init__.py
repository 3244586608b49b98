"""Reading rows and arranging them in batches; pure functions of (rows, seed)."""
