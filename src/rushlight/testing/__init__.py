"""Comparing tensors in tests: `rushlight.testing`."""

from __future__ import annotations

from rushlight.testing.comparison import assert_allclose as assert_allclose
from rushlight.testing.comparison import assert_close as assert_close
from rushlight.testing.comparison import make_tensor as make_tensor
