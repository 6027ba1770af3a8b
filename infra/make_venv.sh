#!/usr/bin/env bash
# Make .venv and install QuantBot into it, editable, with one of its extras: make_venv.sh [EXTRA]
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-demo}

supported='import sys; sys.exit(sys.version_info < (3, 11))'
if [ ! -x .venv/bin/python ]; then
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$supported"; then python=$candidate; break; fi
  done
  if [ -z "${python:-}" ]; then
    echo "QuantBot needs Python 3.11 or newer; found $(python3 --version 2>&1). Name one: make demo PYTHON=/path/to/python3.11" >&2
    exit 2
  fi
  echo "Making .venv with $($python --version) ..."
  if command -v uv >/dev/null; then
    uv venv --quiet --python "$python" .venv
  elif ! "$python" -m venv .venv 2>/dev/null; then
    # Debian splits ensurepip off into python3-venv; a pip of the system can stand in for it.
    rm -rf .venv
    if ! "$python" -m pip --version >/dev/null 2>&1; then
      echo "Making a virtual environment needs python3-venv (Debian: apt install python3-venv), python3-pip or uv; none is there." >&2
      exit 2
    fi
    "$python" -m venv --without-pip .venv
    "$python" -m pip --python .venv/bin/python install --quiet uv
  fi
fi

if [ ! -x .venv/bin/uv ]; then
  if command -v uv >/dev/null; then
    uv pip install --quiet --python .venv/bin/python uv
  else
    .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
  fi
fi
echo "Installing QuantBot with its $extra packages (about 1 GB the first time) ..."
.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --editable ".[$extra]"
