"""Training runs: folder and facts, the model they start from, what follows the loop, answers of finished ones."""
