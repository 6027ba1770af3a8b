"""Many trials, one table of rows: spec, plan, run, results."""
