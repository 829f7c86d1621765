"""`Generator`: an MT19937 whose words, seeding and saved state are PyTorch's."""

from __future__ import annotations

import operator
import secrets
import struct
from collections.abc import Callable
from threading import RLock
from typing import Any

import numpy as np

from rushlight.device import CPU, check_available, device
from rushlight.errors import explain

DEFAULT_SEED = 67280421310721
STATE_BYTES = 5056
WORDS = 624
_HEADER = struct.Struct("<QiiQ")
_NORMAL = struct.Struct("<dddi4x")
_FLOAT_NORMAL = struct.Struct("<f?3x")
_KEY_END = _HEADER.size + 8 * WORDS
_NORMAL_END = _KEY_END + _NORMAL.size


class Generator:
    """A stream of random numbers, equal to PyTorch's CPU generator of the same seed.

    Parameters
    ----------
    device : device or str, optional
        Only the CPU has a generator of this kind.

    Attributes
    ----------
    device : device
    raw : callable
        `raw(n)` draws `n` words of 32 bits as a uint64 array.
    lock : RLock
        Held by every draw, so that draws of several threads do not interleave.
    next_normal : float or None
        Second value of the last Box-Muller pair, not handed out yet.

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> torch.rand(2, generator=g)
    tensor([0.4963, 0.7682])
    """

    __slots__ = (
        "__weakref__", "_address", "_bits", "_float_normal", "_legacy", "_seed", "device", "lock", "next_normal", "raw",
    )  # fmt: skip

    device: device
    raw: Callable[[int], Any]
    next_normal: float | None
    _seed: int
    _float_normal: tuple[Any, ...]

    # `rushlight.random` replaces these two: states are uint8 tensors there, plain arrays here.
    wrap_state: Callable[[Any], Any] = staticmethod(lambda array: array)
    unwrap_state: Callable[[Any], Any] = staticmethod(lambda state: state)

    def __init__(self, device: Any = None) -> None:
        self.device = _checked_device(device)
        self._bits: Any = np.random.MT19937(0)
        self._legacy = np.random.RandomState(self._bits)
        self.raw = self._bits.random_raw
        self._address = 0
        self.lock = RLock()
        self._reseed(DEFAULT_SEED)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of `seed` and return this generator; a negative seed means `2**64 + seed`."""
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise explain(
                RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}"),
                expected="an integer from -2**63 to 2**64 - 1",
                received=repr(seed),
            )
        with self.lock:
            self._reseed(wrapped_seed(seed))
        return self

    def seed(self) -> int:
        """Start the stream of a seed taken from the operating system, and return that seed."""
        seed = secrets.randbits(64)
        with self.lock:
            self._reseed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of the current stream."""
        return self._seed

    def get_state(self) -> Any:
        """All that determines the numbers to come, as 5056 bytes in PyTorch's layout."""
        return self.wrap_state(np.frombuffer(bytearray(self.state_bytes()), np.uint8))

    def set_state(self, new_state: Any) -> Generator:
        """Continue from a state that `get_state` returned, here or in PyTorch."""
        array = self.unwrap_state(new_state)
        if not isinstance(array, np.ndarray):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        if array.dtype != np.uint8:
            raise explain(
                TypeError("RNG state must be a torch.ByteTensor"), expected="uint8", received=array.dtype.name
            )
        self.load_bytes(np.ascontiguousarray(array).tobytes())
        return self

    def clone_state(self) -> Generator:
        """A new generator at the same point of the same stream."""
        other = Generator(self.device)
        other.load_bytes(self.state_bytes())
        return other

    def get_offset(self) -> int:
        """Not available on the CPU, as in PyTorch."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """Not available on the CPU, as in PyTorch."""
        raise RuntimeError("CPU Generator does not use offset")

    def graphsafe_get_state(self) -> Generator:
        """Not available on the CPU, as in PyTorch."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Any) -> Generator:
        """Not available on the CPU, as in PyTorch."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def state_bytes(self) -> bytes:
        """The state as bytes: seed, words left, flag, position, 624 words as uint64, cached normals."""
        with self.lock:
            inner = self._bits.state["state"]
            key = inner["key"].astype("<u8")
            position = int(inner["pos"])
            # Before the first draw PyTorch writes position 0; NumPy has no such distinction, the words tell.
            shown = 0 if position == WORDS and _just_seeded(key) else position
            head = _HEADER.pack(self._seed, WORDS + 1 - position, 1, shown)
            cached = self.next_normal
            normal = _NORMAL.pack(0.0, 0.0 if cached is None else cached, 0.0, cached is not None)
            words: bytes = key.tobytes()
            return head + words + normal + _FLOAT_NORMAL.pack(*self._float_normal)

    def load_bytes(self, state: bytes) -> None:
        """Inverse of `state_bytes`."""
        if len(state) != STATE_BYTES:
            raise explain(
                RuntimeError(
                    f"Expected a CPUGeneratorImplState of size {STATE_BYTES} but found the input RNG state size "
                    f"to be {len(state)}"
                ),
                fix="pass what get_rng_state() or Generator.get_state() returned",
            )
        seed, left, seeded, position = _HEADER.unpack_from(state)
        if not (seeded == 1 and 0 < left <= WORDS and position <= WORDS):
            raise RuntimeError("Invalid mt19937 state")
        key = np.frombuffer(state, "<u8", WORDS, _HEADER.size).astype(np.uint32)
        _, normal, _, has_normal = _NORMAL.unpack_from(state, _KEY_END)
        with self.lock:
            pos = WORDS if left == 1 else int(position)
            self._bits.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": pos}}
            self._seed = seed
            self.next_normal = normal if has_normal else None
            self._float_normal = _FLOAT_NORMAL.unpack_from(state, _NORMAL_END)

    @property
    def address(self) -> int:
        """Where NumPy keeps the 624 words (uint32) and after them the position (int32)."""
        found = self._address
        if not found:
            found = self._address = self._bits.ctypes.state_address
        return found

    def rewindable(self) -> tuple[Any, float | None]:
        """The point of the stream, for `rewind`: cheaper than bytes."""
        return self._bits.state, self.next_normal

    def rewind(self, point: tuple[Any, float | None], words: int) -> None:
        """Go back to `point` and then forward by `words` words; the cached normal stays as it is now."""
        self._bits.state = point[0]
        if words:
            self.raw(words)

    def _reseed(self, seed: int) -> None:
        self._seed = seed
        self._legacy.seed(seed & 0xFFFFFFFF)
        self.next_normal = None
        self._float_normal = (0.0, False)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Generator, (self.device,), self.state_bytes())

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):  # as PyTorch pickles it: seed, offset, state
            self.set_state(state[-1])
        else:
            self.load_bytes(state)

    def __repr__(self) -> str:
        return f"<torch._C.Generator object at {id(self):#x}>"


def wrapped_seed(seed: Any) -> int:
    """`seed` as the unsigned 64-bit number that PyTorch makes of it."""
    number = operator.index(seed)
    if not -(2**63) <= number < 2**64:
        raise explain(
            ValueError("Overflow when unpacking long long"),
            expected="a seed from -2**63 to 2**64 - 1",
            received=number,
        )
    return number & 0xFFFF_FFFF_FFFF_FFFF


def _checked_device(place: Any) -> device:
    if place is None:
        return CPU
    if not isinstance(place, device | str):
        raise TypeError(f"Generator(): argument 'device' (position 1) must be torch.device, not {type(place).__name__}")
    return check_available(place)


def _just_seeded(key: Any) -> bool:
    """Whether the words are those that seeding writes (each follows from the one before)."""
    first, second, third = (int(word) for word in key[:3])
    return second == _seeding_step(first, 1) and third == _seeding_step(second, 2)


def _seeding_step(word: int, index: int) -> int:
    return (1812433253 * (word ^ (word >> 30)) + index) & 0xFFFFFFFF
