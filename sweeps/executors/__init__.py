"""What runs blocks: in this process, or on a Dask cluster. Dask lives here and nowhere else."""

from sweeps.executors.base import Answer, Executor, Failure
from sweeps.executors.dask import dask_executor
from sweeps.executors.serial import serial

__all__ = ["Answer", "Executor", "Failure", "dask_executor", "serial"]
