from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantbot.blas import libraries, one_blas_thread

ROOT = Path(__file__).parents[2]
FIT = """
import hashlib
import numpy as np
from quantbot.blas import one_blas_thread
from quantbot.risk.scenarios import make_scenarios
returns = np.random.default_rng(3).standard_t(4, (500, 20)) * 0.01
with one_blas_thread():
    drawn = make_scenarios("filtered_historical", returns, n_scenarios=50)
print(hashlib.sha256(drawn.returns.tobytes()).hexdigest())
"""


def test_threads__come_back_after_the_outermost_block():
    before = [get() for get, _ in libraries()]
    with one_blas_thread():
        with one_blas_thread():
            assert all(get() == 1 for get, _ in libraries())
        assert all(get() == 1 for get, _ in libraries())
    assert [get() for get, _ in libraries()] == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the libraries are not found")
def test_libraries__has_the_ones_of_numpy_and_scipy():
    assert libraries()


@pytest.mark.slow
def test_fit__has_the_same_bits_whatever_the_environment_says_of_threads():
    found = set()
    for n in ("1", "2"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", FIT], env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
