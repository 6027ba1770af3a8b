"""Secrets that can't be shown by mistake: a type that prints as ``***``, and texts with what looks secret taken out.

Two nets, since neither is enough: values that somebody has named (`hide`), and patterns that a credential has whoever
wrote it (keys of AWS, passwords in URLs, signed queries, bearer tokens, private keys).
"""

from __future__ import annotations

import hmac
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import NoReturn
from urllib.parse import quote

SHOWN = "***"
# A shorter one would be found in words that have nothing to do with it.
_MIN_LENGTH = 6

_KEY_WORDS = (
    r"(?:secret|token|passw(?:or)?d|credential|signature|api[_-]?key|access[_-]?key(?:[_-]?id)?|client[_-]?secret)"
)
_SECRET_NAME = re.compile(r"secret|token|passw|credential|private|api_?key|access_?key|cookie|webhook", re.IGNORECASE)
_NO_VALUE = re.compile(r"(_ID|_FILES?|_PATH|_DIR|_FOLDER|_EXPIRATION)$", re.IGNORECASE)
_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), SHOWN),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), SHOWN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"), SHOWN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=~-]{8,}"), rf"\1 {SHOWN}"),
    # Keys have slashes in them: after a colon all goes, up to the last @, even where that takes more than the password.
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s\"'<>@:]*:[^\s\"'<>]*|[^\s/?#]*)@"), rf"\1{SHOWN}@"),
    (re.compile(rf"(?i)([?&;][\w.-]*{_KEY_WORDS}[\w.-]*=)[^&\s\"'<>]+"), rf"\1{SHOWN}"),
    (
        re.compile(rf"(?i)(\b[\w.-]*{_KEY_WORDS}[\w.-]*[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*)[^\s\"',;&<>]{{6,}}"),
        rf"\1{SHOWN}",
    ),
)
# What a text must have for any pattern to fit: most texts are let through after one look.
_SUSPECT = re.compile(
    rf"(?i)PRIVATE KEY|AKIA|ASIA|eyJ|bearer|basic\s|://\S*@|{_KEY_WORDS}",
)

_hidden: set[str] = set()


class Secret:
    """A text that nothing shows: printed, formatted or logged it is ``***``, and it can't be pickled.

    Examples
    --------
    >>> password = Secret("correct horse")
    >>> f"{password} {password!r}", password.reveal()
    ('*** Secret(***)', 'correct horse')
    >>> password.equals("correct mule")
    False
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        hide([value])

    def reveal(self) -> str:
        """Return the text, for the one place that needs it."""
        return self._value

    def equals(self, other: str) -> bool:
        """Return whether `other` is the same text, in a time that does not tell how much of it is."""
        return hmac.compare_digest(self._value.encode(), other.encode())

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret({SHOWN})"

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return SHOWN

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled: what needs it reads it where it runs")


def hide(values: Iterable[str]) -> None:
    """Take these values out of every text that `redact` sees from now on; short ones are left alone."""
    fresh = {value for value in values if len(value) >= _MIN_LENGTH} - _hidden
    if fresh:
        _hidden.update(fresh | {quote(value, safe="") for value in fresh})
        _known.cache_clear()


def hide_environment(environment: Mapping[str, str]) -> None:
    """Hide the values of all variables that are named like a secret, but for names of files and of who asks.

    The id of a key may be any word, and its usual forms are known by their pattern.

    Examples
    --------
    >>> hide_environment({"DEMO_API_TOKEN": "swordfish-1", "DEMO_TOKEN_FILE": "/run/token"})
    >>> redact("used swordfish-1 of /run/token")
    'used *** of /run/token'
    """
    named = ((name, value) for name, value in environment.items() if _SECRET_NAME.search(name))
    hide(value for name, value in named if not _NO_VALUE.search(name) and not _plain(value))


def _plain(value: str) -> bool:
    """Return whether a value is a switch or number, which texts have for other reasons."""
    return value.isdigit() or value.lower() in ("disabled", "enabled", "default", "required", "optional")


def redact(text: str) -> str:
    """Return `text` with every hidden value, and what looks like a credential, replaced by ``***``.

    Examples
    --------
    >>> redact("can't open s3://KEY:pass/word@bucket/x?X-Amz-Signature=abc123")
    "can't open s3://***@bucket/x?X-Amz-Signature=***"
    """
    known = _known()
    if known is not None:
        text = known.sub(SHOWN, text)
    if _SUSPECT.search(text):
        for pattern, shown in _PATTERNS:
            text = pattern.sub(shown, text)
    return text


@lru_cache(maxsize=1)
def _known() -> re.Pattern[str] | None:
    if not _hidden:
        return None
    # The longest first: a secret that begins with another would leave its end.
    return re.compile("|".join(map(re.escape, sorted(_hidden, key=lambda value: (-len(value), value)))))


def redact_logs() -> None:
    """Take secrets out of every record of `logging` in this process, of whatever logger, before any handler has it.

    A filter would see the records of its own logger alone; a factory sees all. Called twice it does nothing.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def factory(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # wrong arguments to a format: logging says so itself, where it is handled
            return record
        record.msg, record.args = redact(message), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
            record.exc_info = None  # a handler of its own mind would write it anew
        return record

    factory.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def keep_secrets(environment: Mapping[str, str]) -> None:
    """Let nothing that this process logs, or says as it ends by an error, show a secret of its environment.

    For the start of a process; what it prints itself goes through `redact`.
    """
    hide_environment(environment)
    redact_logs()
    sys.excepthook = _say_redacted


def _say_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
