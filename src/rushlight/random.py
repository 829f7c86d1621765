"""The default generator and its state: `rushlight.random`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rushlight.device import device
from rushlight.generator import Generator as Generator
from rushlight.generator import default_generator as default_generator
from rushlight.modes import ACTIVE, state
from rushlight.tape import Variable, wrap

__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state", "thread_safe_generator"]

Generator.wrap_state = staticmethod(wrap)
Generator.unwrap_state = staticmethod(lambda state: state._data if isinstance(state, Variable) else None)


def manual_seed(seed: Any) -> Generator:
    """Start the default generator's stream of `seed`, and return that generator.

    Parameters
    ----------
    seed : int
        From -2**63 to 2**64 - 1; a negative seed means `2**64 + seed`.

    Examples
    --------
    >>> torch.manual_seed(42).initial_seed()
    42
    >>> torch.rand(1)
    tensor([0.8823])
    """
    number = operator.index(int(seed))
    if ACTIVE and state.trace is not None:
        state.trace.effect("seed_generator", {"seed": number, "generator": default_generator})
        return default_generator
    return default_generator.manual_seed(number)


def seed() -> int:
    """Start the default generator from a seed of the operating system, and return that seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator's stream."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default generator as 5056 bytes, in PyTorch's layout.

    Examples
    --------
    >>> state = torch.get_rng_state()
    >>> first = torch.rand(3)
    >>> torch.set_rng_state(state)
    >>> torch.equal(torch.rand(3), first)
    True
    """
    if ACTIVE and state.trace is not None:
        return state.trace.effect("save_generator", {"generator": default_generator})
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Continue from a state that `get_rng_state` returned, here or in PyTorch."""
    if ACTIVE and state.trace is not None:
        state.trace.effect("load_generator", {"generator": default_generator}, new_state)
    else:
        default_generator.set_state(new_state)


@contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """Give the default generator its state back after the block.

    Parameters
    ----------
    devices : iterable, optional
        GPUs whose generators are to be restored too; there are none in this build.
    enabled : bool
        False: change nothing.

    Examples
    --------
    >>> before = torch.initial_seed()
    >>> with torch.random.fork_rng():
    ...     _ = torch.manual_seed(1)
    >>> torch.initial_seed() == before
    True
    """
    if not enabled or device_type == "meta":
        yield
        return
    for place in devices or ():
        wanted = place if isinstance(place, device) else device(place)
        if wanted.type != "cpu":
            raise RuntimeError(f"{_caller}(): {_devices_kw}={wanted} is not there; this build has cpu only")
    before = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(before)


def thread_safe_generator() -> Generator | None:
    """The generator of a loader's worker thread; None elsewhere: workers are processes here."""
    return None
