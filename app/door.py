"""The web app on a socket of the file system, for a proxy that asks who is there: ``python -m app.door SOCKET``.

Streamlit on a port of this machine would answer every account of it. A socket's folder belongs to one account alone, so
whoever reads a page has come through the proxy (`infra/Caddyfile`).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ENTRY = Path(__file__).with_name("streamlit_app.py")


def serve(socket: Path) -> None:
    """Serve the web app on `socket` until SIGTERM; its folder is for this account alone.

    Raises
    ------
    InputError
        If others may enter the folder, or nobody has to log in.
    """
    from app.security.server import streamlit_environment, streamlit_options
    from app.security.settings import VARIABLE, settings
    from quantbot.errors import InputError

    found = settings()
    if not found.has_login:
        raise InputError(f"a socket is for a proxy that people log in at; {VARIABLE} names the file that says which")
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = socket.parent.stat().st_mode
    # A group may enter: on Kubernetes the proxy beside us is of our group.
    if mode & 0o007:
        raise InputError(f"others may enter {socket.parent} (mode {mode & 0o777:04o}); chmod 700 it")
    os.environ.update(streamlit_environment(streamlit_options(found)))
    import uvicorn
    from streamlit.starlette import App

    socket.unlink(missing_ok=True)
    uvicorn.run(App(ENTRY), uds=str(socket), log_level="warning", access_log=False, server_header=False)


def main() -> int:
    """Run as a command."""
    from quantbot.errors import QuantBotError

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("socket", type=Path)
    try:
        serve(parser.parse_args().socket)
    except QuantBotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
