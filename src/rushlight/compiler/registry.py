"""Everything that was compiled and is still in use."""

from __future__ import annotations

import weakref
from typing import Any

COMPILED: weakref.WeakSet[Any] = weakref.WeakSet()
