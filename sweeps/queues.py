"""What was ahead of a trial's resting orders, from its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from quantbot.engine import get_engine
from quantbot.errors import InputError
from sweeps.sessions import has_sessions
from sweeps.task import load_data

if TYPE_CHECKING:
    from sweeps.results import Run


def queue_path(run: Run, trial: int, span_ns: tuple[int, int], n_moments: int = 240) -> dict[str, NDArray[Any]]:
    """Return the lots ahead of each resting order of a trial through a span; see `quantbot.book.watch.queue_path`.

    Raises
    ------
    InputError
        If the run trades no order books.
    """
    from quantbot.book.engine import BookEngine
    from quantbot.book.watch import queue_path as path

    engine, where = get_engine(run.plan.engine), run.plan.trial(trial)
    if not has_sessions(run.plan) or not isinstance(engine, BookEngine):
        raise InputError(f"trials of run {run.short} trade on bars, which have no queues")
    data = load_data(run.plan, where.asset)
    return path(engine, run.plan.job(), data, where.fold.window(data.ts_end_ns), where.settings, span_ns, n_moments)
