"""A convolution's gradient for its weight: the choice between two ways to sum it up, and their kernels.

Each range of images adds to a sum of its own; a second kernel adds those up in their order.
"""

from __future__ import annotations

import math
from typing import Any

from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels import conv_weight_depthwise as depthwise
from rushlight.compiler.kernels import conv_weight_dot as dots
from rushlight.compiler.kernels import conv_weight_outer as outer
from rushlight.compiler.kernels import conv_weight_outer_code as outer_code
from rushlight.compiler.kernels import conv_weight_sums as outer_sums
from rushlight.compiler.kernels.conv_shape import Part, forward_part
from rushlight.compiler.target import host
from rushlight.spec import Spec


def prefers_outer(part: Part, channels: int, outputs: int, lanes: int) -> bool:
    """Whether outer products are cheaper than dot products; a row of a tile must not be too long for them."""
    if part.plane > outer.LONGEST_PLANE:
        return False
    registers = host().registers
    return outer.cycles(part, channels, outputs, lanes, registers) < dots.cycles(
        part, channels, outputs, lanes, registers
    )


def weight_kernels(
    x: Access, g: Access, out: Value, geometry: Geometry, groups: int = 1, *, calls: tuple[Call, ...] = ()
) -> list[Kernel]:
    """The kernels of a convolution's weight gradient.

    Parameters
    ----------
    x : [N, C, *size], what was convolved
    g : [N, O, *output size], the gradient of the result
    out : [O, C/groups, *kernel], row-major
    calls : the graph's calls that they carry out
    """
    steps = (geometry.stride, geometry.padding, geometry.dilation)
    part = forward_part(geometry.input_size, geometry.kernel_size, geometry.output_size, *steps)
    channels, outputs = x.shape[1] // groups, g.shape[1] // groups
    w: Any
    build: Any
    build_sums: Any
    if depthwise.suits(x, g, part, groups):
        w = depthwise.describe(x, g, part)
        build, build_sums, sum_chunks = depthwise.build, depthwise.build_sums, 1
    elif prefers_outer(part, channels, outputs, host().lanes(x.dtype)):
        w = outer.describe(x, g, part, groups)
        build, build_sums, sum_chunks = outer_code.build, outer_sums.build, outer_sums.chunks(w)
    else:
        w = dots.describe(x, g, part, groups)
        build, build_sums, sum_chunks = dots.build, dots.build_sums, dots.sum_chunks(w)
    sums = Value(Spec((w.ranges * w.range_bytes // w.size,), x.dtype), name="weight sums")
    name = f"convolution weight gradient {'x'.join(map(str, x.shape))} * {'x'.join(map(str, g.shape))}"
    main = Kernel(
        name=name,
        key=f"conv weight {w}",
        build=lambda module, name: build(module, name, w),
        reads=(x.root, g.root),
        writes=(sums,),
        calls=calls,
        chunks=w.ranges * w.pieces,
        workspace=w.workspace * w.ranges * w.pieces,
        flops=2 * math.prod(x.shape[:2]) * part.positions * outputs * part.taps,
    )
    add = Kernel(
        name=name + ", added up",
        key=f"conv weight sums {w}",
        build=lambda module, name: build_sums(module, name, w),
        reads=(sums,),
        writes=(out,),
        chunks=sum_chunks,
    )
    return [main, add]
