"""Language models of games."""
