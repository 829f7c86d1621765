"""Plots that grow: in a file, and in a notebook (whose part a stand-in with IPython's interface plays)."""

import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import rushlight as torch
from rushlight.utils.live import LivePlot
from rushlight.utils.measure import RunningSums, Stopwatch
from rushlight.utils.picture import Line, Picture
from rushlight.utils.plotting import line_plot
from tests.conftest import Run


class Handle:
    def __init__(self, picture: Picture) -> None:
        self.shown = [picture]

    def update(self, picture: Picture) -> None:
        self.shown.append(picture)


class Notebook:
    """What of IPython a plot uses: the shell's kernel and cell events, `display` with an updatable handle."""

    def __init__(self) -> None:
        self.kernel = object()
        self.events = self
        self.callbacks: list[Callable[..., None]] = []
        self.handles: list[Handle] = []

    def register(self, event: str, callback: Callable[..., None]) -> None:
        assert event == "post_run_cell"
        self.callbacks.append(callback)

    def unregister(self, event: str, callback: Callable[..., None]) -> None:
        self.callbacks.remove(callback)

    def display(self, picture: Picture, display_id: bool) -> Handle:
        assert display_id
        assert picture._repr_svg_().startswith("<svg")
        self.handles.append(Handle(picture))
        return self.handles[-1]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made = Notebook()
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: made
    display: Any = types.ModuleType("IPython.display")
    display.display = made.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


def curves(picture: Picture) -> list[int]:
    return [len(mark.points) for mark in picture.marks if isinstance(mark, Line) and mark.width == 2]


def test_one_picture_below_the_cell_is_updated(notebook: Notebook) -> None:
    plot = LivePlot(interval=0)
    for epoch in range(1, 4):
        plot.add(epoch, loss=torch.tensor(1.0 / epoch))
    (handle,) = notebook.handles
    assert [curves(picture)[0] for picture in handle.shown] == [1, 2, 3]
    assert plot._repr_svg_() is None, "the last line of the cell does not show it twice"


def test_the_last_values_are_drawn_when_the_cell_ends(notebook: Notebook) -> None:
    plot = LivePlot(interval=1000)
    plot.add(1, loss=2.0)
    plot.add(2, loss=1.0)
    (handle,) = notebook.handles
    assert len(handle.shown) == 1
    for callback in notebook.callbacks:
        callback(object())
    assert curves(handle.shown[-1]) == [2]
    plot.close()
    assert not notebook.callbacks


def test_a_terminal_shows_nothing(monkeypatch: pytest.MonkeyPatch, notebook: Notebook) -> None:
    notebook.kernel = None
    plot = LivePlot()
    plot.add(1, loss=1.0)
    assert not notebook.handles
    assert plot._repr_svg_()
    with pytest.raises(RuntimeError, match="notebook"):
        LivePlot(notebook=True)


def test_the_file_follows_the_training(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    with LivePlot(path=path, interval=0) as plot:
        lines = []
        for epoch in range(1, 4):
            plot.add(epoch, {"train loss": 1.0 / epoch, "test loss": None if epoch < 3 else 0.5, "accuracy": 0.5})
            lines.append(path.read_text().count('stroke-width="2"'))
            ElementTree.parse(path)
    assert lines == [2, 2, 5], "a legend appears with the second curve of a panel"
    assert [file.name for file in tmp_path.iterdir()] == ["curves.svg"]


def test_a_png_is_written_with_matplotlib(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with LivePlot(path=tmp_path / "curves.png") as plot:
        plot.add(1, loss=1.0)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("end", ["", "del plot", "raise SystemExit(0)"])
def test_the_last_values_are_drawn_at_the_end(run_python: Run, tmp_path: Path, end: str) -> None:
    run_python(
        "-c",
        "from rushlight.utils.live import LivePlot\n"
        "plot = LivePlot(path='c.svg', interval=1000)\n"
        f"for k in range(5):\n    plot.add(k, loss=k)\n{end}",
    )
    points = next(line for line in (tmp_path / "c.svg").read_text().splitlines() if 'stroke-width="2"' in line)
    assert points.count(",") == 5


def test_one_panel_and_logarithms() -> None:
    plot = LivePlot(separate=False, yscale="log", notebook=False)
    for k in range(3):
        plot.add(k, a=10.0**-k, b=100.0)
    picture = plot.picture()
    assert curves(picture) == [3, 2, 3, 2]
    heights = [y for mark in picture.marks if isinstance(mark, Line) and mark.width == 2 for _, y in mark.points][:3]
    assert math.isclose(heights[1] - heights[0], heights[2] - heights[1])
    assert {"100", "0.01"} <= {getattr(mark, "text", "") for mark in picture.marks}
    assert curves(line_plot({"y": [1.0, 0.0, 1.0]}, log=True)) == [1, 1]
    with pytest.raises(ValueError, match="yscale"):
        LivePlot(yscale="cubic")


def test_curves_with_points_of_their_own() -> None:
    picture = line_plot({"a": [1, 2, 3], "b": [3]}, x={"a": [0, 1, 2], "b": [2]})
    lines = [mark.points for mark in picture.marks if isinstance(mark, Line) and mark.width == 2]
    assert lines[0][-1] == lines[2][0]


def test_sums() -> None:
    sums = RunningSums(2)
    assert sums.mean(0, over=1) == 0
    sums.add(torch.tensor(1.5), 2)
    sums.add(0.5, 2)
    assert (sums[0], sums[1], len(sums), sums.mean(0, over=1)) == (2.0, 4.0, 2, 0.5)
    assert repr(sums) == "RunningSums(2, 4)"
    with pytest.raises(ValueError, match="1 amounts"):
        sums.add(1)
    sums.reset()
    assert sums.values == [0, 0]


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.5, 2.0, 2.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    watch = Stopwatch()
    assert watch.stop() == 1.5
    with pytest.raises(RuntimeError, match="start"):
        watch.stop()
    with watch:
        pass
    assert (watch.laps, watch.total(), watch.mean()) == ([1.5, 0.5], 2.0, 1.0)
