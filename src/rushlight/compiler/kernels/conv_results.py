"""The arguments of a convolution's function, and what becomes of its results."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.kernels.chunked import address
from rushlight.compiler.kernels.conv_expand import prefetch
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.microkernel import Code, Index, Mask
from rushlight.compiler.lanes_core import Lanes

IR = Any


class Arguments:
    """Addresses that a function is handed: input, weight and bias, an epilogue's operands, outputs, workspace."""

    def __init__(
        self, code: Code, slots: IR, offsets: tuple[int, ...], has_bias: bool, epilogue: Epilogue | None
    ) -> None:
        inputs = epilogue.inputs if epilogue else ()
        own = 3 if has_bias else 2
        count = own + len(inputs) + (len(epilogue.outputs) if epilogue else 1)
        addresses = [address(code, slots, i) for i in range(count + 1)]
        self.x, self.w, *bias = (code.at(p, o) for p, o in zip(addresses[:own], offsets, strict=False))
        self.bias = bias[0] if bias else None
        self.operands = [code.at(p, a.offset) for p, a in zip(addresses[own:], inputs, strict=False)]
        self.outputs = addresses[own + len(inputs) : count]
        self.space = addresses[count]


class Results:
    """Where results go: to memory, or through an epilogue.

    Parameters
    ----------
    code : where to write
    arguments, epilogue : of the function
    channels, plane : sizes of the result, of all groups
    """

    def __init__(self, code: Code, arguments: Arguments, epilogue: Epilogue | None, channels: int, plane: int) -> None:
        self.code, self.epilogue = code, epilogue
        self.operands, self.outputs = arguments.operands, arguments.outputs
        self.channels, self.plane = channels, plane

    def put(self, v: IR, image: Index, channel: Index, position: Index, mask: Mask) -> None:
        """Write results that are neighbours in memory, or what the epilogue makes of them."""
        code = self.code
        place = code.add(code.mul(image, self.channels), channel)
        place = code.add(code.mul(place, self.plane), position)
        if self.epilogue is None:
            code.store(v, code.at(self.outputs[0], code.mul(place, code.size)), mask)
            return
        lanes = Lanes(code.emitter, v, code.dtype, code.lanes)
        where = code.lanes_of(mask)
        operands = [
            self.operand(a, p, image, channel, position, where)
            for a, p in zip(self.epilogue.inputs, self.operands, strict=True)
        ]
        results = self.epilogue.emit(code.emitter, lanes, operands)
        for out, pointer, value in zip(results, self.outputs, self.epilogue.outputs, strict=True):
            code.emitter.store(out, code.at(pointer, code.mul(place, value.dtype.itemsize)), where)

    def ahead(self, image: Index, channel: Index, position: Index) -> None:
        """Ask for the memory that `put` will touch there."""
        code = self.code
        place = code.add(code.mul(code.add(code.mul(image, self.channels), channel), self.plane), position)
        outputs = [code.size] if self.epilogue is None else [v.dtype.itemsize for v in self.epilogue.outputs]
        for pointer, size in zip(self.outputs, outputs, strict=True):
            prefetch(code, code.at(pointer, code.mul(place, size)), write=True)
        for a, pointer in zip(self.epilogue.inputs if self.epilogue else (), self.operands, strict=True):
            if any(a.strides[2:]):
                at = code.add(code.mul(image, a.strides[0]), code.mul(channel, a.strides[1]))
                prefetch(code, code.at(pointer, code.add(at, code.mul(position, a.dtype.itemsize))))

    def operand(self, a: Access, pointer: IR, image: Index, channel: Index, position: Index, where: Any) -> Lanes:
        """Numbers of an epilogue's operand."""
        code = self.code
        at = code.add(code.mul(image, a.strides[0]), code.mul(channel, a.strides[1]))
        if not any(a.strides[2:]):
            one = code.emitter.load(code.at(pointer, at), a.dtype, 1)
            return code.emitter.splat(one, code.lanes)
        at = code.add(at, code.mul(position, a.dtype.itemsize))
        return code.emitter.load(code.at(pointer, at), a.dtype, code.lanes, where)
