"""`rushlight demo` learns, and leaves what it promises."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import rushlight as torch
from rushlight.demo.digits import digit_as_text, load_digits, split_digits
from tests.conftest import Run


def test_the_digits_are_whole() -> None:
    images, labels = load_digits()
    assert images.shape == (1797, 1, 8, 8)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert np.bincount(labels.numpy()).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int((images * 16).sum().item()) == 561718


def test_the_split_depends_on_the_seed_alone() -> None:
    train, test = split_digits(3)
    assert (len(train), len(test)) == (1438, 359)
    again = split_digits(3)[1]
    assert torch.equal(test.tensors[0], again.tensors[0])
    assert not torch.equal(test.tensors[1], split_digits(4)[1].tensors[1])


def test_a_digit_as_text() -> None:
    image = np.zeros((8, 8))
    image[0, 1] = 1
    image[7, 0] = 0.5
    lines = digit_as_text(image)
    assert [len(line) for line in lines] == [16] * 8
    assert lines[0] == "  @@" + 12 * " "
    assert lines[7].strip()


def test_the_demo_reads_97_percent_and_keeps_its_promises(run_python: Run, tmp_path: Path) -> None:
    out = run_python("-m", "rushlight", "demo").stdout
    epochs = re.findall(r"epoch +\d+/12 .* loss ([\d.]+)  train +([\d.]+)%  test +([\d.]+)%", out)
    assert len(epochs) == 12
    assert float(epochs[0][0]) > 4 * float(epochs[-1][0])
    assert float(epochs[-1][2]) >= 97
    assert "gives the same scores on all 359 test images" in out
    assert len(re.findall(r"read as \d", out)) >= 4
    picture = ElementTree.parse(tmp_path / "rushlight-demo" / "learning-curve.svg")
    assert "accuracy" in {element.text for element in picture.getroot().iter()}
    state = torch.load(tmp_path / "rushlight-demo" / "digits.pth")
    assert state["0.weight"].shape == (16, 1, 3, 3)


def test_options(run_python: Run, tmp_path: Path) -> None:
    first = run_python("-m", "rushlight", "demo", "--epochs", "1", "--seed", "5", "--out", "a", "--no-plot").stdout
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["digits.pth"]
    again = run_python("-m", "rushlight", "demo", "--epochs", "1", "--seed", "5", "--out", "b", "--no-plot").stdout
    pattern = r"loss [\d.]+  train +[\d.]+%  test +[\d.]+%"
    assert re.findall(pattern, first) == re.findall(pattern, again) != []


@pytest.mark.parametrize("arguments", [("--epochs", "0"), ("--epochs", "many"), ("--walk",)])
def test_bad_options_are_refused(run_python: Run, arguments: tuple[str, ...]) -> None:
    assert run_python("-m", "rushlight", "demo", *arguments, check=False).returncode == 2


def test_compiled_and_eager_training_compared(run_python: Run) -> None:
    out = run_python("-m", "rushlight", "demo", "--compile", "--epochs", "2", "--no-plot").stdout
    assert re.search(r"all training steps took [\d.]+ s .*, eagerly [\d.]+ s: compiled [\d.]+ times as fast", out)
    (pair,) = re.findall(r"last loss ([\d.]+), eagerly ([\d.]+)", out)
    assert float(pair[0]) == pytest.approx(float(pair[1]), rel=1e-2)
