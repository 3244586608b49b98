"""Training runs: their folder and facts, the model they start from, what follows the loop, and predictions."""
