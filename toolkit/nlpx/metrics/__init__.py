"""What predictions are compared with labels by."""
