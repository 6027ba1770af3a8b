"""``python -m app`` is ``quantbot``."""

import sys

from app.cli import main

if __name__ == "__main__":
    # A worker process of a local cluster imports this module again, under another name: the guard keeps it quiet.
    sys.exit(main())
