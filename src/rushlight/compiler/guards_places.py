"""Places in Python that a function gives new values: attributes, buffers, variables.

A trace finds them by what it left changed. It is then made once more with what they hold as inputs, and what they get
as results that every call puts there.
"""

from __future__ import annotations

from typing import Any

from rushlight.nn.hooks import Changes
from rushlight.tape import Variable

EMPTY = object()


class Place:
    """One place.

    Attributes
    ----------
    kind : "cell" (`owner` is the cell), "item" of the dict `owner`, "attribute" of `owner`, "module" likewise,
        "buffer" of the module `owner`
    """

    def __init__(self, kind: str, owner: Any, key: Any = None) -> None:
        self.kind = kind
        self.owner = owner
        self.key = key

    @property
    def name(self) -> tuple[str, int, Any]:
        """What it is known by."""
        return self.kind, id(self.owner), self.key

    def table(self) -> dict[Any, Any]:
        """The dict that holds the value."""
        if self.kind == "item":
            found: dict[Any, Any] = self.owner
        else:
            found = self.owner.__dict__["_buffers"] if self.kind == "buffer" else self.owner.__dict__
        return found

    def get(self) -> Any:
        """What is there."""
        if self.kind != "cell":
            return self.table().get(self.key, EMPTY)
        try:
            return self.owner.cell_contents
        except ValueError:
            return EMPTY

    def put(self, value: Any) -> None:
        """Put a value there."""
        if self.kind == "cell":
            self.owner.cell_contents = value
            return
        self.table()[self.key] = value
        # Traces of other functions check tensors in attributes at every call, all else when this counter moved.
        if self.kind == "buffer" or self.kind == "module" and not isinstance(value, Variable):
            Changes.count += 1


class Rebinds(BaseException):
    """The function gives places new values: trace it again with these as inputs."""

    def __init__(self, places: list[Place]) -> None:
        self.places = places
