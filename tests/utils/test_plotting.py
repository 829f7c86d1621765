"""Pictures: what is drawn where, that the SVG is well formed, and that matplotlib is needed only beyond SVG."""

import math
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import rushlight as torch
from rushlight.utils.picture import Image, Line, Picture, Text, encode_png
from rushlight.utils.plotting import (
    Axis,
    confusion_counts,
    confusion_matrix,
    image_grid,
    learning_curves,
    line_plot,
    round_step,
)

SVG = "{http://www.w3.org/2000/svg}"


def elements(picture: Picture, name: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture.svg()).iter(SVG + name))


def test_a_line_runs_through_its_values() -> None:
    picture = line_plot({"loss": [4.0, 2.0, 1.0, 0.0]}, size=(400, 300))
    (line,) = [mark for mark in picture.marks if isinstance(mark, Line) and mark.width == 2]
    places = [x for x, _ in line.points]
    assert np.allclose(np.diff(places), places[1] - places[0])
    heights = [y for _, y in line.points]
    assert heights == sorted(heights), "a falling loss goes down the page"
    assert math.isclose((heights[1] - heights[0]) / (heights[3] - heights[0]), 0.5)


def test_values_that_are_not_finite_break_the_line() -> None:
    picture = line_plot({"loss": [1.0, 2.0, math.nan, 3.0, math.inf, 5.0]})
    lines = [len(mark.points) for mark in picture.marks if isinstance(mark, Line) and mark.width == 2]
    assert lines == [2, 1, 1]


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [math.nan], [1e-9, 1e9], [-3.0, -2.0]])
def test_any_values_make_a_picture(values: list[float]) -> None:
    assert elements(line_plot({"y": values}), "text")


def test_quantities_have_panels() -> None:
    picture = learning_curves({"loss": [2, 1], "train accuracy": [0, 1], "test accuracy": [0, 0.5]})
    texts = [element.text for element in elements(picture, "text")]
    assert texts.count("epoch") == 2
    assert {"loss", "accuracy", "train accuracy", "test accuracy"} <= set(texts)


@pytest.mark.parametrize(
    ("width", "step"), [(0.7, 1), (1.0, 1), (1.1, 2), (3, 5), (6, 10), (0.02, 0.02), (0.003, 0.005)]
)
def test_steps_are_round(width: float, step: float) -> None:
    assert round_step(width) == pytest.approx(step)


def test_ticks_cover_the_values() -> None:
    axis = Axis([0.13, 0.97], 100, 0)
    ticks = axis.ticks()
    assert ticks[0] <= 0.13 < 0.97 <= ticks[-1]
    assert (axis.at(axis.low), axis.at(axis.high)) == (100, 0)


def test_text_is_escaped() -> None:
    picture = Picture(10, 10, "<a & b>", [Text(0, 0, "x < y & z")])
    assert elements(picture, "text")[0].text == "x < y & z"
    assert elements(picture, "title")[0].text == "<a & b>"


def test_png_holds_the_pixels() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    data = encode_png(pixels)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    length = int.from_bytes(data[33:37], "big")
    assert zlib.decompress(data[41 : 41 + length]) == b"\0" + bytes([0, 1, 2]) + b"\0" + bytes([3, 4, 5])


def test_images_of_every_layout() -> None:
    grey = image_grid(torch.rand(5, 1, 4, 4, requires_grad=True), labels=list("abcde"), columns=3)
    assert [mark.pixels.shape for mark in grey.marks if isinstance(mark, Image)] == [(4, 4)] * 5
    assert [element.text for element in elements(grey, "text")] == list("abcde")
    colour = image_grid(np.random.default_rng(0).random((2, 3, 4, 5)))
    assert [mark.pixels.shape for mark in colour.marks if isinstance(mark, Image)] == [(4, 5, 3)] * 2
    with pytest.raises(ValueError, match="expected"):
        image_grid(np.zeros((2, 2, 4, 4)))


def test_confusion() -> None:
    targets, predictions = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 2, 0])
    assert confusion_counts(targets, predictions).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    texts = [element.text for element in elements(confusion_matrix(targets, predictions, ["a", "b", "c"]), "text")]
    assert texts.count("1") == 5
    assert texts.count("0") == 4


def test_files(tmp_path: Path) -> None:
    picture = line_plot({"y": [1, 2]})
    assert ElementTree.parse(picture.save(tmp_path / "y.svg")).getroot().tag == SVG + "svg"
    assert picture._repr_svg_() == picture.svg()
    pytest.importorskip("matplotlib")
    assert picture.save(tmp_path / "y.png").read_bytes().startswith(b"\x89PNG")
