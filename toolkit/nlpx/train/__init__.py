"""The one training loop and its complete state."""
