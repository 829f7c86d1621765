"""Activation functions with PyTorch's arguments: `inplace`, `dim`, `training`."""

from __future__ import annotations

import warnings
from typing import Any

from rushlight.dtypes import KERNEL_NAMES
from rushlight.functions import arithmetic, inplace as in_place, softmax as S
from rushlight.functions.shape import reshape
from rushlight.generator import Generator, default_generator
from rushlight.nn.functional.arguments import require_tensor
from rushlight.ops import activation as ops
from rushlight.ops import dropout as draws
from rushlight.ops.elementwise import relu as relu_op
from rushlight.ops.kinds import Op
from rushlight.sampling import empty_exponential_like
from rushlight.tape import apply_inplace, record
from rushlight.tensor import Tensor
