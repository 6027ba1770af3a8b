"""The sections of a schedule file as models: what each holds, what is required, what is in bounds by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from quantbot.errors import InputError
from sweeps.schedule.rules import MAX_DELAY_NS, Cron, Rule, Session, check_zone, parse_duration
from sweeps.sections import Scalar, Section
from sweeps.service.queue import PRIORITIES

MAX_CATCH_UP = 1_000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _duration(text: str) -> str:
    _said(lambda: parse_duration(text))
    return text


def _zone(text: str) -> str:
    _said(lambda: check_zone(text))
    return text


def _dataset(text: str) -> str:
    from datasets.references import check_name

    _said(lambda: check_name(text))
    return text


def _printable(text: str) -> str:
    if not text.isprintable():  # marks that turn text around are not
        raise ValueError(f"must be printable, was {text!a}")
    return text


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise ValueError("must be the name of an environment variable")
    return text


def _said(act: Any) -> None:
    """Let an error of ours be one of pydantic's."""
    try:
        act()
    except InputError as error:
        raise ValueError(str(error)) from None


Text = Annotated[str, Field(min_length=1, max_length=1_000)]
Duration = Annotated[str, AfterValidator(_duration)]
Variable = Annotated[str, AfterValidator(_variable)]


class When(Section):
    """When it falls due: `cron` in a `zone`, or `delay` after a session of an exchange closes or opens.

    Attributes
    ----------
    sessions
        With `cron`: only on dates on which this calendar has a session.
    """

    cron: Text | None = None
    zone: Annotated[str, AfterValidator(_zone)] | None = None
    sessions: Text | None = None
    after_close: Text | None = None
    after_open: Text | None = None
    delay: Duration | None = None

    def rule(self) -> Rule:
        """Return the rule, or raise `InputError`."""
        if self.cron is not None:
            return Cron(self.cron, self.zone or "UTC", self.sessions)
        delay = parse_duration(self.delay) if self.delay else 0
        if self.after_close is not None:
            return Session(self.after_close, "close", delay)
        return Session(self.after_open or "", "open", delay)

    @model_validator(mode="after")
    def _one_rule(self) -> When:
        named = [name for name in ("cron", "after_close", "after_open") if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none of them"
            raise ValueError(f"needs one of cron, after_close and after_open; found {found}")
        problems = []
        if self.cron is not None:
            if self.zone is None:
                problems.append('cron needs a zone, such as zone = "Europe/Berlin"')
            if self.delay is not None:
                problems.append("cron takes no delay: say the time itself")
        else:
            extra = [name for name in ("zone", "sessions") if getattr(self, name) is not None]
            if extra:
                problems.append(f"{named[0]} takes no {' and no '.join(extra)}: the exchange has its own")
            if self.delay is not None and parse_duration(self.delay) > MAX_DELAY_NS:
                problems.append(f"delay must be at most 7d, found {self.delay}")
        if problems:
            raise ValueError("; ".join(problems))
        _said(self.rule)
        return self


def rule_of(document: Mapping[str, Any]) -> Rule:
    """Return the rule of a [when] table as plain values, or raise `InputError`."""
    try:
        return When.model_validate(document).rule()
    except ValidationError as error:
        raise InputError("; ".join(detail["msg"] for detail in error.errors(include_url=False))) from None


class CatchUp(Section):
    """What becomes of times that went by while no scheduler was alive.

    Attributes
    ----------
    policy
        "all": each of them is a job, the oldest first; "last": only the newest is.
    limit
        At most so many of them, the newest.
    """

    policy: Literal["all", "last"] = "all"
    limit: Annotated[int, Field(ge=1, le=MAX_CATCH_UP)] = 10


class Refresh(Section):
    """An ingest that comes before the runs.

    Attributes
    ----------
    dataset
        What it is stored as.
    format
        See `sweeps.schedule.refresh.FORMATS`.
    paths
        Files, or patterns of files (``bars-*.csv``), beside the schedule's file or absolute.
    query, url_env
        For SQL: one SELECT, and the environment variable that has the database's URL.
    options
        Those of `quantbot ingest`, by name.
    retries, retry_after
        How often it is tried again when it failed, and after how long.
    """

    dataset: Annotated[str, AfterValidator(_dataset)]
    format: str
    paths: Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=1_000)] | None = None
    query: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None
    url_env: Variable | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    retry_after: Duration = "10min"


class RunEntry(Section):
    """A spec to run: a file beside the schedule's.

    Attributes
    ----------
    name
        In place of the spec's own.
    priority
        Among what waits for a runner; the higher goes first.
    """

    spec: Text
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    priority: Annotated[int, Field(ge=PRIORITIES.start, lt=PRIORITIES.stop)] = 0


class PinEntry(Section):
    """A trial to watch: one point of a spec, run again on each new version of the data.

    Attributes
    ----------
    point
        A value for every axis of the spec.
    holds
        The conclusion that is drawn from it, a condition over measures: ``"sharpe > 0.5"``; its objective is better
        than 0 where nothing is said.
    """

    name: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
    spec: Text
    point: dict[str, Scalar] = Field(default_factory=dict)
    asset: Text | None = None
    holds: Annotated[str, Field(min_length=1, max_length=2_000)] | None = None


class Webhook(Section):
    """Where the summary is posted as JSON: its URL, or the variable or file that has it, and the secret that signs it.

    Attributes
    ----------
    attempts
        Times that it is tried in all.
    """

    url: Text | None = None
    url_env: Variable | None = None
    url_file: Text | None = None
    secret_env: Variable | None = None
    secret_file: Text | None = None
    attempts: Annotated[int, Field(ge=1, le=10)] = 4

    @model_validator(mode="after")
    def _complete(self) -> Webhook:
        named = [name for name in ("url", "url_env", "url_file") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"needs one of url, url_env and url_file; found {' and '.join(named) or 'none of them'}")
        if self.secret_env is not None and self.secret_file is not None:
            raise ValueError("takes secret_env or secret_file, not both")
        if self.url is not None:
            _said(lambda: check_url(self.url or ""))
        return self


def check_url(url: str) -> str:
    """Return a webhook's URL, or raise `InputError` without repeating it: it may hold a token."""
    try:
        place = urlsplit(url)
        host, user = place.hostname, place.username or place.password
    except ValueError:
        raise InputError("the webhook's URL can't be read") from None
    if place.scheme != "https" and not (place.scheme == "http" and host in _LOOPBACK):
        raise InputError("a webhook's URL begins with https:// (http:// on this machine alone)")
    if not host or user:
        raise InputError("a webhook's URL names a host and no user; a token belongs in secret_env or url_env")
    return url
