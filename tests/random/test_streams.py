"""Every draw against PyTorch's, bit for bit: with PyTorch installed from its own run, else from recorded digests."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rushlight
from tests.random.streams import STREAMS, digest, drawn_bytes, first_numbers, run

GOLDEN: dict[str, list[str]] = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def test_every_stream_is_recorded() -> None:
    assert set(GOLDEN) == set(STREAMS)


@pytest.mark.parametrize("name", STREAMS)
def test_equal_to_the_recorded_draws(name: str) -> None:
    drawn = run(STREAMS[name], rushlight)
    assert [digest(drawn), first_numbers(drawn)] == GOLDEN[name]


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("seed", [0, 2**63 + 11])
def test_equal_to_torch(name: str, seed: int) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = (drawn_bytes(run(STREAMS[name], t, seed)) for t in (rushlight, torch))
    differing = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    assert not differing, f"tensors {differing} of {len(ours)} differ"
    assert rushlight.get_rng_state().numpy().tobytes() == torch.get_rng_state().numpy().tobytes()


def test_threads_draw_from_their_own_generators() -> None:
    def draw(seed: int) -> Any:
        g = rushlight.Generator().manual_seed(seed)
        return [rushlight.randn(40, generator=g).tolist() for _ in range(30)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(8))) == [draw(seed) for seed in range(8)]
