"""Iteration spaces: which dims of different values run together.

The dims of every value in a fused group are runs of atoms, the loops of the group. Two dims that must have equal
indices are unified; where one is a product of sizes of the other (a reshape between them), it is split. A join that
cannot be is a `Misfit` and can be taken back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

Run = tuple[int, ...]
Runs = tuple[Run, ...]


class Misfit(Exception):
    """Why two calls cannot share loops."""


class Space:
    """Atoms with their sizes, some of them bound to others."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.bound: dict[int, Run] = {}
        self.trail: list[int] = []
        self.resolved: dict[Run, Run] = {}
        self.passed: dict[int, list[Run]] = {}

    def atom(self, size: int) -> int:
        """A new loop of `size` steps."""
        self.sizes.append(size)
        return len(self.sizes) - 1

    def fresh(self, shape: Iterable[int]) -> Runs:
        """A new atom for each dim; dims of size 1 need none."""
        return tuple(() if n == 1 else (self.atom(n),) for n in shape)

    def resolve(self, run: Iterable[int]) -> Run:
        """`run` in atoms that are bound to nothing."""
        if not isinstance(run, tuple):
            run = tuple(run)
        found = self.resolved.get(run)
        if found is None:
            found = self.resolved[run] = self._resolved(run)
        return found

    def _resolved(self, run: Run) -> Run:
        bound, passed = self.bound, self.passed
        out: list[int] = []
        left = list(reversed(run))
        while left:
            a = left.pop()
            passed.setdefault(a, []).append(run)
            if a in bound:
                left.extend(reversed(bound[a]))
            else:
                out.append(a)
        return tuple(out)

    def _forget(self, a: int) -> None:
        """Drop what was resolved through an atom."""
        for run in self.passed.pop(a, ()):
            self.resolved.pop(run, None)

    def size(self, run: Run) -> int:
        """Number of steps of a run."""
        return math.prod(self.sizes[a] for a in run)

    def _bind(self, a: int, to: Run) -> None:
        self.bound[a] = to
        self.trail.append(a)
        self._forget(a)

    def mark(self) -> int:
        """A state that `undo` returns to."""
        return len(self.trail)

    def undo(self, mark: int) -> None:
        """Take back all that was bound since `mark`."""
        for a in self.trail[mark:]:
            del self.bound[a]
            self._forget(a)
        del self.trail[mark:]

    def split(self, a: int, inner: int) -> Run:
        """Atom `a` as an outer loop and an inner one of `inner` steps."""
        n = self.sizes[a]
        if n % inner:
            raise Misfit(f"a dim of {n} cannot be cut into pieces of {inner}")
        pair = (self.atom(n // inner), self.atom(inner))
        self._bind(a, pair)
        return pair

    def unify(self, a: Run, b: Run) -> None:
        """Make two runs step together."""
        left, right = list(self.resolve(a)), list(self.resolve(b))
        while left and right:
            x, y = left.pop(), right.pop()
            if x == y:
                continue
            n, m = self.sizes[x], self.sizes[y]
            if n == m:
                self._bind(y, (x,))
            elif n % m == 0:
                outer = self.atom(n // m)
                self._bind(x, (outer, y))
                left.append(outer)
            elif m % n == 0:
                outer = self.atom(m // n)
                self._bind(y, (outer, x))
                right.append(outer)
            else:
                raise Misfit(f"dims are cut differently ({n} and {m})")
            left, right = list(self.resolve(left)), list(self.resolve(right))
        if left or right:
            raise Misfit("sizes differ")

    def unify_all(self, a: Runs, b: Runs) -> None:
        """Unify dim by dim."""
        if len(a) != len(b):
            raise Misfit("ranks differ")
        for x, y in zip(a, b, strict=True):
            self.unify(x, y)

    def broadcast(self, operands: list[Runs]) -> Runs:
        """The dims of a pointwise result: operands aligned at their last dim, size 1 stretching."""
        rank = max(map(len, operands), default=0)
        out: list[Run] = [()] * rank
        for runs in operands:
            lead = rank - len(runs)
            for i, run in enumerate(runs, lead):
                if not run:
                    continue
                if out[i]:
                    self.unify(out[i], run)
                else:
                    out[i] = run
        return tuple(out)

    def reshape(self, runs: Runs, shape: tuple[int, ...]) -> Runs:
        """The dims of a row-major array seen with another shape."""
        flat = [a for run in runs for a in self.resolve(run)]
        out: list[Run] = []
        for n in reversed(shape):
            taken: list[int] = []
            left = n
            while left > 1:
                if not flat:
                    raise Misfit("sizes differ")
                a = flat.pop()
                m = self.sizes[a]
                if left % m and m % left:
                    raise Misfit(f"dims are cut differently ({m} and {left})")
                if m > left:
                    outer, a = self.split(a, left)
                    flat = [k for f in flat for k in self.resolve((f,))]
                    flat.append(outer)
                    m = left
                taken.append(a)
                left //= m
            out.append(tuple(reversed(taken)))
        if flat:
            raise Misfit("sizes differ")
        return tuple(reversed(out))
