"""Secrets: what is named or looks like one is shown nowhere."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from quantbot import redaction
from quantbot.redaction import Secret, hide, hide_environment, redact, redact_logs

CANARY = "canary-7f3a91e2-value"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = logging.getLogRecordFactory()
    monkeypatch.setattr(redaction, "_hidden", set())
    redaction._known.cache_clear()
    yield
    logging.setLogRecordFactory(before)
    redaction._known.cache_clear()


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{:>40}".format, lambda secret: f"{[secret]}"])
def test_secret__shows_itself_nowhere(show: object) -> None:
    assert CANARY not in show(Secret(CANARY))  # type: ignore[operator]


def test_secret__can_be_neither_pickled_nor_written_as_json() -> None:
    for write in (pickle.dumps, json.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write(Secret(CANARY))


def test_secret__is_taken_out_of_every_text_from_then_on() -> None:
    assert CANARY in redact(CANARY)
    Secret(CANARY)
    assert redact(f"<{CANARY}> and {CANARY.upper()}") == f"<***> and {CANARY.upper()}"


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIAABCDEFGHIJKLMNOP:se/cr+et=9@bucket/prefix",
        "s3://key:p@ss/w@rd@bucket/x",
        "https://user:hunter2-hunter2@example.com/hook",
        "https://s3.amazonaws.com/b/k?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2-hunter2&x=1",
        "Authorization: Bearer hunter2.hunter2.hunter2",
        "authorization: basic aHVudGVyMjpodW50ZXIy",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2-signature",
        "aws_secret_access_key = hunter2/hunter2+hunter2",
        '{"client_secret": "hunter2hunter2", "x": 1}',
        "AWS_SECRET_ACCESS_KEY=hunter2hunter2",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2hunter2\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2hunter2 and cut",
        "found access key ASIAHUNTER2HUNTER2XY in the spec",
    ],
)
def test_redact__takes_out_what_looks_like_a_credential(text: str) -> None:
    shown = redact(text)
    assert "***" in shown
    for piece in ("hunter2", "se/cr", "w@rd", "AKIA", "ASIA", "aHVudGVy", "HUNTER2"):
        assert piece not in shown, shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/prefix/datasets/demo/sp500@3fa2c41b",
        "run 3fa2c41b2b0d (sma-sp500): computed 5 868 trials in 12 blocks, 3 s",
        "strategy.name must be a registered strategy (sma_cross), was 'basic'",
        "a token economy; key levels, bearer of bad news",
        "result digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "fast=20, slow=100 at 2024-01-02T21:00:00Z",
    ],
)
def test_redact__leaves_what_people_need_to_read(text: str) -> None:
    assert redact(text) == text


def test_hide__leaves_short_words_alone() -> None:
    hide(["abc"])
    assert redact("abcdef") == "abcdef"


def test_environment__hides_what_is_named_like_a_secret_but_for_files_and_switches() -> None:
    hide_environment(
        {
            "AWS_SECRET_ACCESS_KEY": "one-of-them",
            "SMTP_PASSWORD": "two-of-them",
            "QUANTBOT_WEBHOOK_URL": "https://hooks.example.com/three",
            "AWS_SHARED_CREDENTIALS_FILE": "/etc/aws.ini",
            "SOME_TOKEN_COUNT": "1000000",
            "HOME": "/home/ada",
        }
    )
    assert redact("one-of-them two-of-them https://hooks.example.com/three") == "*** *** ***"
    assert redact("/etc/aws.ini 1000000 /home/ada") == "/etc/aws.ini 1000000 /home/ada"


def test_logs__of_any_logger_show_no_secret_in_messages_arguments_or_tracebacks() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    try:
        redact_logs()
        redact_logs()
        secret = Secret(CANARY)
        logger.warning("connecting with %s and %s", secret, secret.reveal())
        try:
            raise ValueError(f"refused {secret.reveal()}")
        except ValueError:
            logger.exception("it failed with %r", {"password": secret.reveal()})
        logger.error(f"plain {CANARY}")
    finally:
        logger.removeHandler(handler)
    text = written.getvalue()
    assert CANARY not in text
    assert text.count("***") >= 5
    assert "ValueError: refused ***" in text
    assert "Traceback" in text


def test_crash__of_a_process_shows_no_secret() -> None:
    code = (
        "import os; from quantbot.redaction import keep_secrets; keep_secrets(os.environ);"
        "raise ValueError(os.environ['DEMO_PASSWORD'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"DEMO_PASSWORD": CANARY, "PYTHONPATH": "."}
    )
    assert done.returncode == 1
    assert "ValueError: ***" in done.stderr
    assert CANARY not in done.stderr
