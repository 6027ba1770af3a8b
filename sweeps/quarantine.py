"""Blocks that may not run again by themselves: twice they ended the process that ran them, or took too much.

Each has an object ``quarantine/block-<index>.json`` under its run, with all that is known about its end. A person lifts
it: `quantbot sweep resume` does, and the block is tried again, twice at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from quantbot.errors import CorruptError, RunError
from quantbot.redaction import redact
from sweeps.executors.base import Failure
from sweeps.runstore import SHORT, RunStore, to_json

FOLDER = "quarantine/"
_KEY = re.compile(r"quarantine/block-(\d{8})\.json")


@dataclass(frozen=True)
class Quarantined:
    """Why a block may not run again by itself.

    Attributes
    ----------
    cause
        "crashed", "deadline" or "oom", as `sweeps.executors.base.Failure` has it.
    ended
        Signal, exit code or limit, in words.
    workers
        Where it ran, the first time and the second.
    peak_bytes
        Most memory that its process held; 0 where nobody knows.
    stderr
        The last that it printed, at most 4 KB.
    replay
        The command that runs it again, alone and watched, and writes nothing.
    """

    identity: str
    block: int
    cause: str
    ended: str
    message: str
    workers: tuple[str, ...]
    peak_bytes: int
    stderr: str
    replay: str
    at_ns: int = 0

    def __str__(self) -> str:
        last = self.stderr.strip().splitlines()
        return f"block {self.block}: {self.message}" + (f"; it last printed {last[-1]:.120}" if last else "")


class QuarantineError(RunError):
    """Some blocks are quarantined, so the run can't be committed; all others are in the store."""

    def __init__(self, identity: str, blocks: Mapping[int, Quarantined]) -> None:
        self.identity, self.blocks = identity, dict(blocks)
        shown = [self.blocks[index] for index in sorted(self.blocks)]
        n, short = len(shown), identity[:SHORT]
        super().__init__(
            f"{n} block{'s are' if n > 1 else ' is'} quarantined in run {short}, having failed twice in processes of "
            f"{'their' if n > 1 else 'its'} own; all others are in the store\n"
            + "\n".join(f"  {block}" for block in shown[:10])
            + (f"\n  ... and {n - 10} more" if n > 10 else "")
            + f"\nSee what happens with: {shown[0].replay}\nTry {'them' if n > 1 else 'it'} again with: "
            f"quantbot sweep resume {short}"
        )

    def __reduce__(self) -> tuple[type[QuarantineError], tuple[str, dict[int, Quarantined]]]:
        return type(self), (self.identity, self.blocks)


def quarantine(run: RunStore, block: int, first: Failure, last: Failure) -> Quarantined:
    """Write down that a block may not run again, and return what was written."""
    made = Quarantined(
        run.identity,
        block,
        last.cause,
        last.ended,
        redact(str(last)),
        (first.worker, last.worker),
        max(first.peak_bytes, last.peak_bytes),
        redact(last.stderr or first.stderr),
        f"quantbot sweep replay {run.identity[:SHORT]} {block}",
        run.store.now_ns(),
    )
    run.put_first(f"{FOLDER}block-{block:08d}.json", to_json(asdict(made)))
    return made


def quarantined(run: RunStore) -> dict[int, Quarantined]:
    """Return the blocks of a run that may not run again by themselves."""
    found = {}
    for key in run.store.list(FOLDER):
        match = _KEY.fullmatch(key)
        document = run.read_json(key) if match else None
        if match is None or document is None:
            continue
        try:
            found[int(match[1])] = Quarantined(**document | {"workers": tuple(document["workers"])})
        except (TypeError, KeyError) as error:
            raise CorruptError(f"{run.url}/{key} says nothing about a block: {error}") from error
    return found


def lift(run: RunStore) -> list[int]:
    """Let the quarantined blocks of a run be tried again, and return them."""
    found = sorted(int(match[1]) for match in map(_KEY.fullmatch, run.store.list(FOLDER)) if match)
    for block in found:
        run.store.delete(f"{FOLDER}block-{block:08d}.json")
    return found
