"""``quantbot certs``: certificates for the peers of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import terminal
from app.commands.options import Json, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "certs",
        short_help="Make certificates for a cluster of your own.",
        epilog=examples(
            "quantbot certs ~/certs --hosts localhost,127.0.0.1",
            "quantbot certs runner --hosts runner --use client --authority ~/authority --days 1",
        ),
    )(certs)


def certs(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where ca.pem, cert.pem and key.pem go.")],
    hosts: Annotated[str, typer.Option("--hosts", help="Names and addresses of the peer, with commas between.")],
    days: Annotated[float, typer.Option("--days", help="How long the certificate is good for.")] = 7.0,
    use: Annotated[str, typer.Option("--use", help="client (it calls), server (it is called) or both.")] = "both",
    authority: Annotated[
        Path | None,
        typer.Option("--authority", help="The authority's folder; default: authority in DIR. Keep it apart."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a certificate for a peer of the cluster, and the authority that signs it where there is none yet.

    Whoever holds a certificate may run code on every peer: give it to scheduler, workers and runners, to nobody else.
    Run it again before the certificate ends; the same authority signs.
    """
    from quantbot.errors import InputError
    from sweeps.certificates import AUTHORITY, make_certificates

    if use not in ("both", "client", "server"):
        raise InputError(f"--use is client, server or both, was {use!r}")
    names = [name.strip() for name in hosts.split(",") if name.strip()]
    end = make_certificates(directory, names, days=days, use=use, authority=authority)  # type: ignore[arg-type]
    if json:
        terminal.print_json({"directory": str(directory), "hosts": names, "ends_at": end.isoformat()})
        return
    terminal.say(
        f"{directory} has ca.pem, cert.pem and key.pem for {', '.join(names)}, good until {end:%Y-%m-%d %H:%M} UTC"
    )
    terminal.note(f"keep {authority or directory / AUTHORITY} to yourself: its key signs for the whole cluster")
