"""What the tests of `tests/` and the examples in the docstrings of `src/` share."""

import os

if os.environ.get("PYTEST_XDIST_WORKER"):  # one BLAS thread per worker, set before NumPy loads
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import numpy as np
import pytest
from hypothesis import settings

import rushlight

settings.register_profile("many")  # chosen with --hypothesis-profile=many

# Scripts that record golden values from PyTorch.
collect_ignore_glob = ["tests/*/record.py"]


@pytest.fixture(autouse=True)
def _place_of_docstring_examples(request: pytest.FixtureRequest) -> None:
    """Examples in docstrings know `torch` and `np`, start from seed 0, and write into a folder of their own."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("doctest_namespace").update(torch=rushlight, np=np)
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
        rushlight.manual_seed(0)
