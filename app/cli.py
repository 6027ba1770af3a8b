"""The `quantbot` command: its groups, and what becomes of errors and signals."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any

import typer

from app import terminal
from app.commands import (
    audit,
    backtest,
    certs,
    data,
    doctor,
    ingest,
    luck,
    nodes,
    replay,
    report,
    runner,
    schedule,
    serve,
    store,
    strategies,
    sweep,
)
from app.commands.options import examples
from app.doctor import require_own_datasets
from app.terminal import EXIT_CODES, ExitCode, Interrupted, exit_code, print_error
from quantbot.errors import QuantBotError
from quantbot.redaction import keep_secrets, redact

_EXIT_CODES = "\n".join(f"  {code.value:>3}  {sentence}" for code, sentence in EXIT_CODES.items())
_EPILOG = (
    examples(
        "quantbot demo                                   everything once, on real bars",
        "quantbot ingest csv mine/eurusd eurusd.csv --time date --zone Europe/Berlin",
        "quantbot sweep plan sweeps/examples/sma-sp500.toml",
        "quantbot sweep run sweeps/examples/sma-sp500.toml --workers 2",
        "quantbot app                                    the surfaces, in the browser",
    )
    + "\n\n\b\nExit codes:\n"
    + _EXIT_CODES
)
# Said once for all commands, so they may stand anywhere on the line.
_EVERYWHERE = {"--debug": "debug", "--quiet": "quiet", "-q": "quiet"}

_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

app = typer.Typer(
    name="quantbot",
    help="Thousands of honest backtests on a cluster, and the surfaces that show what they mean.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for _group in (ingest.app, data.app, strategies.app, sweep.app, schedule.app, store.app, audit.app):
    app.add_typer(_group)
for _module in (backtest, luck, report, runner, nodes, serve, doctor, certs):
    _module.register(app)
replay.register(sweep.app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"quantbot {version('quantbot')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="QUANTBOT_DEBUG", help="Show where an error came from; any place will do.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notes and no progress on stderr; any place will do.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    terminal.flags.debug = terminal.flags.debug or debug
    terminal.flags.quiet = terminal.flags.quiet or quiet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Parameters
    ----------
    arguments
        What follows ``quantbot`` on the command line; by default this process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _read_flags(words)
    _write_whatever_the_locale()
    keep_secrets(os.environ)
    before = _end_like_ctrl_c_on_sigterm()
    try:
        require_own_datasets()
        result = app([word for word in words if word not in _EVERYWHERE], prog_name="quantbot", standalone_mode=False)
        sys.stdout.flush()
        if result == ExitCode.INTERRUPTED:  # typer makes an exit code of a KeyboardInterrupt
            raise KeyboardInterrupt
        return int(result or ExitCode.OK)
    except BrokenPipeError:
        # `quantbot … | head`: the reader has what it wanted; keep the interpreter from complaining on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except (KeyboardInterrupt, Interrupted, typer.Abort) as error:
        print_error(error, str(error) or "interrupted", ExitCode.INTERRUPTED)
        return ExitCode.INTERRUPTED
    except Exception as error:
        return _report(error)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _read_flags(words: Sequence[str]) -> None:
    terminal.flags = terminal.Flags(json="--json" in words, debug=bool(os.environ.get("QUANTBOT_DEBUG")))
    for word in words:
        if word in _EVERYWHERE:
            setattr(terminal.flags, _EVERYWHERE[word], True)


def _write_whatever_the_locale() -> None:
    """Let a terminal that has no sign for something show a question mark, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _report(error: Exception) -> int:
    # Wrong usage, by its shape: typer has changed the home of these classes between versions.
    if hasattr(error, "format_message"):
        return _report_usage(error)
    code = exit_code(error)
    if terminal.flags.debug:
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
    if isinstance(error, QuantBotError):
        print_error(error, str(error), code)
    else:
        hint = "" if terminal.flags.debug else " (--debug shows where)"
        print_error(error, f"unexpected {type(error).__name__}: {error}{hint}", code)
    return code


def _report_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    message = str(error.format_message())  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(message.rstrip() + "\n")
        return ExitCode.BAD_INPUT
    if context is not None and not terminal.flags.json:
        sys.stderr.write(f"{context.get_usage()}\nTry '{context.command_path} --help'.\n")
    print_error(error, message, ExitCode.BAD_INPUT)
    return ExitCode.BAD_INPUT


def _end_like_ctrl_c_on_sigterm() -> _Handler:
    """Make SIGTERM unwind like Ctrl-C, so that every child is ended; return the handler that was there."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread (a notebook, a test): signals are somebody else's
        return None


if __name__ == "__main__":
    sys.exit(main())
