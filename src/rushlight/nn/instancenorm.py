"""Instance normalisation: statistics of each channel of each image."""

from __future__ import annotations

import warnings
from typing import Any

from rushlight.nn.batchnorm import _LazyNormBase, _NormBase
from rushlight.nn.functional.normalization import instance_norm
from rushlight.tensor import Tensor


class _InstanceNorm(_NormBase):
    """Instance normalisation of any rank."""

    _unbatched_rank: int

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input: Tensor) -> None:
        rank = self._unbatched_rank
        if input.dim() not in (rank, rank + 1):
            raise ValueError(f"expected {rank}D or {rank + 1}D input (got {input.dim()}D input)")

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
        unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        if local_metadata.get("version", None) is None and not self.track_running_stats:
            stale = [name for name in ("running_mean", "running_var") if prefix + name in state_dict]
            if stale:
                names = " and ".join(f'"{prefix}{name}"' for name in stale)
                error_msgs.append(
                    f"Unexpected running stats buffer(s) {names} for {type(self).__name__} with "
                    "track_running_stats=False. If state_dict is a checkpoint saved before 0.4.0, this may be expected "
                    "because the default of track_running_stats is now False. Remove these keys from state_dict."
                )
                for name in stale:
                    state_dict.pop(prefix + name)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        dim = input.dim() - self._unbatched_rank
        if input.size(dim) != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={dim} to match num_features ({self.num_features}), "
                    f"but got: {input.size(dim)}."
                )
            warnings.warn(
                f"input's size at dim={dim} does not match num_features. You can silence this warning "
                "by not passing in "
                "num_features, which is not used because affine=False",
                stacklevel=2,
            )
        if dim == 0:
            out: Tensor = self._normalise(input.unsqueeze(0)).squeeze(0)
            return out
        return self._normalise(input)

    def _normalise(self, input: Tensor) -> Tensor:
        return instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum if self.momentum is not None else 0.0,
            self.eps,
        )


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each row of [N, C, L] or [C, L], then scale and shift it if `affine`.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance.
    momentum : float
        Share of a batch in the running statistics.
    affine : bool
        Whether there are a weight and a bias.
    track_running_stats : bool
        Whether running statistics are kept, and used in evaluation mode.
    """

    _unbatched_rank = 2


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each image of [N, C, H, W] or [C, H, W]; see `InstanceNorm1d`."""

    _unbatched_rank = 3


class InstanceNorm3d(_InstanceNorm):
    """Normalise each channel of each volume of [N, C, D, H, W] or [C, D, H, W]; see `InstanceNorm1d`."""

    _unbatched_rank = 4


class LazyInstanceNorm1d(_LazyNormBase, _InstanceNorm):
    """`InstanceNorm1d` that learns `num_features` from the first input."""

    cls_to_become = InstanceNorm1d
    _unbatched_rank = 2


class LazyInstanceNorm2d(_LazyNormBase, _InstanceNorm):
    """`InstanceNorm2d` that learns `num_features` from the first input."""

    cls_to_become = InstanceNorm2d
    _unbatched_rank = 3


class LazyInstanceNorm3d(_LazyNormBase, _InstanceNorm):
    """`InstanceNorm3d` that learns `num_features` from the first input."""

    cls_to_become = InstanceNorm3d
    _unbatched_rank = 4
