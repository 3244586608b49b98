"""`nlpx evaluate`: what models are worth on data kept apart."""
