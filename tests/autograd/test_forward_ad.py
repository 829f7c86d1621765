"""Dual numbers, side by side with PyTorch."""

from typing import Any

import pytest

import rushlight
from rushlight.autograd import forward_ad

PROGRAMS = {
    "sine": lambda m, a, b: a.sin() * b,
    "product": lambda m, a, b: (a[:, None] @ b[None]).tanh().sum(0),
    "one of two": lambda m, a, b: a.exp(),
    "in place": lambda m, a, b: (a * 1).mul_(b).add_(a),
    "no dependence": lambda m, a, b: m.ones(2),
    "the dual itself": lambda m, a, b: a,
    "softmax": lambda m, a, b: m.nn.functional.log_softmax(a * b, 0),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_tangents_are_pytorchs(name: str) -> None:
    oracle = pytest.importorskip("torch")
    found: list[Any] = []
    for m, fw in ((oracle, oracle.autograd.forward_ad), (rushlight, forward_ad)):
        with fw.dual_level():
            a = fw.make_dual(m.tensor([0.5, -1.0]), m.tensor([1.0, 2.0]))
            b = fw.make_dual(m.tensor([2.0, 3.0]), m.tensor([-1.0, 0.5]))
            primal, tangent = fw.unpack_dual(PROGRAMS[name](m, a, b))
            assert not primal.requires_grad and (tangent is None or not tangent.requires_grad)
            found.append((primal.tolist(), None if tangent is None else tangent.tolist()))
    assert found[1][0] == pytest.approx(found[0][0])
    assert (found[1][1] is None) == (found[0][1] is None)
    assert found[0][1] is None or found[1][1] == pytest.approx(found[0][1], rel=1e-4)


def test_a_derivative_of_the_derivative() -> None:
    w = rushlight.tensor([1.0, 2.0], requires_grad=True)
    with forward_ad.dual_level():
        x = forward_ad.make_dual(rushlight.tensor([3.0, 4.0]), rushlight.ones(2))
        tangent = forward_ad.unpack_dual((w * x) ** 2).tangent
    tangent.sum().backward()
    assert w.grad.tolist() == [4 * 1 * 3, 4 * 2 * 4]  # of 2 w^2 x by w
    with forward_ad.dual_level():
        p = forward_ad.make_dual(w, rushlight.ones(2))
        assert forward_ad.unpack_dual(p**3).tangent.tolist() == [3, 12]


def test_what_is_refused() -> None:
    x = rushlight.ones(2)
    with pytest.raises(RuntimeError, match="no level exists"):
        forward_ad.make_dual(x, x)
    with forward_ad.dual_level():
        with pytest.raises(RuntimeError, match=r"size \[2\] while the given forward gradient is of size \[3\]"):
            forward_ad.make_dual(x, rushlight.ones(3))
        with pytest.raises(ValueError, match="Expected primal to be floating"):
            forward_ad.make_dual(x.long(), x)
        with pytest.raises(RuntimeError, match="Nested"):
            forward_ad.enter_dual_level()
        dual = forward_ad.make_dual(x, x)
    assert forward_ad.unpack_dual(dual * 2).tangent is None
    with pytest.raises(RuntimeError, match="positive"):
        forward_ad.exit_dual_level()
