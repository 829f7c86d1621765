"""Intel MKL: `torch.backends.mkl`. Products go to the BLAS that NumPy carries."""

from __future__ import annotations

from types import TracebackType

VERBOSE_OFF, VERBOSE_ON = 0, 1


def is_available() -> bool:
    """Whether this build uses MKL: no."""
    return False


class verbose:
    """Accepted; there is no MKL to report its calls."""

    def __init__(self, enable: int) -> None:
        self.enable = enable

    def __enter__(self) -> verbose:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
