"""Telling somebody else: a record's summary posted as JSON, signed, a bounded number of times.

The body is signed with HMAC-SHA256 under the schedule's secret (`X-QuantBot-Signature: sha256=<hex>`), so that the
secret itself never travels; `Idempotency-Key` names the job, for a receiver that was told already when a scheduler
was killed before it could write that down. Neither the secret nor the URL, which may hold a token, is ever written
into the store, a log or an error.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantbot.errors import InputError, QuantBotError, RunError
from sweeps.runstore import to_json
from sweeps.schedule.jobs import Job
from sweeps.schedule.rules import NS, iso
from sweeps.schedule.sections import Webhook, check_url

if TYPE_CHECKING:
    from sweeps.schedule.document import Schedule

TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 30.0  # doubled after each try, with jitter
_MOST_BYTES = 65_536  # of a secret's or URL's file

Sender = Callable[[str, bytes, Mapping[str, str]], int]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A receiver that sends the summary elsewhere could send it anywhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def send(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Post a body and return the answer's status; raise `RunError` without the URL where there is none."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        kind = type(reason if isinstance(reason, Exception) else error).__name__
        raise RunError(f"the webhook's receiver gave no answer ({kind})") from None


def post(
    job: Job, schedule: Schedule, summary: Mapping[str, Any], now_ns: int, *, sender: Sender = send
) -> str:  # fmt: skip
    """Tell a job's webhook of its summary, unless that was done or given up; return what to wait for, if anything.

    One try a call; each is written down as ``webhook/<try>.json``, with what it came to.
    """
    hook = schedule.webhook
    if hook is None:
        return ""
    tries = [job.read(key) or {} for key in sorted(job.store.list("webhook/"))]
    if any(one.get("ok") for one in tries) or len(tries) >= hook.attempts or (tries and tries[-1].get("final")):
        return ""
    if tries and now_ns < int(tries[-1]["again_ns"]):
        return f"the webhook is told again at {iso(int(tries[-1]['again_ns']))}"
    found = _try(job, hook, schedule.folder, summary, sender)
    pause = FIRST_PAUSE_SECONDS * 2 ** len(tries) * random.uniform(0.8, 1.2)
    found |= {"at_ns": now_ns, "again_ns": now_ns + int(pause * NS)}
    job.put_first(f"webhook/{len(tries) + 1:03d}.json", found)
    if found["ok"] or found["final"] or len(tries) + 1 >= hook.attempts:
        return ""
    return f"the webhook is told again at {iso(found['again_ns'])}"


def _try(job: Job, hook: Webhook, folder: Path, summary: Mapping[str, Any], sender: Sender) -> dict[str, Any]:
    body = to_json(dict(summary))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "quantbot",
        "Idempotency-Key": f"{job.schedule}/{job.key}",
    }
    try:
        url = check_url(_one(hook.url, hook.url_env, hook.url_file, folder, "url"))
        if hook.secret_env is not None or hook.secret_file is not None:
            secret = _one(None, hook.secret_env, hook.secret_file, folder, "secret")
            headers["X-QuantBot-Signature"] = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
        status = sender(url, body, headers)
    except QuantBotError as error:
        return {"ok": False, "final": isinstance(error, InputError), "said": str(error)}
    # What the receiver calls our fault stays our fault, but for "too many" and "too slow".
    final = 300 <= status < 500 and status not in (408, 425, 429)
    return {"ok": 200 <= status < 300, "final": final, "said": f"status {status}"}


def _one(text: str | None, variable: str | None, file: str | None, folder: Path, what: str) -> str:
    """Return a value from wherever it is, or say which place has none; never the value."""
    if text is not None:
        return text
    if variable is not None:
        found = os.environ.get(variable, "").strip()
        if not found:
            raise InputError(f"webhook.{what}_env: the environment variable {variable} is not set")
        return found
    try:
        with (folder / (file or "")).open(encoding="utf-8") as stream:
            found = stream.read(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"webhook.{what}_file: {file} can't be read ({type(error).__name__})") from None
    if not found:
        raise InputError(f"webhook.{what}_file: {file} is empty")
    return found
