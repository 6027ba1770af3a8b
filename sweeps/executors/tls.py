"""Dask over TLS: who holds a certificate of our authority is in, everybody else is refused.

There are no host names to check: workers come and go at addresses that nobody knows beforehand, and the authority signs
for this one cluster alone. What a certificate is for (to call, to be called) is checked.
"""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import Any

from quantbot.errors import InputError
from sweeps.certificates import CA, CERT, KEY


def security_of(directory: str | Path) -> Any:
    """Return distributed's `Security` for the certificates in a directory; nothing goes over the wire in the clear.

    Parameters
    ----------
    directory
        Holds ``ca.pem``, ``cert.pem`` and ``key.pem``, as `quantbot certs` and cert-manager's secrets (renamed) do.

    Raises
    ------
    InputError
        If a file is missing, is no certificate or no key of it, or others may read the key.
    """
    from distributed import Security

    files = check_files(Path(directory))
    roles = {
        f"tls_{role}_{part}": str(files[name])
        for role in ("scheduler", "worker", "client")
        for part, name in (("cert", CERT), ("key", KEY))
    }
    return Security(
        require_encryption=True, tls_ca_file=str(files[CA]), tls_min_version=ssl.TLSVersion.TLSv1_3, **roles
    )


def check_files(folder: Path) -> dict[str, Path]:
    """Return the files of certificates in `folder` by their names; refuse what `security_of` would."""
    files = {name: folder / name for name in (CA, CERT, KEY)}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)}; `quantbot certs {folder} --hosts …` makes them")
    _refuse_open_key(files[KEY])
    try:
        ssl.create_default_context(cafile=str(files[CA])).load_cert_chain(files[CERT], files[KEY])
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"{folder} holds no certificate with its key and authority: {error}") from error
    return files


def _refuse_open_key(path: Path) -> None:
    mode = path.stat().st_mode
    # A group may read it: that is how Kubernetes hands a secret to one who is not root (fsGroup).
    if mode & stat.S_IRWXO or mode & stat.S_IWGRP:
        raise InputError(f"{path} may be read by others (mode {stat.S_IMODE(mode):04o}); chmod 600 it, or make it anew")
