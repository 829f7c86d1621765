"""`DataLoader` in the main process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    get_worker_info,
)


class Count(IterableDataset):  # type: ignore[type-arg]
    def __init__(self, n: int, claimed: int | None = None) -> None:
        self.n, self.claimed = n, claimed

    def __iter__(self) -> Any:
        return iter(range(self.n))

    def __len__(self) -> int:
        return self.n if self.claimed is None else self.claimed


def lists(loader: Any) -> list[Any]:
    """Batches of a loader of numbers, or of one tensor, as lists."""
    return [(batch[0] if isinstance(batch, list) else batch).tolist() for batch in loader]


NUMBERS = TensorDataset(rushlight.arange(10))


def test_order_is_pytorchs() -> None:
    rushlight.manual_seed(0)
    loader = DataLoader(NUMBERS, batch_size=4, shuffle=True)
    first, second = lists(loader), lists(loader)
    assert first == [[6, 7, 1, 4], [2, 0, 9, 8], [3, 5]] and second == [[2, 4, 7, 0], [8, 9, 5, 3], [6, 1]]
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(10)), batch_size=4, shuffle=True)
    assert (first, second) == (lists(theirs), lists(theirs))
    assert rushlight.rand(1).item() == torch.rand(1).item()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("own", [False, True])
def test_streams_stay_together(own: bool, workers: int) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for lib in (rushlight, torch):
        lib.manual_seed(5)
        D = lib.utils.data
        generator = lib.Generator().manual_seed(9) if own else None
        data = D.TensorDataset(lib.arange(7))
        weighted = D.WeightedRandomSampler([1.0, 2.0, 3.0], 5)
        for settings in ({"shuffle": True}, {"sampler": weighted}, {"sampler": D.RandomSampler(data, True, 9)}):
            loader = D.DataLoader(data, batch_size=2, generator=generator, num_workers=workers, **settings)
            found.append([lists(loader), lists(loader), lib.rand(1).item()])
    assert found[:3] == found[3:]


def test_options() -> None:
    assert lists(DataLoader(NUMBERS, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert lists(DataLoader(NUMBERS, 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert lists(DataLoader(NUMBERS, batch_sampler=BatchSampler(range(3), 2, False))) == [[0, 1], [2]]
    assert lists(DataLoader(NUMBERS, 2, sampler=[9, 0, 5])) == [[9, 0], [5]]
    assert [x.item() for (x,) in DataLoader(NUMBERS, batch_size=None)] == list(range(10))
    assert list(DataLoader([3, 4], batch_size=None)) == [3, 4]  # type: ignore[arg-type]
    assert list(DataLoader(range(3), 2, collate_fn=sum)) == [1, 2]  # type: ignore[arg-type]
    assert isinstance(DataLoader(NUMBERS, shuffle=True).sampler, RandomSampler)
    assert [len(DataLoader(NUMBERS, b, drop_last=d)) for b, d in ((4, False), (4, True), (None, False))] == [3, 2, 10]


def test_batches_are_copies() -> None:
    (batch,) = DataLoader(NUMBERS, 10)
    batch[0][0] = 99
    assert NUMBERS.tensors[0][0].item() == 0


def test_gathered_batches_are_what_collating_gives() -> None:
    x, y = rushlight.randn(9, 2, 3), rushlight.arange(9.0, dtype=rushlight.float16)
    data = Subset(Subset(TensorDataset(x, y), [8, 1, 3, 5]), [0, 3, 2])
    (fast,) = DataLoader(data, 3)
    (slow,) = DataLoader(data, 3, collate_fn=lambda batch: rushlight.utils.data.default_collate(batch))
    assert type(fast) is type(slow) is list
    for a, b in zip(fast, slow, strict=True):
        assert a.dtype is b.dtype and rushlight.equal(a, b)
    with pytest.raises(IndexError, match="index 12 is out of bounds for dimension 0 with size 10"):
        list(DataLoader(NUMBERS, sampler=[12]))


def test_gradients_flow_through_a_batch() -> None:
    w = rushlight.ones(4, requires_grad=True)
    (batch,) = DataLoader(TensorDataset(w), 4)
    batch[0].sum().backward()
    assert w.grad.tolist() == [1, 1, 1, 1]


def test_whole_batch_fetching() -> None:
    class Bulk:
        def __len__(self) -> int:
            return 5

        def __getitems__(self, indices: list[int]) -> list[int]:
            return [i * 10 for i in indices]

    assert lists(DataLoader(Bulk(), 3)) == [[0, 10, 20], [30, 40]]  # type: ignore[arg-type]


def test_streams() -> None:
    assert lists(DataLoader(Count(5), 2)) == [[0, 1], [2, 3], [4]]
    assert lists(DataLoader(Count(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]
    assert len(DataLoader(Count(5), 2)) == 3 and len(DataLoader(Count(5), 2, drop_last=True)) == 2
    loader = DataLoader(Count(3, claimed=2))
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2.*but 3 samples have been fetched"):
        list(loader)


def test_several_passes_at_once() -> None:
    loader = DataLoader(NUMBERS, 5)
    assert [(a[0][0].item(), b[0][0].item()) for a in loader for b in loader] == [(0, 0), (0, 5), (5, 0), (5, 5)]
    assert next(iter(loader))[0].tolist() == [0, 1, 2, 3, 4]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"num_workers": -1}, "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing"),
    ({"timeout": -1}, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, "prefetch_factor option could only be specified in multiprocessing"),
    ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
    ({"sampler": [0], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
    ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler option is mutually exclusive with batch_size, shuffle"),
    ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
    ({"batch_size": 0}, "batch_size should be a positive integer value, but got batch_size=0"),
    ({"multiprocessing_context": "fork"}, "can only be used with multi-process loading"),
    ({"num_workers": 1, "multiprocessing_context": "x"}, "should specify a valid start method in"),
]


@pytest.mark.parametrize("settings, message", BAD, ids=[m[:40] for _, m in BAD])
def test_argument_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as ours:
        DataLoader(NUMBERS, **settings)
    assert message in str(ours.value)
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError) as theirs:
        torch.utils.data.DataLoader(range(10), **settings)
    assert message in str(theirs.value)


def test_stream_argument_errors() -> None:
    for settings in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="DataLoader with IterableDataset: expected unspecified"):
            DataLoader(Count(1), **settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="multiprocessing_context option should be a valid context object"):
        DataLoader(NUMBERS, num_workers=1, multiprocessing_context=3)
    with pytest.raises(ValueError, match="num_samples should be a positive integer value, but got num_samples=0"):
        DataLoader([], shuffle=True)  # type: ignore[arg-type]


def test_settings_are_frozen() -> None:
    loader = DataLoader(NUMBERS)
    for name in ("batch_size", "sampler", "dataset", "drop_last", "batch_sampler", "persistent_workers"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is initialized"):
            setattr(loader, name, None)
    loader.collate_fn = sum


def test_pin_memory_is_accepted() -> None:
    with pytest.warns(UserWarning, match="'pin_memory' argument is set as true but no accelerator is found"):
        list(DataLoader(NUMBERS, pin_memory=True))


def test_main_process_is_no_worker() -> None:
    assert get_worker_info() is None


def positions(settings: dict[str, Any], stop: int) -> tuple[int, list[Any], list[Any]]:
    """Batches after `stop` in an uninterrupted epoch and in a resumed one, with random numbers drawn between."""
    import random

    class Noisy:
        def __len__(self) -> int:
            return 11

        def __getitem__(self, i: int) -> Any:
            return i + random.random(), float(np.random.rand()), rushlight.rand(1).item()

    class NoisyStream(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            bias = random.random()
            return ((bias + i, rushlight.rand(1).item()) for i in range(11))

    settings = dict(settings)
    data = NoisyStream() if settings.pop("stream", False) else Noisy()

    def loader() -> Any:
        generator = rushlight.Generator().manual_seed(4) if settings.get("generator") else None
        return DataLoader(data, 2, **{**settings, "generator": generator})  # type: ignore[arg-type]

    def plain(batch: Any) -> Any:
        return [part.tolist() for part in batch], rushlight.rand(1).item()

    rushlight.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    rest, saved, states = [], {}, None
    first = loader()
    for epoch in range(2):
        for k, batch in enumerate(first):
            got = plain(batch)
            if epoch == 1 and k >= stop:
                rest.append(got)
            if epoch == 1 and k == stop - 1:
                saved = first.state_dict()
                own = first.generator.get_state() if first.generator else None
                states = (rushlight.get_rng_state(), random.getstate(), np.random.get_state(), own)
    assert states is not None and first.state_dict() == {}
    rushlight.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
    again = loader()
    if states[3] is not None:
        again.generator.set_state(states[3])
    again.load_state_dict(saved)
    resumed = [plain(batch) for batch in again]
    assert len(list(again)) == stop + len(rest)
    return stop + len(rest), rest, resumed


SETTINGS: list[dict[str, Any]] = [
    {"shuffle": False},
    {"shuffle": True},
    {"shuffle": True, "generator": True},
    {"sampler": rushlight.utils.data.WeightedRandomSampler([1.0] * 11, 11)},
    {"stream": True},
    {"shuffle": True, "num_workers": 2},
    {"shuffle": True, "num_workers": 2, "generator": True, "persistent_workers": True},
    {"stream": True, "num_workers": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings))
@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_epoch_goes_on_to_the_same_bits(settings: dict[str, Any], stop: int) -> None:
    total, rest, resumed = positions(settings, stop)
    assert total == (12 if len(settings) == 2 and "stream" in settings else 6) and rest == resumed


def test_position_errors() -> None:
    saved = DataLoader(NUMBERS, num_workers=1)
    running = iter(saved)
    next(running)
    with pytest.raises(ValueError, match="the number of workers differs"):
        DataLoader(NUMBERS).load_state_dict(saved.state_dict())
    unordered = DataLoader(NUMBERS, num_workers=1, in_order=False)
    other = iter(unordered)
    next(other)
    with pytest.raises(NotImplementedError, match="in_order=False"):
        unordered.state_dict()
