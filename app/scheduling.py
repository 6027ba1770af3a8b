"""The hands of `quantbot schedule`: what drives runs, makes the report for people, and tells a webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.sweeping import Cluster
    from datasets.store import Store
    from sweeps.schedule.document import Schedule
    from sweeps.schedule.jobs import Job
    from sweeps.schedule.steps import Hands


def make_hands(root: Store, cluster: Cluster | None, now_ns: Callable[[], int] | None = None) -> Hands:
    """Return what a scheduler works with.

    Parameters
    ----------
    cluster
        Where it drives runs itself, one cluster a job; None waits for a runner.
    now_ns
        The clock that times fall due by; the store's where not said, since several machines agree on that one.
    """
    from sweeps.schedule.steps import Hands

    @contextmanager
    def driving() -> Iterator[Callable[[str], None]]:
        from sweeps.run import drive

        assert cluster is not None
        with cluster.executor() as executor:

            def bring(identity: str) -> None:
                drive(root, identity, executor)

            yield bring

    return Hands(
        now_ns=now_ns or root.now_ns,
        driving=None if cluster is None else driving,
        publish=publish,
        post=tell,
    )


def publish(job: Job, record: Mapping[str, Any]) -> None:
    """Make the report for people of a record, unless it is there."""
    from app.morning_report import morning_report

    if not job.root.exists(job.report_key):
        job.root.put_new(job.report_key, morning_report(record).encode())


def tell(job: Job, schedule: Schedule, record: Mapping[str, Any], now_ns: int) -> str:
    """Tell a schedule's webhook of a record; return what to wait for."""
    from app.morning import summary
    from sweeps.schedule.webhook import post

    return post(job, schedule, summary(record), now_ns)
