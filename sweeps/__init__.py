"""Many trials, one table of rows: spec, plan, run, results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from sweeps.plan import Plan, make_plan
    from sweeps.results import Run, open_run
    from sweeps.run import Outcome, drive
    from sweeps.spec import Spec, load_spec, parse_spec
    from sweeps.status import list_runs, run_status
    from sweeps.submission import cancel, pause, resume, start_driver, submit
    from sweeps.validation import Validation, out_of_sample, validate

_HOMES = {
    "Outcome": "sweeps.run",
    "Plan": "sweeps.plan",
    "Run": "sweeps.results",
    "Spec": "sweeps.spec",
    "Validation": "sweeps.validation",
    "cancel": "sweeps.submission",
    "drive": "sweeps.run",
    "list_runs": "sweeps.status",
    "load_spec": "sweeps.spec",
    "make_plan": "sweeps.plan",
    "open_run": "sweeps.results",
    "out_of_sample": "sweeps.validation",
    "parse_spec": "sweeps.spec",
    "pause": "sweeps.submission",
    "resume": "sweeps.submission",
    "run_status": "sweeps.status",
    "start_driver": "sweeps.submission",
    "submit": "sweeps.submission",
    "validate": "sweeps.validation",
}

__all__ = [
    "Outcome",
    "Plan",
    "Run",
    "Spec",
    "Validation",
    "cancel",
    "drive",
    "list_runs",
    "load_spec",
    "make_plan",
    "open_run",
    "out_of_sample",
    "parse_spec",
    "pause",
    "resume",
    "run_status",
    "start_driver",
    "submit",
    "validate",
]

__getattr__ = exports(__name__, _HOMES)
