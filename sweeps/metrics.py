"""What a runner counts, for Prometheus: its runs, blocks and causes of waiting, and every operation of its store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from quantbot.errors import InputError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from datasets.store import Store
    from sweeps.service.runner import Runner

LOOPBACK = "127.0.0.1"
# Seconds: an S3 answer takes milliseconds, an outage is ridden out for a minute.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """A registry of its own, with what runners and stores count; `serve` shows it.

    Raises
    ------
    InputError
        If prometheus_client is not installed.
    """

    def __init__(self) -> None:
        prometheus = _prometheus()
        self.registry: Any = prometheus.CollectorRegistry()
        self._operations: Any = prometheus.Histogram(
            "quantbot_store_operation_seconds", "Seconds that an operation of the store took, its retries included.",
            ["operation"], registry=self.registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._errors: Any = prometheus.Counter(
            "quantbot_store_errors", "Operations of the store that raised, by the class of the error.",
            ["operation", "error"], registry=self.registry,
        )  # fmt: skip

    def observe(self, store: Store) -> Store:
        """Return `store`, each of whose operations is counted."""
        from datasets.store_observed import ObservedStore

        return ObservedStore(store, self._note)

    def watch(self, runner: Runner, tls: str | Path | None = None) -> None:
        """Show a runner's counters, and when the certificate in `tls` ends."""
        self.registry.register(_RunnerCollector(runner, tls))

    @contextlib.contextmanager
    def serve(self, port: int, host: str = LOOPBACK, tls: str | Path | None = None) -> Iterator[int]:
        """Answer ``/metrics`` while inside; yield the port, which 0 leaves to the system.

        Parameters
        ----------
        tls
            Directory of certificates: whoever reads then shows one of the same authority. Take another authority than
            the cluster's, whose certificates may run code.

        Raises
        ------
        InputError
            If it were to listen beyond loopback without certificates, or can't listen there.
        """
        from sweeps.executors.nodes import refuse_open_listener

        refuse_open_listener(host, tls)
        options = {} if tls is None else _tls_options(Path(tls))
        try:
            server, thread = _prometheus().start_http_server(port, host, self.registry, **options)
        except OSError as error:
            raise InputError(f"can't show metrics on {host}:{port}: {error}") from error
        try:
            yield int(server.server_port)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _note(self, name: str, seconds: float, error: str) -> None:
        self._operations.labels(name).observe(seconds)
        # That something is not there is an answer.
        if error and error != "NotFoundError":
            self._errors.labels(name, error).inc()


class _RunnerCollector:
    """Reads a runner's own numbers whenever somebody asks: nothing is counted twice."""

    def __init__(self, runner: Runner, tls: str | Path | None) -> None:
        self._runner, self._tls = runner, tls

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        from sweeps.service.runner import State

        runner, counters = self._runner, self._runner.counters
        label = (runner.name,)
        for name, words, value in (
            ("blocks", "Blocks that this runner had computed.", counters.n_blocks),
            ("failed_trials", "Trials that failed in runs that it brought to their end.", counters.n_failed_trials),
            ("waits", "Times that the store or the cluster went away.", counters.n_waits),
            ("core_seconds", "Seconds that workers were busy for it.", counters.core_seconds),
            ("bytes_read", "Bytes that workers read for it.", counters.bytes_read),
        ):
            yield _one(CounterMetricFamily(f"quantbot_runner_{name}", words, labels=["runner"]), label, value)
        runs = CounterMetricFamily("quantbot_runner_runs", "Runs that came to an end.", labels=["runner", "outcome"])
        runs.add_metric([*label, "done"], counters.n_done)
        runs.add_metric([*label, "failed"], counters.n_failed)
        yield runs
        gauge = GaugeMetricFamily(
            "quantbot_queue_length", "Runs in the queue, driven ones included.", labels=["runner"]
        )
        yield _one(gauge, label, counters.queue_length)
        gauge = GaugeMetricFamily(
            "quantbot_runner_leases", "Runs that it drives, each under a lease.", labels=["runner"]
        )
        yield _one(gauge, label, runner.n_driven)
        states = GaugeMetricFamily("quantbot_runner_state", "1 for what it is at, else 0.", labels=["runner", "state"])
        for state in get_args(State):
            states.add_metric([*label, state], float(runner.state == state))
        yield states
        trouble = GaugeMetricFamily(
            "quantbot_runner_trouble", "1 for what it waits for; none while it can go on.", labels=["runner", "cause"]
        )
        if runner.trouble[0]:
            trouble.add_metric([*label, runner.trouble[0]], 1.0)
        yield trouble
        if self._tls is not None:
            yield from _certificate(Path(self._tls), label)


def _certificate(folder: Path, label: tuple[str]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    from sweeps.certificates import ends_at

    gauge = GaugeMetricFamily(
        "quantbot_certificate_end_timestamp_seconds", "When the certificate that it shows ends.", labels=["runner"]
    )
    with contextlib.suppress(InputError):
        yield _one(gauge, label, ends_at(folder).timestamp())


def _one(family: Any, labels: tuple[str], value: float) -> Metric:
    family.add_metric(list(labels), value)
    return family  # type: ignore[no-any-return]


def _tls_options(folder: Path) -> dict[str, Any]:
    from sweeps.certificates import CA, CERT, KEY
    from sweeps.executors.tls import check_files

    check_files(folder)
    return {
        "certfile": str(folder / CERT),
        "keyfile": str(folder / KEY),
        "client_cafile": str(folder / CA),
        "client_auth_required": True,
    }


def _prometheus() -> Any:
    try:
        import prometheus_client
    except ModuleNotFoundError as error:
        raise InputError("metrics need the package prometheus-client: pip install 'quantbot[metrics]'") from error
    return prometheus_client
