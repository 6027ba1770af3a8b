"""Certificates of a cluster: an authority of its own, and short-lived ones for its peers.

A Dask peer that holds a certificate may run code on every other, so the authority signs for this cluster alone, and
its key lies apart from what the peers are given.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from quantbot.errors import InputError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA, CERT, KEY = "ca.pem", "cert.pem", "key.pem"
CA_KEY = "ca-key.pem"
AUTHORITY = "authority"
AUTHORITY_DAYS = 365.0
PEER_DAYS = 7.0
Use = Literal["both", "client", "server"]

_BACKDATED = dt.timedelta(minutes=5)  # clocks of two machines differ
_HOST = re.compile(r"(?=.{1,253}$)(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*")


def make_certificates(
    directory: Path,
    hosts: Sequence[str],
    *,
    days: float = PEER_DAYS,
    use: Use = "both",
    authority: Path | None = None,
    now: dt.datetime | None = None,
) -> dt.datetime:
    """Write ``ca.pem``, ``cert.pem`` and ``key.pem`` into `directory`; return when the certificate ends.

    The authority is made where there is none yet; where there is one, the same authority signs again, so that peers
    whose certificates were made one after the other know each other.

    Parameters
    ----------
    hosts
        Names and addresses that the peer is reached by.
    days
        How long the certificate is good for. A year at most: it can't be revoked, only run out.
    use
        Whether the peer may be called ("server"), may call ("client") or both, as a worker does.
    authority
        Folder with the authority's ``ca.pem`` and ``ca-key.pem``; by default ``authority`` in `directory`.
    now
        When the certificate begins, with its time zone; by default this moment.

    Raises
    ------
    InputError
        If a host is none, the days are out of range, or the authority lacks its key or has run out.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = make_certificates(Path(folder), ["localhost", "127.0.0.1"])
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['authority', 'ca.pem', 'cert.pem', 'key.pem']
    """
    if not hosts:
        raise InputError("a certificate names at least one host: the names and addresses that the peer is reached by")
    wrong = [host for host in hosts if not _is_host(host)]
    if wrong:
        raise InputError(f"a host is a name or an IP address, was {wrong[0]!r}")
    if not 0 < days <= 365:
        raise InputError(f"a certificate is good for up to 365 days, was {days:g}")
    now = now or dt.datetime.now(dt.UTC)
    ca, ca_key = _authority(authority or directory / AUTHORITY, now)
    end = min(now + dt.timedelta(days=days), ca.not_valid_after_utc)
    key = _new_key()
    cert = _peer(hosts, key, use, ca, ca_key, now, end)
    _write(directory / CA, _pem(ca))
    _write(directory / CERT, _pem(cert))
    _write(directory / KEY, _key_pem(key))
    return end


def ends_at(directory: Path) -> dt.datetime:
    """Return when the certificate in `directory` ends.

    Raises
    ------
    InputError
        If there is none.
    """
    from cryptography import x509

    path = directory / CERT
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no certificate ({error}); `quantbot certs` makes one") from error


def _is_host(text: str) -> bool:
    return _address(text) is not None or _HOST.fullmatch(text) is not None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _authority(folder: Path, now: dt.datetime) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """Return the authority in `folder`, made where there is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    cert_path, key_path = folder / CA, folder / CA_KEY
    if not cert_path.exists() and not key_path.exists():
        ca, key = _new_authority(now)
        _write(key_path, _key_pem(key))
        _write(cert_path, _pem(ca))
        return ca, key
    try:
        ca = x509.load_pem_x509_certificate(cert_path.read_bytes())
        found = load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"an authority is {CA} and {CA_KEY}, both in {folder}: {error}") from error
    if not isinstance(found, EllipticCurvePrivateKey):
        raise InputError(f"{key_path} holds a {type(found).__name__}; an authority of `quantbot certs` has an EC key")
    if ca.not_valid_after_utc <= now:
        ended = ca.not_valid_after_utc
        raise InputError(f"the authority in {folder} ended at {ended:%Y-%m-%d %H:%M} UTC; remove it to make a new one")
    return ca, found


def _new_authority(now: dt.datetime) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key = _new_key()
    name = _name("QuantBot cluster authority")
    public = key.public_key()
    builder = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


def _peer(
    hosts: Sequence[str],
    key: EllipticCurvePrivateKey,
    use: Use,
    ca: x509.Certificate,
    ca_key: EllipticCurvePrivateKey,
    now: dt.datetime,
    end: dt.datetime,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    public = key.public_key()
    uses = {"client": [ExtendedKeyUsageOID.CLIENT_AUTH], "server": [ExtendedKeyUsageOID.SERVER_AUTH]}
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        address = _address(host)
        names.append(x509.IPAddress(address) if address is not None else x509.DNSName(host))
    builder = (
        x509.CertificateBuilder(ca.subject, _name("QuantBot peer"), public, x509.random_serial_number())
        .not_valid_before(min(now - _BACKDATED, end - _BACKDATED))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses.get(use) or uses["client"] + uses["server"]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    return builder.sign(ca_key, hashes.SHA256())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs_certificates, crl_sign=signs_certificates, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _new_key() -> EllipticCurvePrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ModuleNotFoundError as error:
        raise InputError("making certificates needs the package cryptography: pip install 'quantbot[tls]'") from error
    return ec.generate_private_key(ec.SECP256R1())


def _pem(cert: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return cert.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    part.rename(path)
