"""Every error that QuantBot raises on purpose; each derives from `QuantBotError` and a builtin.

A message says what was needed, what was found (place, name, value) and, where known, what to do.

    QuantBotError
    ├── InputError (ValueError)        something handed in is unusable
    │   ├── DataError                  market data: file, line, field, value, rule
    │   ├── ParameterError             a parameter outside its declaration
    │   ├── StrategyError              a strategy that can't be loaded, compiled or trusted
    │   ├── SpecError                  a sweep spec; carries every problem at once
    │   └── TooLargeError              a plan that can't fit
    ├── RefusedError (PermissionError) somebody may not do this, or is not known
    ├── NotFoundError (LookupError)    a dataset, run, strategy or object that isn't there
    ├── StoreError (OSError)           a store that refuses, fails or can't be reached; `kind` says which
    │   ├── OutageError                it can't be reached, or says "later" for too long: the same may succeed later
    │   ├── AccessError                it refuses these credentials or this account
    │   └── FullError                  there is no space left
    ├── CorruptError (RuntimeError)    stored bytes that are not the bytes that were written
    ├── FormatError (RuntimeError)     stored bytes of a format that this version doesn't read
    └── RunError (RuntimeError)        a run that can't go on
        └── DivergenceError            the same identity gave different bytes
"""

from __future__ import annotations

from typing import ClassVar, Literal


class QuantBotError(Exception):
    """Base of every error that QuantBot raises on purpose."""


class InputError(QuantBotError, ValueError):
    """Something handed in is unusable."""


class DataError(InputError):
    """Market data that break a rule; the message names file, line, field, value and rule."""


class ParameterError(InputError):
    """A parameter's value is outside its declaration."""


class StrategyError(InputError):
    """A strategy can't be loaded, compiled or trusted."""


class SpecError(InputError):
    """A sweep spec is wrong; `problems` lists everything that is, each with its place."""

    def __init__(self, problems: list[str] | str, source: str = "spec") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.source = source
        many = f"{len(self.problems)} problems" if len(self.problems) > 1 else "1 problem"
        super().__init__(f"{source}: {many}\n" + "\n".join(f"  - {problem}" for problem in self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[list[str], str]]:
        return type(self), (self.problems, self.source)


class TooLargeError(InputError):
    """A plan needs more than is there."""


class RefusedError(QuantBotError, PermissionError):
    """Somebody may not do this, or a spec from outside names what it may not."""


class NotFoundError(QuantBotError, LookupError):
    """A dataset, run, strategy or object isn't there."""


class StoreError(QuantBotError, OSError):
    """A store refuses, fails or can't be reached.

    Attributes
    ----------
    kind
        "outage", "access" and "full" pass when somebody, or time, puts the store right; "failed" does not.
    """

    kind: ClassVar[Literal["outage", "access", "full", "failed"]] = "failed"


class OutageError(StoreError):
    """A store can't be reached, or failed for longer than is ridden out; the same request may succeed later."""

    kind = "outage"


class AccessError(StoreError):
    """A store refuses these credentials, or this account of the system."""

    kind = "access"


class FullError(StoreError):
    """A store has no space left; nothing was left half written."""

    kind = "full"


class CorruptError(QuantBotError, RuntimeError):
    """Stored bytes are not the bytes that were written."""


class FormatError(QuantBotError, RuntimeError):
    """Stored bytes are of a format that this version doesn't read; they are not touched."""


class RunError(QuantBotError, RuntimeError):
    """A run can't go on."""


class DivergenceError(RunError):
    """Two executions of one identity gave different bytes."""
