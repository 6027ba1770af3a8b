"""Raw formats, one a file: checked, never half."""

from datasets.ingest.bars import IngestResult
from datasets.ingest.csv import ingest_csv
from datasets.ingest.options import POLICIES, BarOptions

__all__ = ["POLICIES", "BarOptions", "IngestResult", "ingest_csv"]
