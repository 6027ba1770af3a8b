"""What runs blocks: in this process, or on a Dask cluster. Dask lives here and nowhere else."""

from sweeps.executors.base import Answer, ClusterError, ClusterLostError, Executor, Failure, Isolation, Limits
from sweeps.executors.dask import dask_executor
from sweeps.executors.serial import serial

__all__ = [
    "Answer",
    "ClusterError",
    "ClusterLostError",
    "Executor",
    "Failure",
    "Isolation",
    "Limits",
    "dask_executor",
    "serial",
]
