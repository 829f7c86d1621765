"""The arguments that say how a module's tensors are made."""

from __future__ import annotations

from typing import Any

_SIMPLE = ("device", "dtype", "memory_format")


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments for tensor constructors among a module's keyword arguments.

    Parameters
    ----------
    kwargs : dict or None
        `device`, `dtype`, `memory_format`, or a dict of them under the name `factory_kwargs`; nothing else.

    Examples
    --------
    >>> torch.nn.factory_kwargs({"dtype": torch.float64})
    {'dtype': torch.float64}
    """
    if kwargs is None:
        return {}
    unknown = set(kwargs) - {*_SIMPLE, "factory_kwargs"}
    if unknown:
        raise TypeError(f"unexpected kwargs {unknown}")
    out = dict(kwargs.get("factory_kwargs", {}))
    for name in _SIMPLE:
        if name in kwargs:
            if name in out:
                raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
            out[name] = kwargs[name]
    return out
