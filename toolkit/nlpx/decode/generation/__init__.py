"""Generation: one decoder over causal and prefix models, greedy, drawn or by beams, with what constrains it."""
