"""Line search for the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
SMALLEST_BRACKET = 1e-9


@dataclass
class Point:
    """A step size, and the loss, gradient and slope along the direction there."""

    t: Any
    loss: float
    gradient: Any
    slope: Any


def cubic_minimum(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes is smallest, within `bounds` (default: between them).

    Nocedal and Wright, equation 3.59.
    """
    low, high = bounds if bounds is not None else (a.t, b.t) if a.t <= b.t else (b.t, a.t)
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = np.sqrt(square) if isinstance(square, np.generic) else sqrt(square)
    if a.t <= b.t:
        t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    else:
        t = a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2 * d2))
    return min(max(t, low), high)


class WolfeSearch:
    """State of one search: the start, the direction, and how often the loss was evaluated."""

    def __init__(self, evaluate: Callable[[Any], tuple[float, Any]], direction: Any, start: Point, most: int) -> None:
        self.evaluate = evaluate
        self.direction = direction
        self.start = start
        self.most = most
        self.calls = 0

    def at(self, t: Any) -> Point:
        """Evaluate at step size `t`."""
        loss, gradient = self.evaluate(t)
        self.calls += 1
        return Point(t, loss, gradient, np.dot(gradient, self.direction))

    def rises(self, point: Point) -> bool:
        """The loss has not decreased enough (first Wolfe condition)."""
        return bool(point.loss > self.start.loss + SUFFICIENT_DECREASE * point.t * self.start.slope)

    def is_flat(self, point: Point) -> bool:
        """The slope has decreased enough (second condition, strong form)."""
        return bool(abs(point.slope) <= -CURVATURE * self.start.slope)

    def bracket(self, t: Any) -> tuple[list[Point], bool, int]:
        """Lengthen the step until a good point lies between the last two: algorithm 3.5."""
        before, now = self.start, self.at(t)
        for tries in range(self.most):
            if self.rises(now) or (tries > 1 and now.loss >= before.loss):
                return [before, now], False, tries
            if self.is_flat(now):
                return [now], True, tries
            if now.slope >= 0:
                return [before, now], False, tries
            reach = (now.t + 0.01 * (now.t - before.t), now.t * 10)
            before, now = now, self.at(cubic_minimum(before, now, reach))
        return [self.start, now], False, self.most

    def zoom(self, ends: list[Point], tries: int) -> Point:
        """Shrink the bracket around a point that meets both conditions: algorithm 3.6."""
        size = np.abs(self.direction).max()
        low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
        has_stalled = False
        while tries < self.most:
            if abs(ends[1].t - ends[0].t) * size < SMALLEST_BRACKET:
                break
            t, has_stalled = _away_from_ends(cubic_minimum(ends[0], ends[1]), ends, has_stalled)
            new = self.at(t)
            tries += 1
            if self.rises(new) or new.loss >= ends[low].loss:
                ends[high] = new
                low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
                continue
            if self.is_flat(new):
                return new
            if new.slope * (ends[high].t - ends[low].t) >= 0:
                ends[high] = ends[low]
            ends[low] = new
        return ends[low]


def _away_from_ends(t: Any, ends: list[Point], has_stalled: bool) -> tuple[Any, bool]:
    """Keep `t` a tenth of the bracket from its ends if it comes close twice in a row."""
    first, last = sorted((ends[0].t, ends[1].t))
    margin = 0.1 * (last - first)
    if min(last - t, t - first) >= margin:
        return t, False
    if not (has_stalled or t >= last or t <= first):
        return t, True
    return (last - margin if abs(t - last) < abs(t - first) else first + margin), False


def strong_wolfe(
    evaluate: Callable[[Any], tuple[float, Any]],
    direction: Any,
    t: Any,
    loss: float,
    gradient: Any,
    slope: Any,
    most: int,
) -> tuple[float, Any, Any, int]:
    """A step size along `direction` that meets the strong Wolfe conditions, starting from `t`.

    Parameters
    ----------
    evaluate
        Loss and gradient at a step size.
    most
        Most evaluations after the first.

    Returns
    -------
    Loss, gradient, step size, number of evaluations.
    """
    search = WolfeSearch(evaluate, direction, Point(0, loss, gradient, slope), most)
    ends, is_done, tries = search.bracket(t)
    best = ends[0] if is_done else search.zoom(ends, tries)
    return best.loss, best.gradient, best.t, search.calls
