"""Passing once over a `DataLoader`: in the main process, or with worker processes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from rushlight.utils.data import random_state
from rushlight.utils.data.fetch import iterable_fetcher, map_fetcher
from rushlight.utils.data.sampler import draw_seed
from rushlight.utils.data.worker import Failure, Job
from rushlight.utils.data.workers import Pool

NO_ACCELERATOR = (
    "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used."
)


class BaseIterator:
    """One pass: counts what it yields, and knows where it started.

    Parameters
    ----------
    loader : DataLoader
    resume : dict, optional
        Position to go on from, out of `DataLoader.state_dict`.
    """

    def __init__(self, loader: Any, resume: dict[str, Any] | None = None) -> None:
        self.loader = loader
        if loader.pin_memory:
            warnings.warn(NO_ACCELERATOR, stacklevel=4)
        self.resume = resume
        self.num_yielded = 0
        self.is_finished = False
        self._note_start()
        self.is_restarted = False
        self.indices = iter(loader._index_sampler)
        if resume is not None and resume["is_restarted"]:
            # Persistent workers were seeded in an earlier epoch; this one began without that draw.
            self.base_seed: int = resume["base_seed"]
        else:
            self.base_seed = draw_seed(loader.generator)

    def _note_start(self) -> None:
        self.start = random_state.capture()
        self.start_of_generator = random_state.capture_generator(self.loader.generator)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self.loader._index_sampler)

    def __next__(self) -> Any:
        try:
            batch = self._next_batch()
        except StopIteration:
            self.is_finished = True
            raise
        self.num_yielded += 1
        self._check_length()
        return batch

    def _next_batch(self) -> Any:
        raise NotImplementedError

    def _check_length(self) -> None:
        reported = self.loader._IterableDataset_len_called
        if reported is None or not self.loader._is_iterable or self.num_yielded <= reported:
            return
        message = (
            f"Length of IterableDataset {self.loader.dataset} was reported to be {reported}(when accessing "
            f"len(dataloader)), but {self.num_yielded} samples have been fetched. "
        )
        if self.loader.num_workers > 0:
            message += (
                "For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
            )
        warnings.warn(message, stacklevel=3)

    def position(self) -> dict[str, Any]:
        """Where this pass is, as plain data."""
        return {
            "num_yielded": self.num_yielded,
            "num_workers": self.loader.num_workers,
            "base_seed": self.base_seed,
            "is_restarted": self.is_restarted,
            "start": random_state.portable(self.start),
            "start_of_generator": self.start_of_generator,
        }

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")


class SerialIterator(BaseIterator):
    """A pass in the main process."""

    def __init__(self, loader: Any, resume: dict[str, Any] | None = None) -> None:
        super().__init__(loader, resume)
        if loader._is_iterable:
            self.fetch = iterable_fetcher(loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last)
        else:
            self.fetch = map_fetcher(loader.dataset, loader._auto_collation, loader.collate_fn)
        if resume is not None:
            for _ in range(resume["num_yielded"]):
                index = next(self.indices)
                # A stream has no other way to get ahead than to be read.
                if loader._is_iterable:
                    self.fetch(index)
            self.num_yielded = resume["num_yielded"]

    def _next_batch(self) -> Any:
        return self.fetch(next(self.indices))


class ParallelIterator(BaseIterator):
    """A pass with worker processes, or several passes with persistent ones.

    Tasks are numbered and dealt out in turn. With `in_order` batches are yielded by number, whichever comes first,
    and a stream that has ended counts as ended when its turn comes: the order never depends on timing.
    """

    def __init__(self, loader: Any, resume: dict[str, Any] | None = None) -> None:
        super().__init__(loader, resume)
        self.count = loader.num_workers
        self.in_order = loader.in_order
        self.most = loader.prefetch_factor * self.count
        job = Job(
            worker_id=0,
            num_workers=self.count,
            base_seed=self.base_seed,
            dataset=loader.dataset,
            is_iterable=loader._is_iterable,
            is_batched=loader._auto_collation,
            collate_fn=loader.collate_fn,
            drop_last=loader.drop_last,
            init_fn=loader.worker_init_fn,
            in_flight=loader.prefetch_factor,
        )
        self.pool = Pool(job, loader.multiprocessing_context, loader.timeout)
        self.epoch = 0
        self.worker_random: list[random_state.State | None] = [None] * self.count
        self._begin()

    def restart(self) -> None:
        """Begin the next pass with the same workers."""
        self.epoch += 1
        self.is_restarted = True
        self.resume = None
        self.num_yielded = 0
        self.is_finished = False
        self._note_start()
        for i in range(self.count):
            self.pool.send(i, "epoch")
        self._begin()

    def _begin(self) -> None:
        # PyTorch makes this second iterator too; a sampler that draws when it is made draws twice.
        self.indices = iter(self.loader._index_sampler)
        self.sent = 0
        self.due = 0
        self.owner: dict[int, int] = {}
        self.answers: dict[int, tuple[str, Any, Any]] = {}
        self.load = [0] * self.count
        self.consumed = [0] * self.count
        self.has_ended = [False] * self.count
        self.turn = 0
        if self.resume is not None:
            self._catch_up(self.resume)
        while len(self.owner) < self.most and self._dispatch():
            pass

    def _catch_up(self, resume: dict[str, Any]) -> None:
        """Bring sampler and workers to where they were when `resume` was saved."""
        place = None
        for _ in range(resume["num_yielded"]):
            place = next(self.indices)
        self.num_yielded = resume["num_yielded"]
        self.consumed = list(resume["consumed"])
        self.has_ended = list(resume["has_ended"])
        self.turn = resume["turn"]
        for i, saved in enumerate(resume["worker_random"]):
            if self.loader._is_iterable:
                self.pool.send(i, "skip", self.consumed[i], place)
            if saved is not None:
                self.worker_random[i] = random_state.from_portable(saved)
                self.pool.send(i, "random", self.worker_random[i])

    def _dispatch(self) -> bool:
        """Give the next task to the worker whose turn it is; False when there is none to give."""
        candidates = [(self.turn + i) % self.count for i in range(self.count)]
        candidates = [i for i in candidates if not self.has_ended[i]]
        if not self.in_order and candidates:
            candidates = [i for i in candidates if self.load[i] < self.most // len(candidates)]
        if not candidates:
            return False
        index = next(self.indices, _NOTHING)
        if index is _NOTHING:
            return False
        worker = candidates[0]
        self.turn = (worker + 1) % self.count
        self.pool.send(worker, "fetch", self.epoch, self.sent, index)
        self.owner[self.sent] = worker
        self.load[worker] += 1
        self.sent += 1
        return True

    def _next_batch(self) -> Any:
        while True:
            number = self._next_number()
            if number is None:
                if not self.loader.persistent_workers:
                    self.pool.close()
                raise StopIteration
            if number not in self.answers:
                self._receive(self.owner[number])
                continue
            kind, value, changed = self.answers.pop(number)
            worker = self.owner.pop(number)
            self.load[worker] -= 1
            if changed is not None:
                self.worker_random[worker] = changed
            if kind == "end":
                self._end(worker)
                continue
            self.consumed[worker] += 1
            self.last_owner = worker
            self._dispatch()
            if isinstance(value, Failure):
                value.reraise()
            return value

    def _next_number(self) -> int | None:
        """The task whose batch is to be yielded next; None when all are done."""
        ready = self.answers if self.answers and not self.in_order else self.owner
        return next(iter(ready), None)

    def _end(self, worker: int) -> None:
        """A stream is over: its other tasks will never be answered."""
        self.has_ended[worker] = True
        for number in [n for n, owner in self.owner.items() if owner == worker]:
            del self.owner[number]
            self.answers.pop(number, None)
        self.load[worker] = 0
        while len(self.owner) < self.most and self._dispatch():
            pass

    def _receive(self, awaited: int) -> None:
        for _, epoch, number, kind, value, changed in self.pool.answers(awaited):
            # Answers to an epoch that was left early still come in.
            if epoch == self.epoch and number in self.owner:
                self.answers[number] = (kind, value, changed)

    def position(self) -> dict[str, Any]:
        """Where this pass is, as plain data."""
        if not self.in_order:
            raise NotImplementedError("the position of a DataLoader with in_order=False cannot be saved")
        due = self._next_number()
        return {
            **super().position(),
            "consumed": list(self.consumed),
            "has_ended": list(self.has_ended),
            "turn": self.turn if due is None else self.owner[due],
            "worker_random": [None if s is None else random_state.portable(s) for s in self.worker_random],
        }


_NOTHING = object()
