"""Drawings: what they contain, and that boxes keep apart."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import rushlight as torch
from rushlight.utils.picture import Picture, Rectangle, Text

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: Picture) -> list[str]:
    return [mark.text for mark in picture.marks if isinstance(mark, Text)]


def test_the_graph_of_a_tensor() -> None:
    w = torch.ones(2, 3, requires_grad=True)
    picture = torch.draw((torch.ones(3) * w).exp().sum(), names={"w": w})
    assert sorted(texts(picture)) == ["Exp", "Mul", "Sum", "[2, 3]", "[]", "result", "w"]
    root = ET.fromstring(picture.svg())
    assert len(root.findall(f"{SVG}rect")) == 6 and len(root.findall(f"{SVG}polyline")) == 8


def test_the_graph_of_a_module_names_its_parameters(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    picture = torch.draw(model, torch.zeros(2, 4))
    assert {"0.weight", "0.bias", "2.weight", "2.bias", "Relu"} <= set(texts(picture))
    path = picture.save(tmp_path / "graph.svg")
    assert path.read_text().startswith("<svg")


def test_the_tree_of_a_module() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Sequential(torch.nn.ReLU()))
    shown = texts(torch.draw(model))
    assert shown.count("Sequential") == 2 and "15 parameters" in shown and "Linear" in shown and "model" in shown


def test_boxes_do_not_overlap() -> None:
    layer = torch.nn.TransformerEncoderLayer(8, 2, dropout=0.0)
    picture = torch.draw(layer, torch.zeros(3, 1, 8))
    boxes = [mark for mark in picture.marks if isinstance(mark, Rectangle)]
    assert len(boxes) > 20
    for i, a in enumerate(boxes):
        assert a.x >= 0 and a.x + a.width <= picture.width and a.y + a.height <= picture.height
        for b in boxes[i + 1 :]:
            assert a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y


def test_deep_and_large_graphs() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(900):
        y = y * 1
    assert len(texts(torch.draw(y))) == 900 + 4
    with pytest.raises(ValueError, match="limit="):
        torch.draw(y, limit=100)
    with pytest.raises(ValueError, match="no graph"):
        torch.draw(torch.ones(2))
