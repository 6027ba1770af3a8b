"""Raw formats, one a file: checked, never half."""

from datasets.ingest.bars import IngestResult
from datasets.ingest.csv import ingest_csv
from datasets.ingest.options import POLICIES, BarOptions
from datasets.ingest.parquet import ingest_parquet
from datasets.ingest.sql import ingest_sql

__all__ = ["POLICIES", "BarOptions", "IngestResult", "ingest_csv", "ingest_parquet", "ingest_sql"]
