"""Collation under the path that programs import it from."""

from rushlight.utils.data._utils import collate

__all__ = ["collate"]
