"""Random graphs with views and in-place changes: the values, gradients and errors of PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import rushlight

SIZE = 4
Step = tuple[str, int, int]

FRESH = {
    "add": lambda t, a, b: a + b,
    "mul": lambda t, a, b: a * b,
    "sub": lambda t, a, b: a - b * 0.5,
    "tanh": lambda t, a, b: a.tanh(),
    "exp": lambda t, a, b: (a * 0.1).exp(),
    "scale": lambda t, a, b: a * 1.5,
    "mean": lambda t, a, b: a + b.mean(),
    "sum": lambda t, a, b: a * b.sum(0, keepdim=True),
    "where": lambda t, a, b: t.where(a > b, a, b * 2),
    "roll": lambda t, a, b: t.cat([a[1:], b[:1]]),
    "outer": lambda t, a, b: (a.reshape(-1, 1) * b.reshape(1, -1)).sum(0).reshape(a.shape),
    "clone": lambda t, a, b: a.clone(),
    "detach": lambda t, a, b: a.detach() * 0.5 + b,
}
VIEWS = {
    "t": lambda t, a: a.t(),
    "view": lambda t, a: a.view(a.shape),
    "twice": lambda t, a: a.unsqueeze(0).transpose(0, 1).squeeze(1),
    "flat": lambda t, a: a.reshape(-1).view(a.shape),
    "slice": lambda t, a: a[0:],
    "nogap": lambda t, a: a.unflatten(0, (2, 2)).flatten(0, 1),
}
CHANGES = {
    "add_": lambda t, a, b: a.add_(b),
    "mul_": lambda t, a, b: a.mul_(b),
    "scale_": lambda t, a, b: a.mul_(1.25),
    "tanh_": lambda t, a, b: a.tanh_(),
    "row_": lambda t, a, b: a[1].mul_(b[0]),
    "column_": lambda t, a, b: a[:, :2].add_(b[:, 1:3]),
    "set": lambda t, a, b: a.__setitem__(2, b[3]),
    "setnumber": lambda t, a, b: a.__setitem__((slice(None), 1), 0.5),
    "mask": lambda t, a, b: a.masked_fill_(b > 0.5, 0.25),
    "diag": lambda t, a, b: a.diagonal().mul_(2.0),
    "copy_": lambda t, a, b: a.copy_(b),
    "nograd_": lambda t, a, b: _without_recording(t, a),
    "exp_view": lambda t, a, b: a.t()[1:].mul_(0.5).exp_(),
}


def _without_recording(torch: Any, a: Any) -> None:
    with torch.no_grad():
        a.mul_(1.1)


def run(torch: Any, start: Any, steps: list[Step]) -> Any:
    """Values, gradients and the kinds of errors of one program."""
    leaves = [torch.tensor(v, requires_grad=i < 2) for i, v in enumerate(start.tolist())]
    made = [leaf * 1 for leaf in leaves] + [torch.zeros(SIZE, SIZE)]
    errors: list[str] = []
    for name, i, j in steps:
        a, b = made[i % len(made)], made[j % len(made)]
        try:
            if name in FRESH:
                made.append(FRESH[name](torch, a, b))
            elif name in VIEWS:
                made.append(VIEWS[name](torch, a))
            else:  # a write through memory that overlaps in part with what is read is undefined
                same = a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
                CHANGES[name](torch, a, b.clone() if same else b)
        except RuntimeError as error:
            errors.append(f"{name}: {str(error)[:40]}")
    weights = torch.arange(float(SIZE * SIZE)).reshape(SIZE, SIZE) * 0.1
    try:
        sum(((t * weights).sum() for t in made), torch.zeros(())).backward()
        errors.append("walked")
    except RuntimeError as error:
        errors.append(str(error)[:60])
    flags = [t.requires_grad for t in made]
    return (
        [t.detach().numpy() for t in made],
        [None if t.grad is None else t.grad.numpy() for t in leaves],
        flags,
        errors,
    )


step = st.tuples(st.sampled_from([*FRESH, *VIEWS, *CHANGES, *CHANGES]), st.integers(0, 40), st.integers(0, 40))


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(step, min_size=2, max_size=14), st.integers(0, 3))
def test_random_programs_agree_with_pytorch(steps: list[Step], seed: int) -> None:
    torch = pytest.importorskip("torch")
    start = np.random.default_rng(seed).uniform(-1, 1, (3, SIZE, SIZE)).astype(np.float32)
    ours, theirs = run(rushlight, start, steps), run(torch, start, steps)
    # PyTorch calls a view a leaf while its base has, and it does not yet know of, a history
    assume(ours[3] == theirs[3] or not any("a leaf Variable" in e for e in theirs[3]))
    assert ours[3] == theirs[3], "errors"
    assert ours[2] == theirs[2], "requires_grad"
    compared = ("value", "gradient") if ours[3][-1] == "walked" else ("value",)  # an error stops a walk anywhere
    for kind, mine, others in zip(compared, ours, theirs, strict=False):
        for k, (a, b) in enumerate(zip(mine, others, strict=True)):
            assert (a is None) == (b is None), (kind, k)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4, err_msg=f"{kind} {k}")
