"""Chinese chess: rules, notations, records of games, and models of moves."""
