"""Every mixture of indices, for reading, assigning and arithmetic in place: drawn at random, and the known hard ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rushlight
from tests.tensor.side_by_side import agree, describe, differences, lines

X = "x = torch.arange(24.0).view(2, 3, 4); "
PROGRAMS = [X + p for p in lines("""
x[«0¦-1¦1, 2¦1, 2, 3¦:, 1¦..., 1¦:, :, ::2¦1:¦:-1¦5:¦-100:100¦:, 1:1¦None¦:, None¦..., None¦None, ..., None¦...¦()¦(0,)¦(0, 1)¦0, ...¦..., 0, :»]
x[«[0, 1]¦[[0, 1]]¦[[0, 1], [1, 0]]¦[0]¦[]¦torch.tensor([0, 1])¦torch.tensor([[0, 1], [1, 1]])¦torch.tensor(1)¦torch.tensor([-1])¦np.array([0, 1])¦np.int64(1)¦range(2)¦(0, 1), (1, 2)¦([0, 1], [1, 2])¦[True, False]¦True¦False¦torch.tensor(True)¦torch.tensor([True, False])¦torch.ones(2, 3, dtype=torch.bool)¦x > 10¦x[0] > 3»], 1
x[«:, [0, 2]¦:, :, [0, 2]¦[0, 1], :, [0, 2]¦[0, 1], [0, 2]¦0, [0, 2]¦[0, 1], 1¦..., [0, 3]¦None, [0, 1]¦[0, 1], None¦:, [0, 2], None¦:, [0, 2], 1:3¦[[0], [1]], [0, 2]¦[[0], [1]], :, [0, 2]¦0, :, [1, 2]¦[0, 1], ..., 0¦:, torch.tensor([True, False, True])¦torch.tensor([True, False]), :, [1]¦:, torch.ones(3, 4, dtype=torch.bool)¦torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([3, 0])¦torch.zeros(2, 2, dtype=torch.int64), 0¦[1, 1, 0, 0]¦torch.tensor([0, 1], dtype=torch.int32)¦torch.tensor([0, 1], dtype=torch.uint8)¦torch.tensor([], dtype=torch.int64)¦:, []»]
x[«5¦-3¦0, 5¦:, 3¦0, 0, 0, 0¦[5]¦[0, -3]¦[0, 1], [0, 1, 2]¦torch.tensor([True])¦torch.tensor([1.5])¦"a"¦1.5¦::-1¦::0¦torch.ones(2, 2, dtype=torch.bool)¦:, [4]¦0:1:-1¦None, None, 5¦{}¦[1.5]¦["a"]»]
x[torch.tensor(0):2], x[:torch.tensor(1)], x[np.int64(0):np.int64(1)]
torch.tensor(5)[«...¦()¦None¦True¦False¦0¦:¦torch.tensor(True)¦[0]¦None, ...»]
torch.zeros(0, 3)[«:¦...¦[]¦:, 0¦0¦[0]»]
x[«0¦0, 1¦:, 1¦..., 0¦1:¦:, ::2¦[0, 1]¦[0, 1], [1, 2]¦:, [0, 2]¦x > 10¦x[:, 0, 0] > 3¦None¦...¦()¦0, [0, 2], 1¦torch.tensor([1, 1])¦[]¦:0»] = 7; x
x[«0¦0, 1¦:, 1¦..., 0¦:, ::2¦[0, 1], [1, 2]¦x > 10»] += 100; x
x[«0¦:, 1¦..., 0¦[1, 0], [1, 2]¦x > 10»] *= torch.tensor(2.0); x
x[«0¦:, 0¦..., 0¦0, 0¦[0, 0]¦:, [0, 2]»] = «torch.ones(4)¦torch.tensor([[1.0], [2.0], [3.0]])¦torch.zeros(2, 1)¦torch.arange(4)¦[1, 2, 3, 4]¦np.arange(4.0)¦torch.tensor(9)¦True¦torch.ones(5)¦"a"¦None¦torch.ones(4, dtype=torch.float64)¦1j»; x
x[x > 20] = torch.tensor([1.0, 2.0, 3.0]); x
x[x > 20] = torch.tensor([1.0, 2.0]); x
x[[0, 0]] += 1; x
x[0, [1, 1, 2]] = torch.tensor([[1.0], [2.0], [3.0]]); x
x[:, 0][0] = 5; x
x[0][[0, 1]] = 5; x
y = torch.arange(4); y[1] = 2.7; y
y = torch.arange(4); y[1:3] = torch.tensor([1.5, 2.5]); y
y = torch.zeros(3, dtype=torch.bool); y[1] = 5; y
y = torch.zeros(3, dtype=torch.uint8); y[0] = -1; y
y = torch.arange(3); y[torch.tensor(1)] = 9; y
y = torch.zeros(3); y[torch.tensor([True, False, True])] = torch.tensor([1.0, 2.0]); y
y = torch.zeros(2, 2); y[0, 0] = torch.tensor([5.0]); y
y = torch.zeros(2, 2); y[0] = torch.tensor([[5.0, 6.0]]); y
y = torch.tensor(3.0); y[...] = 4; y[()] = y + 1; y
y = torch.zeros(5); y[1:4] = torch.arange(3.0); y[::2] = -1; y
y = torch.zeros(2, 3); y[:, 1] = torch.tensor([1, 2]); y[1, :] = 9; y
y = torch.zeros(3, 3); y[range(3), range(3)] = 1; y
y = torch.zeros(3, requires_grad=True); y[0] = 1
y = torch.zeros(3, requires_grad=True) * 1; y[0] = 1; y
y = torch.zeros(2, 3, requires_grad=True); y[«0¦:, 1¦[0, 1]¦None¦y > 1¦...¦0:1»]
x.gather(«2, torch.tensor([[[0, 1]], [[2, 3]]])¦0, torch.zeros(1, 3, 4, dtype=torch.int64)¦2, torch.tensor([[[5]]])¦3, torch.zeros(1, 1, 1, dtype=torch.int64)¦0, torch.zeros(1, 3, 4)¦0, torch.zeros(1, dtype=torch.int64)¦-1, torch.tensor([[[0]]], dtype=torch.int32)»)
x[0].scatter(«1, torch.tensor([[0], [1], [2]]), torch.tensor([[9.0], [8.0], [7.0]])¦1, torch.tensor([[0, 1]]), 5.0¦0, torch.tensor([[0]]), torch.ones(1, 1, dtype=torch.float64)¦1, torch.tensor([[7]]), 1.0¦1, torch.tensor([[0]]), 2, reduce="add"¦1, torch.tensor([[0]]), 2, reduce="multiply"¦1, torch.tensor([[0]]), value=3»)
x[0].scatter_add(1, torch.tensor([[0, 0, 1]]), torch.ones(1, 3)), torch.zeros(3).scatter_reduce(0, torch.tensor([0, 0, 2]), torch.tensor([1.0, 2, 3]), "«sum¦prod¦mean¦amax¦amin»", include_self=False)
torch.zeros(3).scatter_(0, torch.tensor([2]), 1), torch.zeros(2, 3).scatter_(1, torch.tensor([[1], [2]]), 1.0), torch.zeros(3).scatter_add_(0, torch.tensor([0, 0]), torch.ones(2)), torch.nn.functional.one_hot(torch.tensor([0, 2]))
x.index_select(«0, torch.tensor([1])¦1, torch.tensor([0, 0])¦3, torch.tensor([0])¦0, torch.tensor([[0]])¦0, torch.tensor([1.0])¦-1, torch.tensor(1)»)
x[0].index_add(0, torch.tensor([0, 0]), torch.ones(2, 4)), x[0].index_copy(0, torch.tensor([1]), torch.zeros(1, 4)), x[0].index_fill(1, torch.tensor([0, 2]), -1), x[0].index_add(1, torch.tensor([1]), torch.ones(3, 1), alpha=2)
x[0].index_add_(0, torch.tensor([5]), torch.ones(1, 4))
x[0].index_put((torch.tensor([0, 0]), torch.tensor([1, 1])), torch.tensor([5.0, 6.0]), accumulate=True), x[0].index_put_((torch.tensor([0]),), torch.tensor(3.0))
x.masked_fill(x > 10, «-1¦-inf¦torch.tensor(2.0)¦torch.tensor([1.0, 2])¦1.5»)
x.masked_fill(«torch.tensor([True, False, True, False])¦x», 0)
x.masked_fill_(x > 10, 0), torch.arange(3).masked_fill(torch.tensor([True, False, True]), 2.5)
x.masked_select(x > 20), x.masked_select(torch.tensor([True, False, False, True])), x[0].masked_scatter(x[0] > 5, torch.arange(12.0))
torch.masked_select(x, torch.tensor([1, 0]))
x.take(torch.tensor([0, 5, -1])), x.take(torch.tensor([30])) if False else 0, x.take_along_dim(torch.tensor([[[0]]]), 2), torch.zeros(4).put_(torch.tensor([1, 2]), torch.tensor([3.0, 4.0])), torch.take(x, torch.tensor([[1, 2]]))
x.nonzero().shape, x.nonzero()[:2], torch.nonzero(torch.tensor([0, 3, 0, 4])), torch.nonzero(torch.tensor([[0, 3], [1, 0]]), as_tuple=True), torch.tensor(3).nonzero(), torch.tensor(0).nonzero(), torch.argwhere(torch.tensor([[0, 3], [1, 0]])), torch.nonzero(torch.tensor([True, False, True])).squeeze(1)
torch.where(torch.tensor([0, 1, 1])), torch.tensor([[1, 0], [0, 2]]).nonzero(as_tuple=True)
torch.index_select(x, 1, torch.tensor([2])).shape, torch.gather(x, 1, torch.zeros(2, 1, 4, dtype=torch.int64)).shape, torch.scatter(torch.zeros(3), 0, torch.tensor([1]), 5.0), torch.scatter_add(torch.zeros(3), 0, torch.tensor([1, 1]), torch.ones(2)), torch.index_add(torch.zeros(3), 0, torch.tensor([1]), torch.ones(1)), torch.masked_fill(torch.zeros(2), torch.tensor([True, False]), 3)
list(torch.arange(3)), [int(v) for v in torch.arange(3)], [r.shape for r in x], len(x), 5.0 in x, 100 in x, max(torch.tensor([1, 5, 2])), sorted(torch.tensor([3, 1, 2])), sum(torch.tensor([1, 2]))
a, b = torch.tensor([1, 2]); (a, b)
first, *rest = torch.arange(4); (first, rest)
x.unbind(0)[1][0], list(reversed(torch.arange(3))), list(zip(torch.arange(2), torch.arange(2))), dict(enumerate(torch.arange(2)))
iter(torch.tensor(1))
len(torch.tensor(1))
[1, 2, 3][torch.tensor(1)], list(range(5))[torch.tensor(1):torch.tensor(3)], "abc"[torch.tensor(2)], [0] * torch.tensor(3), range(torch.tensor(3))
[1, 2][torch.tensor(1.0)]
[1, 2][torch.tensor([0, 1])]
"x" in torch.arange(3)
""")]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_same_as_pytorch(program: str) -> None:
    agree(program)


integers = st.integers(-3, 3)
bounds = st.one_of(st.none(), st.integers(-6, 6))


def arrays(draw: Any, size: int) -> Any:
    shape = tuple(draw(st.lists(st.integers(1, 2), max_size=2)))
    values = draw(
        st.lists(st.integers(-size, max(size - 1, 0)), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    )
    return np.asarray(values, np.int64).reshape(shape)


@st.composite
def indices(draw: Any) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A shape and an index into it, as plain Python and NumPy values; some indices are out of range."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    key: list[Any] = []
    dim = 0
    while dim < len(shape) and draw(st.integers(0, 5)):
        n = shape[dim]
        kind = draw(st.sampled_from(["int", "slice", "slice", "none", "array", "list", "mask", "ellipsis"]))
        if kind == "none" or kind == "ellipsis" and Ellipsis in [k for k in key if k is Ellipsis]:
            key.append(None)
            continue
        if kind == "ellipsis":
            key.append(Ellipsis)
            continue
        dim += 1
        if kind == "int":
            key.append(draw(integers))
        elif kind == "slice":
            key.append(slice(draw(bounds), draw(bounds), draw(st.sampled_from([None, 1, 2, 3]))))
        elif kind == "array":
            key.append(arrays(draw, n))
        elif kind == "list":
            key.append(draw(st.lists(st.integers(-n, max(n - 1, 0)), min_size=1, max_size=3)))
        else:
            key.append(np.asarray(draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool))
    return shape, tuple(key)


def _converted(key: tuple[Any, ...], torch: Any) -> Any:
    return tuple(torch.from_numpy(k) if isinstance(k, np.ndarray) else k for k in key)


def _outcome(torch: Any, action: Any) -> Any:
    try:
        value = action(torch)
    except Exception as error:
        return type(error).__mro__[0].__name__ if not isinstance(error, IndexError) else "IndexError"
    return {k: v for k, v in describe(value, torch).items() if k in ("dtype", "shape", "values")}


@given(drawn=indices(), how=st.sampled_from(["read", "fill", "assign", "add"]))
@settings(max_examples=600, deadline=None, derandomize=True)
def test_drawn_indices(drawn: Any, how: str) -> None:
    torch = pytest.importorskip("torch")
    shape, key = drawn

    def action(lib: Any) -> Any:
        x = lib.arange(float(np.prod(shape))).reshape(shape)
        index = _converted(key, lib)
        if how == "read":
            return x[index]
        if how == "fill":
            x[index] = -1
        elif how == "assign":
            x[index] = (
                lib.arange(float(x[index].numel())).reshape(x[index].shape) if x[index].numel() < 2 else x[index] * 2
            )
        else:
            x[index] += 10
        return x

    theirs, ours = _outcome(torch, action), _outcome(rushlight, action)
    assert not differences(ours, theirs), f"{how} of shape {shape} at {key}"


@given(drawn=indices())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_gradient_of_drawn_indices(drawn: Any) -> None:
    torch = pytest.importorskip("torch")
    shape, key = drawn

    def action(lib: Any) -> Any:
        x = lib.arange(float(np.prod(shape))).reshape(shape).requires_grad_()
        y = x[_converted(key, lib)]
        (y * lib.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
        return x.grad

    theirs, ours = _outcome(torch, action), _outcome(rushlight, action)
    assert not differences(ours, theirs), f"shape {shape} at {key}"


def test_recorded_results_without_pytorch() -> None:
    x = rushlight.arange(6).view(2, 3)
    assert x[:, [0, 2]].tolist() == [[0, 2], [3, 5]]
    assert x[[0, 1], [2, 0]].tolist() == [2, 3]
    assert x[None, ..., 1:].shape == (1, 2, 2)
    assert x[x > 2].tolist() == [3, 4, 5]
    x[0, 1:] += 10
    x[x == 0] = -1
    assert x.tolist() == [[-1, 11, 12], [3, 4, 5]]
    with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 2"):
        x[5]
    with pytest.raises(IndexError, match="too many indices for tensor of dimension 2"):
        x[0, 0, 0]
