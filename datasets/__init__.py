"""Where data live and what their columns mean: stores, datasets, ingest."""

# PyPI's `datasets` has the same name: entry points look for this mark before anything else.
__quantbot__ = True
