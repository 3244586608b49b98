"""One file a published family: how it is recognised, its defaults, and the names of its parameters."""
