"""Switches of CUDA libraries: `torch.backends.cuda`. They are kept, for programs that set them."""

from __future__ import annotations


class _Switches:
    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


matmul = _Switches(
    allow_tf32=False, allow_fp16_reduced_precision_reduction=True, allow_bf16_reduced_precision_reduction=True,
    allow_fp16_accumulation=False, fp32_precision="none",
)  # fmt: skip
cufft_plan_cache = _Switches(size=0, max_size=0)
# Which kernels of attention may be chosen.
SDP = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True, "overrideable": True}


def is_built() -> bool:
    """Whether this build can use NVIDIA GPUs: no."""
    return False


def flash_sdp_enabled() -> bool:
    """Whether flash attention may be chosen."""
    return SDP["flash"]


def enable_flash_sdp(enabled: bool) -> None:
    """Keep whether flash attention may be chosen."""
    SDP["flash"] = bool(enabled)


def mem_efficient_sdp_enabled() -> bool:
    """Whether memory-efficient attention may be chosen."""
    return SDP["mem_efficient"]


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Keep whether memory-efficient attention may be chosen."""
    SDP["mem_efficient"] = bool(enabled)


def math_sdp_enabled() -> bool:
    """Whether plain attention may be chosen."""
    return SDP["math"]


def enable_math_sdp(enabled: bool) -> None:
    """Keep whether plain attention may be chosen."""
    SDP["math"] = bool(enabled)


def cudnn_sdp_enabled() -> bool:
    """Whether cuDNN's attention may be chosen."""
    return SDP["cudnn"]


def enable_cudnn_sdp(enabled: bool) -> None:
    """Keep whether cuDNN's attention may be chosen."""
    SDP["cudnn"] = bool(enabled)
