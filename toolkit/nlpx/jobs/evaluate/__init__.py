"""`nlpx evaluate`: measures of models on held-out data."""
