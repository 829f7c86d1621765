"""`DataParallel`: split the batch over the GPUs of one machine."""

from __future__ import annotations

from typing import Any

from rushlight.device import device
from rushlight.nn.module import Module

__all__ = ["DataParallel", "data_parallel"]


class DataParallel(Module):
    """Runs `module` on slices of the batch on several GPUs; without GPUs it runs the module as it is.

    Parameters
    ----------
    module : Module
        Kept as the attribute `module`: keys of the state dict start with `"module."`.
    device_ids : list of int or device, optional
        GPUs; all of them by default.
    output_device : int or device, optional
        Where the results are put together.
    dim : int
        The dimension of the batch.
    """

    def __init__(self, module: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        places = [as_gpu(place) for place in device_ids or ()]
        if len(places) > 1:
            raise NotImplementedError(f"DataParallel over {len(places)} devices is not supported yet; it runs on one")
        self.module = module
        self.device_ids = [place.index or 0 for place in places]
        if places:
            self.dim = dim
            self.output_device = output_device if output_device is not None else self.device_ids[0]
            self.module.to(places[0])

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Call the module."""
        return self.module(*inputs, **kwargs)


def as_gpu(place: Any) -> device:
    """`place`, a number or a device, as the device of a GPU."""
    return device("cuda", place) if isinstance(place, int) else device(place)


def data_parallel(
    module: Any,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """Call `module` on `inputs` as `DataParallel` does, without wrapping it."""
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    if len(device_ids or ()) > 1:
        raise NotImplementedError(f"data_parallel over {len(device_ids)} devices is not supported yet; it runs on one")
    return module(*arguments, **(module_kwargs or {}))
