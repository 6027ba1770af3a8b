"""Whether this machine can run QuantBot: one line per check, each with what to do."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from quantbot.errors import InputError, QuantBotError

Verdict = Literal["ok", "warn", "fail"]

WANTED_PYTHON = (3, 11)
# A worker of the demo uses about a quarter of this; below it a local cluster starts to swap.
WANTED_MEMORY_BYTES = 2_000_000_000
# Leases compare the store's clock with ours in units of seconds.
TOLERATED_SKEW_S = 5.0


class ForeignDatasetsError(InputError):
    """The `datasets` that Python finds is not QuantBot's."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check: its subject, a verdict and one sentence."""

    name: str
    verdict: Verdict
    sentence: str


def require_own_datasets() -> None:
    """Refuse to start when the `datasets` package that Python finds is another project's.

    PyPI has a package of that name too; where both are installed one overwrites the other, and every error after that
    would be about something else.

    Raises
    ------
    ForeignDatasetsError
        If `datasets` can't be imported or does not carry QuantBot's mark.
    """
    try:
        module = import_module("datasets")
    except Exception as error:  # a foreign package may fail in any way
        raise ForeignDatasetsError(_foreign(f"which fails to import ({type(error).__name__}: {error})")) from error
    if not getattr(module, "__quantbot__", False):
        raise ForeignDatasetsError(_foreign(f"found at {getattr(module, '__file__', None) or 'an unknown place'}"))


def _foreign(what: str) -> str:
    return (
        f"QuantBot needs its own package 'datasets', but Python finds another one, {what}. PyPI's 'datasets' has the"
        " same name and overwrites ours: install QuantBot in an environment of its own (`make demo` makes one), or"
        " `pip uninstall datasets` and install quantbot again."
    )


def examine(store_url: str, scheduler: str | None = None) -> list[Check]:
    """Run every check; none raises.

    Parameters
    ----------
    store_url
        The store to test: an object is written, read back and deleted.
    scheduler
        The address of a Dask scheduler to reach, if there is one.
    """
    subjects: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("python", _python),
        ("datasets", _own_datasets),
        ("packages", _packages),
        ("machine", _machine),
        ("kernel cache", _kernel_cache),
        ("store", lambda: _store(store_url)),
        ("s3", lambda: _s3(store_url)),
    ]
    if scheduler:
        subjects.append(("scheduler", lambda: _scheduler(scheduler)))
    return [check for name, subject in subjects for check in _guarded(name, subject)]


def _guarded(name: str, subject: Callable[[], Iterator[Check]]) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(subject())
    except QuantBotError as error:
        found.append(Check(name, "fail", str(error)))
    except Exception as error:  # a broken installation may fail in any way; the other checks still say something
        found.append(Check(name, "fail", f"{type(error).__name__}: {error}"))
    return found


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] >= WANTED_PYTHON
    yield Check("python", "ok" if good else "fail", f"{found} (3.11 or newer is needed), {sys.executable}")


def _own_datasets() -> Iterator[Check]:
    require_own_datasets()
    yield Check("datasets", "ok", "the package 'datasets' is QuantBot's own")


def _packages() -> Iterator[Check]:
    try:
        wanted = metadata.requires("quantbot") or []
    except metadata.PackageNotFoundError:
        yield Check("packages", "fail", "quantbot is not installed here; `pip install -e .` from its folder")
        return
    from packaging.requirements import Requirement

    missing = []
    optional = []
    met = 0
    for requirement in map(Requirement, wanted):
        extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if not extra:
                missing.append(f"{requirement.name} is not installed")
            elif not any(word in str(requirement.marker) for word in ("dev",)):
                optional.append(requirement.name)
            continue
        if requirement.specifier.contains(found, prereleases=True):
            met += 1
        else:
            missing.append(f"{requirement.name} is {found}, needed is {requirement.specifier}")
    if missing:
        yield Check("packages", "fail", "; ".join(missing))
    else:
        yield Check("packages", "ok", f"{met} packages, each in a version that fits")
    if optional:
        yield Check(
            "extras", "warn", f"not installed, needed only for what they do: {', '.join(sorted(set(optional)))}"
        )


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    total, free = _memory_bytes()
    text = f"{cores} cores, {total / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB free"
    if free < WANTED_MEMORY_BYTES:
        yield Check("machine", "warn", f"{text}; under 2 GB free a local cluster is slow: use --workers 1")
    else:
        yield Check("machine", "ok", text)


def _memory_bytes() -> tuple[int, int]:
    """Return total and available memory, no more than this process's control group allows."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    free = page * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        total, free = min(total, int(text)), min(free, int(text) - used)
    return total, free


def _kernel_cache() -> Iterator[Check]:
    from quantbot.kernels import cache_dir

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        yield Check(
            "kernel cache", "warn", f"{folder} can't be written ({error.strerror}): kernels are compiled again in every"
            " process; set QUANTBOT_CACHE_DIR to a folder that can"
        )  # fmt: skip
    else:
        yield Check("kernel cache", "ok", f"{folder} can be written")


def _store(url: str) -> Iterator[Check]:
    from datasets.store import open_store

    store = open_store(url)
    key = f"doctor/{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
    started = time.perf_counter()
    try:
        first, second = store.put_new(key, b"quantbot"), store.put_new(key, b"other")
        read = store.get(key)
        skew_s = (store.now_ns() - time.time_ns()) / 1e9
    finally:
        store.delete(key)
    took_ms = 1e3 * (time.perf_counter() - started)
    if not first or second or read != b"quantbot":
        yield Check(
            "store", "fail", f"{store.url} does not keep its promise: an object put only if absent was overwritten or"
            " came back changed; it needs a server with conditional writes (If-None-Match)"
        )  # fmt: skip
        return
    yield Check("store", "ok", f"{store.url}: written, read back and deleted in {took_ms:.0f} ms")
    late, where = abs(skew_s) > TOLERATED_SKEW_S, "behind" if skew_s < 0 else "ahead of"
    yield Check(
        "clock", "warn" if late else "ok", f"the store's clock is {abs(skew_s):.1f} s {where} this machine's"
        + ("; set the time (chrony, timedatectl): leases and progress are judged by the store's" if late else "")
    )  # fmt: skip


def _s3(store_url: str) -> Iterator[Check]:
    used = store_url.startswith("s3:")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not used and not endpoint and not key:
        yield Check("s3", "ok", "not used (no AWS_* variables, and the store is not s3://)")
    elif bool(key) != bool(secret):
        missing = "AWS_SECRET_ACCESS_KEY" if key else "AWS_ACCESS_KEY_ID"
        yield Check("s3", "fail", f"{missing} is not set; key and secret come together")
    else:
        keys = "keys from the environment" if key else "no keys in the environment: the platform's files or role count"
        yield Check("s3", "ok", f"{keys}; endpoint {endpoint or 'of AWS'}")


def _scheduler(address: str) -> Iterator[Check]:
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
        yield Check("scheduler", "fail", f"{address!r} is no address; expected tcp://host:port or tls://host:port")
        return
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=5):
            pass
    except OSError as error:
        yield Check("scheduler", "fail", f"{address} can't be reached: {error.strerror or error}")
    else:
        note = "" if parts.scheme == "tls" else "; tcp:// is open to whoever reaches it, tls:// is not"
        yield Check("scheduler", "ok", f"{address} answers{note}")
