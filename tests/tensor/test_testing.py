"""`testing.assert_close` passes and fails where PyTorch's does, and says what differs."""

import numpy as np
import pytest

import rushlight as torch
from rushlight.testing import assert_close

PAIRS = [
    (1.0, 1.0 + 1e-9, {}), (1.0, 1.1, {}), (1, 1, {}), (1, 2, {}), ([1.0, 2.0], [1.0, 2.0], {}), ({"a": 1.0}, {"a": 1.5}, {}),
    (float("nan"), float("nan"), {}), (float("nan"), float("nan"), {"equal_nan": True}), (1.0, 1.1, {"rtol": 0.2, "atol": 0.0}),
    ([1.0], [1.0, 2.0], {}),
]  # fmt: skip


@pytest.mark.parametrize(("actual", "expected", "rules"), PAIRS)
def test_same_verdict_as_pytorch(actual: object, expected: object, rules: dict[str, object]) -> None:
    theirs = pytest.importorskip("torch").testing.assert_close

    def verdict(check: object) -> bool:
        try:
            check(actual, expected, **rules)  # type: ignore[operator]
        except AssertionError:
            return False
        return True

    assert verdict(assert_close) == verdict(theirs)


def test_what_differs_is_named() -> None:
    x = torch.zeros(2, 3)
    y = x.clone()
    y[1, 2] = 1
    with pytest.raises(AssertionError, match=r"Mismatched elements: 1 / 6 \(16.7%\)[^$]*at index \(1, 2\)"):
        assert_close(y, x)
    with pytest.raises(AssertionError, match="'shape' do not match"):
        assert_close(x, x[0])
    with pytest.raises(AssertionError, match="'dtype' do not match"):
        assert_close(x, x.double())
    assert_close(x, x.double(), check_dtype=False)
    assert_close(x, np.zeros((2, 3), np.float32))
    with pytest.raises(AssertionError, match="own"):
        assert_close(1.0, 2.0, msg="own")
