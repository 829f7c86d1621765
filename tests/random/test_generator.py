"""The generator itself: seeds, states, and how draws move the stream."""

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import generator as draws
from rushlight.generator import Generator

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def uniform(g: Generator, n: int) -> list[float]:
    return [round(float(x), 7) for x in draws.uniform(g, n, F32)]


def test_known_numbers_of_seed_zero() -> None:
    g = Generator().manual_seed(0)
    assert uniform(g, 3) == [0.4962566, 0.7682218, 0.0884774]
    assert g.manual_seed(0).raw(2).tolist() == [2357136044, 2546248239]  # MT19937's own test vector for seed 0


@pytest.mark.parametrize(
    ("seed", "kept"), [(0, 0), (-1, 2**64 - 1), (2**64 - 1, 2**64 - 1), (-(2**63), 2**63), (np.int64(7), 7)]
)
def test_seeds_wrap_to_64_bits(seed: Any, kept: int) -> None:
    assert Generator().manual_seed(seed).initial_seed() == kept


@pytest.mark.parametrize(
    ("seed", "error"),
    [(2**64, ValueError), (-(2**63) - 1, ValueError), (1.5, RuntimeError), ("1", RuntimeError), (True, RuntimeError)],
)
def test_bad_seeds(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"Overflow when unpacking long long|manual_seed expected a long"):
        Generator().manual_seed(seed)


def test_only_the_low_half_of_a_seed_makes_the_stream() -> None:
    assert uniform(Generator().manual_seed(2**32 + 5), 4) == uniform(Generator().manual_seed(5), 4)


def test_a_new_generator_has_pytorchs_fixed_seed_and_seed_takes_a_new_one() -> None:
    g = Generator()
    assert g.initial_seed() == 67280421310721
    assert g.seed() == g.initial_seed() != 67280421310721
    assert str(g.device) == "cpu"
    assert repr(g).startswith("<torch._C.Generator object at 0x")


def test_other_devices_are_refused() -> None:
    with pytest.raises(RuntimeError, match="NVIDIA"):
        Generator("cuda")
    with pytest.raises(TypeError, match=r"argument 'device' \(position 1\) must be torch.device, not float"):
        Generator(1.5)


@pytest.mark.parametrize("words", [0, 1, 623, 624, 625, 2000])
@pytest.mark.parametrize("with_normal", [False, True])
def test_state_restores_the_stream_at_any_point(words: int, with_normal: bool) -> None:
    g = Generator().manual_seed(9)
    if words:
        g.raw(words)
    if with_normal:
        draws.normal(g, 3, F32)
    state = g.get_state()
    assert tuple(state.shape) == (5056,) and state.dtype is rushlight.uint8
    expected = [draws.normal(g, 5, F64).tolist(), uniform(g, 700)]
    for other in (Generator().set_state(state), g.set_state(state)):
        assert other.initial_seed() == 9
        assert [draws.normal(other, 5, F64).tolist(), uniform(other, 700)] == expected


def test_states_are_copies() -> None:
    g = Generator().manual_seed(1)
    state = g.get_state()
    before = state.clone()
    g.raw(10)
    assert bool((state == before).all())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g)), Generator.clone_state])
def test_copies_continue_alike_and_apart(copied: Any) -> None:
    g = Generator().manual_seed(4)
    draws.normal(g, 1, F32)
    other = copied(g)
    assert other is not g
    assert draws.normal(other, 9, F64).tolist() == draws.normal(g, 9, F64).tolist()
    g.raw(1)
    assert uniform(other, 1) != uniform(g, 1)


def test_bad_states() -> None:
    g = Generator()
    with pytest.raises(TypeError, match=r"RNG state must be a torch.ByteTensor"):
        g.set_state(rushlight.zeros(5056))
    with pytest.raises(TypeError, match=r"expected a torch.ByteTensor, but got list"):
        g.set_state([1])
    with pytest.raises(RuntimeError, match=r"Expected a CPUGeneratorImplState of size 5056 but found .* to be 10"):
        g.set_state(rushlight.zeros(10, dtype=rushlight.uint8))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        g.set_state(rushlight.zeros(5056, dtype=rushlight.uint8))


def test_what_the_cpu_generator_lacks() -> None:
    g = Generator()
    for call in (g.get_offset, lambda: g.set_offset(1)):
        with pytest.raises(RuntimeError, match="CPU Generator does not use offset"):
            call()
    for call in (g.graphsafe_get_state, lambda: g.graphsafe_set_state(g)):
        with pytest.raises(NotImplementedError, match="not supported in this Generator"):
            call()


@pytest.mark.parametrize("offset", [0, 1, 16, 600])
def test_states_interchange_with_torch(offset: int) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.Generator().manual_seed(offset)
    torch.rand(offset, generator=theirs)
    torch.randn(3, generator=theirs)
    g = Generator().set_state(rushlight.from_numpy(theirs.get_state().numpy()))
    assert g.get_state().numpy().tobytes() == theirs.get_state().numpy().tobytes()
    assert draws.normal(g, 31, F64).tolist() == torch.randn(31, generator=theirs, dtype=torch.float64).tolist()
    assert g.state_bytes() == theirs.get_state().numpy().tobytes()
    other = torch.Generator()
    other.set_state(torch.from_numpy(g.get_state().numpy()))
    assert torch.rand(5, generator=other).tolist() == draws.uniform(g, 5, F32).tolist()


def test_threads_share_a_generator_without_losing_or_repeating_numbers() -> None:
    g = Generator().manual_seed(0)
    pieces: list[Any] = []

    def draw() -> None:
        for _ in range(20):
            pieces.append(draws.uniform(g, 20000, F32))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = draws.uniform(Generator().manual_seed(0), 80 * 20000, F32).reshape(80, 20000)
    assert sorted(p.tobytes() for p in pieces) == sorted(row.tobytes() for row in together)


def test_rejection_samplers_return_the_words_they_looked_at_and_did_not_use() -> None:
    g = Generator().manual_seed(3)
    counts = draws.poisson(g, np.array([0.0, 2.0, 30.0]))
    used = Generator().manual_seed(3)
    assert counts[0] == 0
    state = g.state_bytes()
    for words in range(0, 200, 2):
        if used.state_bytes() == state:
            assert words >= 2 + 2 + counts[1]
            return
        used.raw(2)
    pytest.fail("the generator stands at no point close to its start")
