"""`DataLoader`: batches from a dataset."""

from __future__ import annotations

import math
import multiprocessing
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

from rushlight.errors import explain
from rushlight.generator import Generator
from rushlight.utils.data import random_state
from rushlight.utils.data.collate import default_collate, default_convert
from rushlight.utils.data.dataset import Dataset, IterableDataset
from rushlight.utils.data.iterators import BaseIterator, ParallelIterator, SerialIterator
from rushlight.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler
from rushlight.utils.data.worker import get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)
FROZEN = frozenset(("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"))


class _Endless(Sampler[None]):
    """The sampler of streams: there are no indices, only places in a batch."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T_co]):
    """Batches of a dataset: sampling, fetching, collating, in this process or in workers.

    Parameters
    ----------
    dataset : Dataset or IterableDataset
    batch_size : int or None, default 1
        None: no batches, samples one by one.
    shuffle : bool, optional
    sampler : iterable of int, optional
        Instead of `shuffle`.
    batch_sampler : iterable of list of int, optional
        Instead of `batch_size`, `shuffle`, `sampler` and `drop_last`.
    num_workers : int, default 0
        Number of worker processes; 0 loads in this one.
    collate_fn : callable, optional
        List of samples to batch; default `default_collate`.
    pin_memory : bool, default False
    drop_last : bool, default False
        Leave out a last batch that is smaller.
    timeout : float, default 0
        Longest wait for a worker in seconds; 0 waits forever.
    worker_init_fn : callable, optional
        Called in each worker with its number.
    multiprocessing_context : str or context, optional
        "fork", "spawn" or "forkserver".
    generator : Generator, optional
        Draws the order and the workers' base seed; default: the default generator.
    prefetch_factor : int, optional
        Batches that each worker prepares ahead; default 2.
    persistent_workers : bool, default False
        Keep the workers between epochs.
    pin_memory_device : str, default ""
    in_order : bool, default True
        Yield batches in order; otherwise whichever is ready first.

    Notes
    -----
    PyTorch: `state_dict` and `load_state_dict` are additions of this project. A worker that dies is reported at once,
    with its exit code or signal, and one that exceeds `timeout` with its stack.

    Examples
    --------
    >>> data = torch.utils.data.TensorDataset(torch.arange(5))
    >>> for (x,) in torch.utils.data.DataLoader(data, batch_size=2):
    ...     print(x)
    tensor([0, 1])
    tensor([2, 3])
    tensor([4])
    """

    _is_built = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self._is_iterable = isinstance(dataset, IterableDataset)
        if self._is_iterable:
            _check_stream(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            sampler = self._default_sampler(bool(shuffle), generator)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler: Any = sampler
        self.batch_sampler: Any = batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.persistent_workers = persistent_workers
        self._IterableDataset_len_called: int | None = None
        self._iterator: ParallelIterator | None = None
        self._current: weakref.ref[BaseIterator] | None = None
        self._resume: dict[str, Any] | None = None
        self._is_built = True
        self.check_worker_number_rationality()

    def _default_sampler(self, shuffle: bool, generator: Generator | None) -> Sampler[Any]:
        if self._is_iterable:
            return _Endless()
        data: Any = self.dataset
        return RandomSampler(data, generator=generator) if shuffle else SequentialSampler(data)

    @property
    def multiprocessing_context(self) -> Any:
        """How worker processes are started."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if self.num_workers == 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
                    f"num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        f"multiprocessing_context option should specify a valid start method in {methods!r}, but got "
                        f"multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string specifying the start "
                    f"method, but got multiprocessing_context={context}"
                )
        self._context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_built and name in FROZEN:
            raise explain(
                ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized"),
                fix=f"DataLoader(..., {name}=...)",
            )
        super().__setattr__(name, value)

    def __iter__(self) -> Any:
        if self.persistent_workers and self._iterator is not None and self._resume is None:
            self._iterator.restart()
            return self._iterator
        iterator = self._resumed() if self._resume is not None else self._new_iterator(None)
        self._current = weakref.ref(iterator)
        if self.persistent_workers and isinstance(iterator, ParallelIterator):
            self._iterator = iterator
        return iterator

    def _new_iterator(self, resume: dict[str, Any] | None) -> BaseIterator:
        if self.num_workers == 0:
            return SerialIterator(self, resume)
        self.check_worker_number_rationality()
        return ParallelIterator(self, resume)

    def _resumed(self) -> BaseIterator:
        """Replay the draws of the saved epoch's start, then put every generator back to where it is now."""
        saved, self._resume = self._resume, None
        assert saved is not None
        now = random_state.capture()
        generator_now = random_state.capture_generator(self.generator)
        random_state.restore(random_state.from_portable(saved["start"]))
        random_state.restore_generator(self.generator, saved["start_of_generator"])
        try:
            return self._new_iterator(saved)
        finally:
            random_state.restore(now)
            random_state.restore_generator(self.generator, generator_now)

    def state_dict(self) -> dict[str, Any]:
        """The position in the running epoch, as plain data; empty between epochs.

        Together with the state of the generators (a checkpoint holds both) it lets the epoch go on where it was.
        """
        iterator = self._current() if self._current is not None else None
        if iterator is None or iterator.is_finished:
            return {}
        return iterator.position()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next pass go on from a saved position.

        Parameters
        ----------
        state_dict : dict
            Of a loader with the same dataset, sampler and number of workers.
        """
        if state_dict and state_dict["num_workers"] != self.num_workers:
            raise explain(
                ValueError("DataLoader.load_state_dict: the number of workers differs"),
                expected=state_dict["num_workers"],
                received=self.num_workers,
            )
        self._resume = dict(state_dict) or None

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        if not self._is_iterable:
            return len(self._index_sampler)
        length = self._IterableDataset_len_called = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn of more workers than there are processors."""
        if not self.num_workers:
            return
        knows_share = hasattr(os, "sched_getaffinity")
        processors = len(os.sched_getaffinity(0)) if knows_share else os.cpu_count()
        if processors is not None and self.num_workers <= processors:
            return
        uncertain = "" if knows_share else " (`cpuset` is not taken into account)"
        advice = (
            "DataLoader is not able to compute a suggested max number of worker in current system."
            if processors is None
            else f"Our suggested max number of worker in current system is {processors}{uncertain}, which is smaller "
            "than what this DataLoader is going to create."
        )
        warnings.warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. {advice} Please be aware that "
            "excessive worker creation might get DataLoader running slow or even freeze, lower the worker number to "
            "avoid potential slowness/freeze if necessary.",
            stacklevel=3,
        )


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
            "multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_stream(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    if shuffle not in (False, None):
        raise ValueError(
            f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
        )
    for name, value in (("sampler", sampler), ("batch_sampler", batch_sampler)):
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
            )
