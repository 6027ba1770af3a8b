"""Where data live and what their columns mean: stores, datasets, ingest."""
