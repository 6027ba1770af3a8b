"""Where data live and what their columns mean: stores, datasets, ingest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from datasets.bars import Dataset, write_bars
    from datasets.catalog import Catalog, open_dataset
    from datasets.columns import BarColumns
    from datasets.demo import ingest_demo
    from datasets.ingest.csv import ingest_csv
    from datasets.ingest.options import BarOptions
    from datasets.ingest.parquet import ingest_parquet
    from datasets.ingest.sql import ingest_sql
    from datasets.schema import BarsMeta
    from datasets.store import Store, open_store
    from datasets.synthetic import synthetic_minute

# PyPI's `datasets` has the same name: entry points look for this mark before anything else.
__quantbot__ = True

_HOMES = {
    "BarColumns": "datasets.columns",
    "BarOptions": "datasets.ingest.options",
    "BarsMeta": "datasets.schema",
    "Catalog": "datasets.catalog",
    "Dataset": "datasets.bars",
    "Store": "datasets.store",
    "ingest_csv": "datasets.ingest.csv",
    "ingest_demo": "datasets.demo",
    "ingest_parquet": "datasets.ingest.parquet",
    "ingest_sql": "datasets.ingest.sql",
    "open_dataset": "datasets.catalog",
    "open_store": "datasets.store",
    "synthetic_minute": "datasets.synthetic",
    "write_bars": "datasets.bars",
}

__all__ = [
    "BarColumns",
    "BarOptions",
    "BarsMeta",
    "Catalog",
    "Dataset",
    "Store",
    "ingest_csv",
    "ingest_demo",
    "ingest_parquet",
    "ingest_sql",
    "open_dataset",
    "open_store",
    "synthetic_minute",
    "write_bars",
]

__getattr__ = exports(__name__, _HOMES)
