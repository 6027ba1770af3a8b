"""A cluster over TLS: who has a certificate of its authority is in, everybody else is out, at once."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from quantbot.errors import InputError, RunError
from sweeps.certificates import ends_at, make_certificates
from sweeps.executors import dask_executor
from sweeps.executors.tls import security_of

HOSTS = ["localhost", "127.0.0.1"]
REFUSED_SECONDS = 1.0  # reliability.md, P25 and E-14
HELLO = b"\x02\x00\x00\x00\x00\x00\x00\x00" * 8  # frames as a Dask peer without TLS begins with


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    make_certificates(folder, HOSTS)
    return folder


@pytest.fixture(scope="module")
def scheduler(certs: Path) -> Iterator[str]:
    """Address of a TLS scheduler with one worker, in this process."""
    import distributed

    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tls://", host="127.0.0.1",
        security=security_of(certs), dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False}, silence_logs=50,
    )  # fmt: skip
    yield cluster.scheduler_address
    cluster.close()


def test_peers__of_the_same_authority_work_together(scheduler: str, certs: Path, tmp_path: Path) -> None:
    colleague = tmp_path / "colleague"
    make_certificates(colleague, ["runner"], use="client", authority=certs / "authority", days=1)
    for folder in (certs, colleague):
        with dask_executor(scheduler=scheduler, tls=folder) as executor:
            assert sorted(found.value for found in executor.map(abs, [-1, -2])) == [1, 2]


def _knock(address: str, context: ssl.SSLContext | None) -> bytes:
    """Return what a scheduler says to a peer; what it raises says that the peer was refused."""
    place = urlsplit(address)
    with socket.create_connection((str(place.hostname), place.port or 0), 5) as plain:
        if context is None:
            plain.sendall(HELLO)
            return plain.recv(64)
        with context.wrap_socket(plain, server_hostname=str(place.hostname)) as wrapped:
            wrapped.sendall(HELLO)  # in TLS 1.3 a client learns that it was refused when it reads
            return wrapped.recv(64)


def _context(trusted: Path, shown: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusted / "ca.pem"))
    if shown is not None:
        context.load_cert_chain(shown / "cert.pem", shown / "key.pem")
    return context


@pytest.mark.parametrize("peer", ["plaintext", "no certificate", "another authority", "expired", "for servers only"])
def test_scheduler__refuses_a_wrong_peer_within_a_second(
    peer: str, scheduler: str, certs: Path, tmp_path: Path
) -> None:
    context = None
    if peer == "no certificate":
        context = _context(certs, None)
    elif peer == "another authority":
        make_certificates(tmp_path, HOSTS)
        context = _context(certs, tmp_path)
    elif peer == "expired":
        _make_expired(tmp_path, certs / "authority")
        context = _context(certs, tmp_path)
    elif peer == "for servers only":
        make_certificates(tmp_path, HOSTS, use="server", authority=certs / "authority")
        context = _context(certs, tmp_path)
    began = time.monotonic()
    try:
        answer = _knock(scheduler, context)
    except (ssl.SSLError, ConnectionError):
        answer = b""
    assert answer == b""
    assert time.monotonic() - began < REFUSED_SECONDS
    # ... and a right one gets an answer, so that silence means a refusal.
    with dask_executor(scheduler=scheduler, tls=certs) as executor:
        assert [found.value for found in executor.map(abs, [-3])] == [3]


def _make_expired(folder: Path, authority: Path) -> None:
    """An hour's certificate, made two hours ago."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    make_certificates(folder, HOSTS, days=1 / 24, authority=authority, now=before)
    assert ends_at(folder) < dt.datetime.now(dt.UTC)


def test_client__refuses_a_scheduler_of_another_authority(scheduler: str, tmp_path: Path) -> None:
    make_certificates(tmp_path, HOSTS)
    began = time.monotonic()
    with (
        pytest.raises(RunError, match="no scheduler answers"),
        dask_executor(scheduler=scheduler, tls=tmp_path) as executor,
    ):
        list(executor.map(abs, [-1]))
    assert time.monotonic() - began < REFUSED_SECONDS * 5


def test_client__without_certificates_is_told_what_to_name(scheduler: str) -> None:
    with pytest.raises(InputError, match="needs certificates"), dask_executor(scheduler=scheduler) as executor:
        list(executor.map(abs, [-1]))


def test_client__never_speaks_in_the_clear(certs: Path) -> None:
    with pytest.raises(InputError, match="certificates are for a tls:// scheduler, was tcp://"):
        dask_executor(scheduler="tcp://127.0.0.1:8786", tls=certs)
    assert security_of(certs).require_encryption is True


def test_keys__are_for_their_owner_alone(certs: Path, tmp_path: Path) -> None:
    for path in certs.rglob("*.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make_certificates(tmp_path, HOSTS)
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(InputError, match=r"key\.pem may be read by others \(mode 0644\)"):
        security_of(tmp_path)


def test_security_of__says_what_is_missing_or_does_not_fit(certs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks ca\.pem, cert\.pem, key\.pem; `quantbot certs"):
        security_of(tmp_path)
    make_certificates(tmp_path, HOSTS)
    (tmp_path / "key.pem").write_bytes((certs / "key.pem").read_bytes())
    with pytest.raises(InputError, match="holds no certificate with its key"):
        security_of(tmp_path)


def test_renewed_certificates__keep_their_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path, HOSTS, days=1)
    before = [(tmp_path / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem")]
    make_certificates(tmp_path, HOSTS, days=2)
    after = [(tmp_path / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem")]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]


@pytest.mark.parametrize(
    ("hosts", "days", "message"),
    [([], 7, "at least one host"), (["a b"], 7, "was 'a b'"), (HOSTS, 0, "up to 365 days"), (HOSTS, 400, "was 400")],
)
def test_make_certificates__refuses(hosts: list[str], days: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        make_certificates(tmp_path, hosts, days=days)
    assert not list(tmp_path.iterdir())


def test_authority__without_its_key_signs_nothing(tmp_path: Path) -> None:
    make_certificates(tmp_path, HOSTS)
    (tmp_path / "authority" / "ca-key.pem").unlink()
    with pytest.raises(InputError, match=r"an authority is ca\.pem and ca-key\.pem"):
        make_certificates(tmp_path, HOSTS)
