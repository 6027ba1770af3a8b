"""``quantbot app`` and ``quantbot demo``: what ends in a page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, open_root

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the web app; the next free one if taken.")]
Host = Annotated[
    str,
    typer.Option("--host", help="Address to listen on. Any but this machine's own takes a login and TLS."),
]
Tls = Annotated[
    Path | None, typer.Option("--tls", metavar="DIR", help="Serve https with cert.pem and key.pem of this folder.")
]
SecurityFile = Annotated[
    Path | None,
    typer.Option(
        "--security", envvar="QUANTBOT_SECURITY", show_envvar=True, metavar="FILE",
        help="Settings of login, roles and limits; see docs/how-to/security.md.",
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        "app",
        short_help="Serve the web app until Ctrl-C.",
        epilog=examples("quantbot app", "quantbot app --store s3://bucket/quantbot --port 9000"),
    )(serve)
    app.command(
        "demo",
        short_help="Show everything once, on real bars.",
        epilog=examples("quantbot demo", "quantbot demo --no-serve", "quantbot demo --no-serve --json"),
    )(demo)


def serve(
    store: StoreUrl = DEFAULT_STORE,
    port: Port = 8501,
    host: Host = "127.0.0.1",
    tls: Tls = None,
    security: SecurityFile = None,
) -> None:
    """Serve the web app: runs, surfaces, trials and data in the browser. Ctrl-C ends it.

    Without settings nobody logs in, and only this machine is served.
    """
    from app.serve import free_port, serving, wait

    root = open_root(store)
    chosen = free_port(port, host)
    if chosen != port:
        terminal.note(f"port {port} is taken; using {chosen}")
    with serving(root.url, port=chosen, host=host, tls=tls, security=security) as server:
        terminal.say(f"QuantBot serves {root.url} at {server.url} (Ctrl-C ends it)")
        wait(server)
    terminal.note("ended; nothing is left running")


def demo(
    store: StoreUrl = DEFAULT_STORE,
    port: Port = 8501,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the app afterwards, until Ctrl-C.")] = True,
    json: Json = False,
) -> None:
    """Show everything once: real bars in, thousands of backtests on a local cluster, the surface in the browser."""
    from app.demo import run_demo

    run_demo(open_root(store), port=port, serve=serve, as_json=json)
