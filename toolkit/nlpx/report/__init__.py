"""Tables, plots and reports made from what a run recorded."""
