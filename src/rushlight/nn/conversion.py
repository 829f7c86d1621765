"""Changing dtype, device and memory of all tensors of a model in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from rushlight.creation import empty_like
from rushlight.device import check_available, device
from rushlight.dtypes import bfloat16, dtype, float16, float32, float64
from rushlight.errors import explain
from rushlight.modes import no_grad
from rushlight.nn.parameter import Parameter, UninitializedTensorMixin
from rushlight.nn.walk import ModuleWalk
from rushlight.tensor import Tensor

TensorFunction = Callable[[Tensor], Tensor]


class ModuleConversion(ModuleWalk):
    """`to`, `float`, `cuda` and their kind; parameters stay the same objects."""

    def _apply(self, fn: TensorFunction, recurse: bool = True) -> Self:
        """Replace the data of every parameter, gradient and buffer by `fn` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for name, parameter in self._parameters.items():
                if parameter is not None:
                    _convert_parameter(fn, name, parameter)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Change dtype or device of parameters and buffers in place; return self.

        Called as `to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)` or `to(memory_format=...)`. Integer
        buffers keep their dtype.

        Examples
        --------
        >>> torch.nn.Linear(2, 1).to(torch.float64).weight.dtype
        torch.float64
        """
        place, kind, non_blocking, memory_format = parse_to(args, kwargs)
        if kind is not None and not (kind.is_floating_point or kind.is_complex):
            raise explain(
                TypeError(
                    f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={kind!r}"
                ),
                fix="convert the inputs instead, or one tensor: m.weight.data.to(dtype)",
            )

        def convert(tensor: Tensor) -> Tensor:
            wanted = kind if tensor.is_floating_point() or tensor.is_complex() else None
            options: dict[str, Any] = {}
            if memory_format is not None and tensor.dim() in (4, 5):
                options["memory_format"] = memory_format
            moved: Tensor = tensor.to(place or tensor.device, wanted or tensor.dtype, non_blocking, **options)
            return moved

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move to `device` without copying values: the new memory is not initialised."""
        return self._apply(lambda tensor: empty_like(tensor, device=device), recurse=recurse)

    def type(self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to `dst_type`."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self._apply(lambda tensor: tensor.to(float32) if tensor.is_floating_point() else tensor)

    def double(self) -> Self:
        """Convert floating parameters and buffers to float64."""
        return self._apply(lambda tensor: tensor.to(float64) if tensor.is_floating_point() else tensor)

    def half(self) -> Self:
        """Convert floating parameters and buffers to float16."""
        return self._apply(lambda tensor: tensor.to(float16) if tensor.is_floating_point() else tensor)

    def bfloat16(self) -> Self:
        """Convert floating parameters and buffers to bfloat16."""
        return self._apply(lambda tensor: tensor.to(bfloat16) if tensor.is_floating_point() else tensor)

    def cpu(self) -> Self:
        """Move all parameters and buffers to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Move all parameters and buffers to a GPU."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def ipu(self, device: Any = None) -> Self:
        """Move to an IPU, of which there is none."""
        return self._to_accelerator("ipu", device)

    def xpu(self, device: Any = None) -> Self:
        """Move to an Intel GPU, of which there is none."""
        return self._to_accelerator("xpu", device)

    def mtia(self, device: Any = None) -> Self:
        """Move to an MTIA accelerator, of which there is none."""
        return self._to_accelerator("mtia", device)

    def _to_accelerator(self, kind: str, index: Any) -> Self:
        return self.to(device(kind, index) if isinstance(index, int) else device(index or kind))

    def share_memory(self) -> Self:
        """Move all parameters and buffers to memory that other processes can map; return self."""
        for parameter in self.parameters():
            # Those without data refuse.
            parameter.share_memory_()
        return self._apply(lambda tensor: tensor.share_memory_())


def _convert_parameter(fn: TensorFunction, name: str, parameter: Parameter) -> None:
    if isinstance(parameter, UninitializedTensorMixin):
        parameter.data = fn(parameter.data)
        return
    try:
        parameter.data = fn(parameter)
    except Exception as error:
        error.add_note(f"  while converting the parameter '{name}'")
        raise
    gradient = parameter.grad
    if gradient is not None:
        # Set anew, not written through `.data`: the dtypes of a parameter and its gradient must agree.
        recorded = gradient.requires_grad
        parameter.grad = fn(gradient.detach()).requires_grad_(recorded)


def parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[device | None, dtype | None, bool, Any]:
    """Device, dtype, non_blocking and memory format meant by the arguments of `Module.to`."""
    options = dict(kwargs)
    rest = list(args)
    place: Any = None
    kind: Any = None
    if rest and isinstance(rest[0], Tensor):
        place, kind = rest[0].device, rest[0].dtype
        del rest[0]
    elif rest and isinstance(rest[0], dtype):
        kind = rest.pop(0)
    elif rest:
        place = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], dtype)):
            kind = rest.pop(0)
    example = options.pop("tensor", None)
    if example is not None:
        place, kind = example.device, example.dtype
    place = options.pop("device", place)
    kind = options.pop("dtype", kind)
    non_blocking = bool(options.pop("non_blocking", rest.pop(0) if rest else False))
    options.pop("copy", rest.pop(0) if rest else False)
    memory_format = options.pop("memory_format", None)
    if options or rest or not (kind is None or isinstance(kind, dtype)):
        raise _invalid_arguments(args, kwargs)
    return (None if place is None else _existing_device(place)), kind, non_blocking, memory_format


def _existing_device(place: Any) -> device:
    if not isinstance(place, (str, int, device)) or isinstance(place, bool):
        raise _invalid_arguments((place,), {})
    return check_available(place)


_FORMS = """
 * (torch.device device = None, torch.dtype dtype = None, bool non_blocking = False, bool copy = False, *, {format})
 * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, {format})
 * (Tensor tensor, bool non_blocking = False, bool copy = False, *, {format})
""".format(format="torch.memory_format memory_format = None")


def _invalid_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    got = [type(a).__name__ for a in args] + [f"{name}={type(a).__name__}" for name, a in kwargs.items()]
    return explain(
        TypeError(
            f"to() received an invalid combination of arguments - got ({', '.join(got)}, ), "
            f"but expected one of:{_FORMS}"
        ),
        fix="m.to('cpu'), m.to(torch.float64) or m.to(device='cpu', dtype=torch.float64)",
    )
