"""What a trained model says: scores of texts, samples, generated text."""
