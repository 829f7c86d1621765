"""Batches of sequences of different lengths: padding and packing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

from rushlight.creation import arange, as_tensor, empty_like, full
from rushlight.dtypes import float16, float32, float64, int8, int16, int32, int64, uint8
from rushlight.errors import ShapeError, explain
from rushlight.ops.packing import pack_rows, pad_rows
from rushlight.tensor import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _PackedFields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_PackedFields):
    """Sequences of different lengths without padding, as recurrent layers take them.

    Made by `pack_padded_sequence` or `pack_sequence`, not by hand.

    Attributes
    ----------
    data : Tensor
        All steps, the first step of every sequence first.
    batch_sizes : Tensor, int64
        How many sequences have a t-th step.
    sorted_indices, unsorted_indices : Tensor or None
        The permutation that sorted the sequences by falling length, and its inverse.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(f"batch_sizes should always be on CPU. Instead got device {batch_sizes.device}")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        # The constructor of a named tuple goes around __new__ of the subclass.
        return tuple.__new__(cls, (data, batch_sizes, sorted_indices, unsorted_indices))

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        sorted_indices, unsorted_indices = (
            None if indices is None else indices.to(self.data.device)
            for indices in (self.sorted_indices, self.unsorted_indices)
        )
        data = move(self.data)
        return self if data is self.data else type(self)(data, self.batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert the data, as `Tensor.to`; self if nothing changes."""
        return self._moved(lambda tensor: tensor.to(*args, **kwargs))

    def cuda(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a GPU."""
        return self._moved(lambda tensor: tensor.cuda(*args, **kwargs))

    def cpu(self, *args: Any, **kwargs: Any) -> Self:
        """Move to the CPU."""
        return self._moved(lambda tensor: tensor.cpu())

    def pin_memory(self) -> Self:
        """Copy the data to page-locked memory."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def double(self) -> Self:
        """Convert the data to float64."""
        return self.to(float64)

    def float(self) -> Self:
        """Convert the data to float32."""
        return self.to(float32)

    def half(self) -> Self:
        """Convert the data to float16."""
        return self.to(float16)

    def long(self) -> Self:
        """Convert the data to int64."""
        return self.to(int64)

    def int(self) -> Self:
        """Convert the data to int32."""
        return self.to(int32)

    def short(self) -> Self:
        """Convert the data to int16."""
        return self.to(int16)

    def char(self) -> Self:
        """Convert the data to int8."""
        return self.to(int8)

    def byte(self) -> Self:
        """Convert the data to uint8."""
        return self.to(uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.device.type == "cuda"

    def is_pinned(self) -> bool:
        """Whether the data is in page-locked memory."""
        return bool(self.data.is_pinned())


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation`; `None` gives `None`."""
    if permutation is None:
        return None
    inverse: Tensor = empty_like(permutation)
    inverse[permutation] = arange(permutation.numel(), dtype=permutation.dtype, device=permutation.device)
    return inverse


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Drop the padding of a batch of sequences.

    Parameters
    ----------
    input : Tensor[T, B, *] (or [B, T, *] with `batch_first`)
        Padded sequences.
    lengths : Tensor[B] or list of int
        The length of each, at least 1.
    batch_first : bool
        Whether dimension 0 of `input` is the batch.
    enforce_sorted : bool
        Whether `lengths` must fall; otherwise the sequences are sorted, and `pad_packed_sequence` undoes it.

    Raises
    ------
    RuntimeError
        If the lengths do not fit `input` or are not sorted.

    Examples
    --------
    >>> from rushlight.nn.utils.rnn import pack_padded_sequence
    >>> packed = pack_padded_sequence(torch.tensor([[1, 2], [3, 0]]), [2, 1], batch_first=True)
    >>> packed.data, packed.batch_sizes
    (tensor([1, 3, 2]), tensor([2, 1]))
    """
    sizes = as_tensor(lengths, dtype=int64, device="cpu")
    sorted_indices = None
    if not enforce_sorted:
        sizes, sorted_indices = sizes.sort(descending=True)
        input = input.index_select(0 if batch_first else 1, sorted_indices.to(input.device))
    if input.numel() == 0:
        raise ShapeError("Cannot pack empty tensors.")
    if batch_first:
        input = input.transpose(0, 1)
    if input.dim() < 2:
        raise IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)")
    steps = sizes.tolist()
    _check_lengths(steps, input)
    batch_sizes = tuple(sum(1 for length in steps if length > t) for t in range(max(steps)))
    return PackedSequence(pack_rows(input, batch_sizes), as_tensor(batch_sizes, dtype=int64), sorted_indices, None)


def _check_lengths(lengths: list[int], padded: Tensor) -> None:
    if len(lengths) != padded.shape[1]:
        raise explain(
            ShapeError(
                f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} "
                f"(batch_size={padded.shape[1]})"
            ),
            fix="batch_first=True, if dimension 0 is the batch" if len(lengths) == padded.shape[0] else None,
        )
    if any(a < b for a, b in itertools.pairwise(lengths)):
        raise explain(
            RuntimeError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
                "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if "
                "you do not need ONNX exportability."
            ),
            received=lengths,
            fix="enforce_sorted=False",
        )
    if min(lengths) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if max(lengths) > padded.shape[0]:
        raise explain(
            ShapeError(f"a sequence cannot be longer than the padded batch: got length {max(lengths)}"),
            expected=f"lengths up to {padded.shape[0]}",
            received=lengths,
        )


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_padded_sequence`: the padded batch and the lengths.

    Parameters
    ----------
    total_length : int, optional
        Pad to this length instead of that of the longest sequence.
    """
    batch_sizes = tuple(sequence.batch_sizes.tolist())
    longest = len(batch_sizes)
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {longest}"
        )
    padded = pad_rows(sequence.data, batch_sizes, total_length or longest, batch_sizes[0], padding_value)
    if batch_first:
        padded = padded.transpose(0, 1)
    lengths = as_tensor([sum(1 for size in batch_sizes if size > b) for b in range(batch_sizes[0])], dtype=int64)
    order = sequence.unsorted_indices
    if order is not None:
        return padded.index_select(0 if batch_first else 1, order), lengths[order.cpu()]
    return padded, lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stack sequences of different lengths, filled up with `padding_value`.

    Parameters
    ----------
    sequences : list of Tensor[L_i, *]
        The sizes after the first must agree.
    padding_side : {"right", "left"}
        Where the filling goes.

    Returns
    -------
    Tensor[T, B, *], or [B, T, *] with `batch_first`

    Examples
    --------
    >>> from rushlight.nn.utils.rnn import pad_sequence
    >>> pad_sequence([torch.tensor([1, 2]), torch.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    members = list(sequences.unbind(0) if isinstance(sequences, Tensor) else sequences)
    if not members:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    first = members[0]
    longest = max(member.shape[0] for member in members)
    shape = (len(members), longest) if batch_first else (longest, len(members))
    out: Tensor = full((*shape, *first.shape[1:]), padding_value, dtype=first.dtype, device=first.device)
    for position, member in enumerate(members):
        if member.shape[1:] != first.shape[1:]:
            raise _unequal_sizes(first, member, position)
        length = member.shape[0]
        steps = slice(longest - length, longest) if padding_side == "left" else slice(0, length)
        out[(position, steps) if batch_first else (steps, position)] = member
    return out


def _unequal_sizes(first: Tensor, member: Tensor, position: int) -> ShapeError:
    pairs = enumerate(zip(first.shape, member.shape, strict=False))
    a, b, place = next(((a, b, p) for p, (a, b) in pairs if p and a != b), (first.shape[-1], member.shape[-1], 1))
    return explain(
        ShapeError(
            f"The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension {place}"
        ),
        expected=f"sequences [*, {', '.join(map(str, first.shape[1:]))}]",
        received=f"sequence {position} of shape {list(member.shape)}",
    )


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, each cut to its length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    counts = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    steps = arange(padded_sequences.shape[1])
    return [sequence[steps < length] for sequence, length in zip(padded_sequences, counts, strict=False)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences of different lengths; see `pack_padded_sequence`."""
    lengths = as_tensor([sequence.size(0) for sequence in sequences], dtype=int64)
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of `pack_sequence`: a list of sequences."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
