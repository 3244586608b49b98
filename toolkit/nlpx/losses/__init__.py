"""One loss a file: functions of logits or vectors and targets."""
