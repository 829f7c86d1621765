"""The threads that convolutions and pooling run on."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import rushlight
from rushlight.backends import threads


@pytest.fixture(autouse=True)
def _four_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    yield
    threads.set_num_threads(before)


@pytest.mark.parametrize("length", [0, 1, 3, 16, 17, 100])
def test_ranges_cover_the_loop_in_order(length: int) -> None:
    for worthwhile in (True, False):
        parts = threads.parallel_ranges(length, lambda a, b: list(range(a, b)), worthwhile)
        assert [i for part in parts for i in part] == list(range(length))


def test_calls_run_side_by_side() -> None:
    meeting = threading.Barrier(4, timeout=20)
    # each of four threads waits for the other three
    idents = threads.parallel_ranges(4, lambda a, b: (meeting.wait(), threading.get_ident())[1])
    assert len(set(idents)) == 4


def test_an_error_in_a_worker_arrives() -> None:
    def fail(start: int, stop: int) -> None:
        if start == 3:
            raise KeyError("three")

    with pytest.raises(KeyError, match="three"):
        threads.parallel_ranges(8, fail)
    assert len(threads.parallel_ranges(8, lambda a, b: a)) == 8


def test_ranges_within_ranges_stay_in_their_thread() -> None:
    def outer(start: int, stop: int) -> bool:
        inner = threads.parallel_ranges(8, lambda a, b: threading.get_ident())
        return set(inner) == {threading.get_ident()}

    assert all(threads.parallel_ranges(8, outer))


def test_the_blas_gets_its_threads_back() -> None:
    if threads._get_blas_threads is None:
        pytest.skip("NumPy's BLAS has no control of threads")
    inside = threads.parallel_ranges(4, lambda a, b: threads._get_blas_threads())
    assert set(inside) == {1}
    assert threads._get_blas_threads() == 4


def test_the_number_must_be_positive() -> None:
    for wrong in (0, -1, 1.5):
        with pytest.raises(RuntimeError, match="expects a positive integer"):
            threads.set_num_threads(wrong)  # type: ignore[arg-type]


def _convolve(queue: object) -> None:
    x = rushlight.ones(32, 8, 16, 16)
    queue.put(float(rushlight.nn.functional.conv2d(x, rushlight.ones(8, 8, 3, 3)).sum()))  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    x = rushlight.ones(32, 8, 16, 16)
    here = float(rushlight.nn.functional.conv2d(x, rushlight.ones(8, 8, 3, 3)).sum())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_convolve, args=(queue,))
    child.start()
    assert queue.get(timeout=30) == here == np.prod((32, 8, 14, 14)) * 72
    child.join(30)
    assert child.exitcode == 0
