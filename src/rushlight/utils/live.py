"""A plot that grows while a model trains: in the notebook's cell, and in a file that is rewritten."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rushlight.utils.picture import Picture, side_by_side
from rushlight.utils.plotting import line_plot


class LivePlot:
    """Learning curves that are redrawn as values arrive.

    In a notebook the picture below the cell is updated; with `path` the file is rewritten, so that a viewer that
    watches it follows the training. Redrawing takes place at most every `interval` seconds; the last values are drawn
    when the cell ends, when the plot is deleted and when the program ends.

    Parameters
    ----------
    xlabel : str, default "epoch"
    title : str, optional
    path : path, optional
        `.svg`; other formats, `.png` for one, where matplotlib is installed.
    interval : float, default 0.2
        Seconds between redrawings at least.
    separate : bool, default True
        Give each quantity its own panel: names that end in the same word share one. False: one panel for all.
    yscale : {"linear", "log"}
    notebook : bool, optional
        Whether to show it in the notebook; default: if there is one.

    Examples
    --------
    >>> from pathlib import Path
    >>> plot = LivePlot(path="curves.svg")
    >>> for epoch in range(1, 4):
    ...     plot.add(epoch, {"loss": 1 / epoch, "train accuracy": 1 - 0.5**epoch})
    >>> plot.add(3, {"test accuracy": 0.8})
    >>> plot.close()
    >>> len(plot.series["loss"]), Path("curves.svg").read_text()[:4]
    (3, '<svg')
    """

    def __init__(
        self,
        xlabel: str = "epoch",
        title: str = "",
        path: str | Path | None = None,
        *,
        interval: float = 0.2,
        separate: bool = True,
        yscale: str = "linear",
        notebook: bool | None = None,
    ) -> None:
        if yscale not in ("linear", "log"):
            raise ValueError(f"yscale must be 'linear' or 'log', received {yscale!r}")
        style = {"xlabel": xlabel, "title": title, "separate": separate, "log": yscale == "log"}
        shell = kernel_shell() if notebook is not False else None
        if notebook and shell is None:
            raise RuntimeError("LivePlot(notebook=True) needs to run in a notebook; path=... works everywhere")
        self._drawing = _Drawing(style, None if path is None else Path(path), interval, shell)
        # What is left to draw is drawn also if nobody calls close.
        self._finalizer = weakref.finalize(self, self._drawing.finish)

    @property
    def series(self) -> dict[str, list[tuple[float, float]]]:
        """The points of each curve."""
        return self._drawing.series

    def add(self, x: float, values: Mapping[str, Any] | None = None, **named: Any) -> None:
        """One more point for each name: `add(epoch, loss=0.3)`, `add(epoch, {"test accuracy": 0.9})`.

        Values are numbers or Tensors of one element; None is skipped.
        """
        for name, value in {**(values or {}), **named}.items():
            if value is not None:
                self.series.setdefault(name, []).append((float(x), float(value)))
        self._drawing.changed()

    def picture(self) -> Picture:
        """The plot as it is now."""
        return self._drawing.picture()

    def save(self, path: str | Path) -> Path:
        """Write the plot as it is now."""
        return self.picture().save(path)

    def close(self) -> None:
        """Draw what is left to draw, and follow no more."""
        self._finalizer()

    def __enter__(self) -> LivePlot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _repr_svg_(self) -> str | None:
        # The cell shows the live picture already.
        return None if self._drawing.is_shown else self.picture().svg()


class _Drawing:
    """The points, and where they are shown; outlives its `LivePlot` until the last values are drawn."""

    def __init__(self, style: dict[str, Any], path: Path | None, interval: float, shell: Any) -> None:
        self.style, self.path, self.interval, self.shell = style, path, interval, shell
        self.series: dict[str, list[tuple[float, float]]] = {}
        self.drawn_at = -float("inf")
        self.is_stale = False
        self.handle: Any = None
        if shell is not None:
            shell.events.register("post_run_cell", self.flush)

    @property
    def is_shown(self) -> bool:
        """Whether the notebook shows it."""
        return self.handle is not None

    def changed(self) -> None:
        """Redraw, unless that was done a moment ago."""
        self.is_stale = True
        if time.monotonic() - self.drawn_at >= self.interval:
            self.flush()

    def flush(self, result: Any = None) -> None:
        """Draw values that are not drawn yet; the notebook calls it with the result of each cell."""
        if not self.is_stale:
            return
        self.is_stale = False
        picture = self.picture()
        if self.path is not None:
            picture.save(self.path)
        if self.shell is not None:
            self.show(picture)
        self.drawn_at = time.monotonic()

    def show(self, picture: Picture) -> None:
        """Put the picture into the cell's output, in place of the earlier one."""
        if self.handle is None:
            self.handle = sys.modules["IPython.display"].display(picture, display_id=True)
        else:
            self.handle.update(picture)

    def finish(self) -> None:
        """Draw the last values and let the notebook go."""
        self.flush()
        if self.shell is not None:
            self.shell.events.unregister("post_run_cell", self.flush)

    def picture(self) -> Picture:
        """One panel for each quantity, or one for all."""
        panels: dict[str, list[str]] = {}
        for name in self.series:
            panels.setdefault(name.split()[-1] if self.style["separate"] else "", []).append(name)
        drawn = [
            line_plot(
                {name: [y for _, y in self.series[name]] for name in names},
                x={name: [x for x, _ in self.series[name]] for name in names},
                title=self.style["title"] if len(panels) == 1 and self.style["title"] else quantity,
                xlabel=self.style["xlabel"],
                log=self.style["log"],
            )
            for quantity, names in (panels or {"": []}).items()
        ]
        return side_by_side(drawn, self.style["title"] or "learning curves")


def kernel_shell() -> Any:
    """The shell of the notebook that this program runs in, or None: in a terminal pictures cannot be updated."""
    # A notebook has imported IPython already, so that nothing needs to be imported to find out.
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or "IPython.display" not in sys.modules:
        return None
    shell = ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None
