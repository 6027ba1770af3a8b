"""A library that we measure against, in an environment and a process of its own: requests in, answers out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent


class Process:
    """A script of `bench/peers` that answers each line of JSON with another.

    Parameters
    ----------
    python
        The interpreter of the peer's environment.
    script
        The file's name in `bench/peers`.
    target
        The make target that installs the peer.
    """

    def __init__(self, python: str, script: str, *arguments: str, target: str) -> None:
        if not Path(python).exists():
            sys.exit(f"no peer at {python}: `make {target}` installs it there, or give --peer-python")
        command = [python, str(HERE / "peers" / script), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for one line of the peer's."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        sys.exit("the peer ended; its error stands above")
