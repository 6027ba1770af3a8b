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
OPTIONS = {
    "STREAMLIT_SERVER_HEADLESS": "true",
    "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
    "STREAMLIT_SERVER_MAX_UPLOAD_SIZE": "50",  # MB; reliability.md, P26
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    "STREAMLIT_CLIENT_TOOLBAR_MODE": "viewer",
    "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "none",
    "STREAMLIT_LOGGER_LEVEL": "warning",
}


def serve(socket: Path) -> None:
    """Serve the web app on `socket` until SIGTERM; its folder is for this account alone.

    Raises
    ------
    InputError
        If others may enter the folder.
    """
    from quantbot.errors import InputError

    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = socket.parent.stat().st_mode
    # A group may enter: on Kubernetes the proxy beside us is of our group.
    if mode & 0o007:
        raise InputError(f"others may enter {socket.parent} (mode {mode & 0o777:04o}); chmod 700 it")
    for name, value in OPTIONS.items():
        os.environ.setdefault(name, value)
    import uvicorn
    from streamlit.starlette import App

    socket.unlink(missing_ok=True)
    os.umask(0o007)
    uvicorn.run(App(ENTRY), uds=str(socket), log_level="warning", access_log=False, server_header=False)


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("socket", type=Path)
    serve(parser.parse_args().socket)
    return 0


if __name__ == "__main__":
    sys.exit(main())
