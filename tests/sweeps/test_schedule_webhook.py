"""A webhook is told of each job, a bounded number of times, and nobody learns its secret."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from schedules import HOUR, Clock, write_refresh

from datasets.store import Store, open_store
from quantbot.errors import RunError
from sweeps.schedule.document import load_schedule
from sweeps.schedule.jobs import Job
from sweeps.schedule.rules import ns_of
from sweeps.schedule.webhook import post

SECRET = "canary-8c1f-secret"
TOKEN = "canary-77aa-token"
START = ns_of("2026-03-02T23:00Z")


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def schedule_with(folder: Path, hook: str) -> Any:
    file = write_refresh(folder, "ny", calendar="XNYS", zone="America/New_York", when='after_close = "XNYS"')
    file.write_text(file.read_text() + f"[webhook]\n{hook}\n")
    return load_schedule(file)


class Receiver(BaseHTTPRequestHandler):
    """Answers as it was told to, and keeps what came."""

    answers: list[int]
    got: list[tuple[bytes, Mapping[str, str]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((body, dict(self.headers.items())))
        status = self.answers.pop(0) if self.answers else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    kind = type("Own", (Receiver,), {"answers": [], "got": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{TOKEN}", kind
    server.shutdown()
    thread.join()
    server.server_close()


def everything(root: Store) -> str:
    return "\n".join(root.get(key).decode() for key in root.list())


def test_post__signs_the_body_and_names_the_job(
    tmp_path: Path, root: Store, receiver: tuple[str, type[Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, kind = receiver
    monkeypatch.setenv("HOOK_URL", url)
    (tmp_path / "secret").write_text(SECRET + "\n")
    schedule = schedule_with(tmp_path, 'url_env = "HOOK_URL"\nsecret_file = "secret"')
    job = Job(root, "ny", START)
    assert post(job, schedule, {"outcome": "ok"}, START) == ""
    assert post(job, schedule, {"outcome": "ok"}, START + HOUR) == ""  # it was told
    assert len(kind.got) == 1
    body, headers = kind.got[0]
    assert json.loads(body) == {"outcome": "ok"}
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Quantbot-Signature"] == f"sha256={expected}"
    assert headers["Idempotency-Key"] == "ny/20260302T230000Z"
    assert SECRET not in repr(kind.got)
    assert not [word for word in (SECRET, TOKEN) if word in everything(root)]


def test_post__tries_again_later_and_gives_up(
    tmp_path: Path, root: Store, receiver: tuple[str, type[Receiver]]
) -> None:
    url, kind = receiver
    kind.answers = [503, 429, 500, 500, 500]
    schedule = schedule_with(tmp_path, f'url = "{url}"\nattempts = 3')
    job, clock = Job(root, "ny", START), Clock(START)
    assert "told again at" in post(job, schedule, {}, clock())
    assert "told again at" in post(job, schedule, {}, clock() + 1)  # too early: no try
    assert len(kind.got) == 1
    for _ in range(4):
        clock.ns += HOUR
        waits = post(job, schedule, {}, clock())
    assert (waits, len(kind.got)) == ("", 3)


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_post__takes_a_refusal_for_an_answer(
    tmp_path: Path, root: Store, receiver: tuple[str, type[Receiver]], status: int
) -> None:
    url, kind = receiver
    kind.answers = [status]
    schedule, job = schedule_with(tmp_path, f'url = "{url}"'), Job(root, "ny", START)
    assert post(job, schedule, {}, START) == ""
    assert post(job, schedule, {}, START + 9 * HOUR) == ""
    assert len(kind.got) == 1
    assert (job.read("webhook/001.json") or {})["said"] == f"status {status}"


def test_post__without_an_answer_says_so_without_the_address(tmp_path: Path, root: Store) -> None:
    schedule, job = schedule_with(tmp_path, f'url = "http://127.0.0.1:1/{TOKEN}"'), Job(root, "ny", START)
    assert "told again" in post(job, schedule, {}, START)
    said = (job.read("webhook/001.json") or {})["said"]
    assert said.startswith("the webhook's receiver gave no answer")
    assert TOKEN not in everything(root)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ('url_env = "NO_SUCH_VARIABLE"', "the environment variable NO_SUCH_VARIABLE is not set"),
        ('url_file = "none"', "none can't be read (FileNotFoundError)"),
        ('url = "https://example.com/x"\nsecret_env = "NO_SUCH_VARIABLE"', "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_post__names_what_is_missing_and_sends_nothing(tmp_path: Path, root: Store, hook: str, said: str) -> None:
    def never(*_: Any) -> int:
        raise AssertionError("sent")

    job = Job(root, "ny", START)
    assert post(job, schedule_with(tmp_path, hook), {}, START, sender=never) == ""
    assert said in (job.read("webhook/001.json") or {})["said"]


def test_post__outlives_a_sender_that_fails(tmp_path: Path, root: Store) -> None:
    def fail(*_: Any) -> int:
        raise RunError("no answer")

    job = Job(root, "ny", START)
    assert "told again" in post(job, schedule_with(tmp_path, 'url = "https://example.com/x"'), {}, START, sender=fail)
