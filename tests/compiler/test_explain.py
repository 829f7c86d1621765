"""`explain`, `draw` and the settings that show stages: what they say, and that looking changes nothing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight import nn
from rushlight.compiler.binding import is_available
from rushlight.compiler.explain import machine
from rushlight.config import config

native = pytest.mark.skipif(not is_available(), reason="needs llvmlite")


def training() -> tuple[Any, nn.Module]:
    """A compiled step with dropout, and its model."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Dropout(0.5), nn.Linear(30, 3))
    optimizer = torch.optim.Adam(net.parameters())

    @torch.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, net


X, Y = np.ones((8, 20), np.float32), np.zeros(8, np.int64)


@native
def test_the_report_says_what_there_is() -> None:
    step, _ = training()
    assert "0 traces" in str(step.explain())
    for n in (8, 8, 5):
        step(torch.tensor(X[:n]), torch.tensor(Y[:n]))
    report = step.explain()
    assert [t.calls for t in report.traces] == [1, 2]
    assert report.traces[1].reason == "first call" and "x" in report.traces[0].reason
    products = [s for s in report.traces[1].steps if s.name.startswith("matmul")]
    assert products and all(s.seconds > 0 and s.cost.flops > 0 and s.share > 0 for s in products)
    assert all("test_explain.py" in s.where for s in products)
    shown = str(report)
    assert "trace 2: first call" in shown and "test_explain.py:" in shown and "graph:" in shown
    assert shown == repr(report)


@native
def test_looking_changes_nothing() -> None:
    left = []
    for looks in (False, True):
        step, net = training()
        losses = []
        for _ in range(3):
            losses.append(step(torch.tensor(X), torch.tensor(Y)).item())
            if looks:
                step.explain()
        left.append((losses, [p.detach().numpy().tobytes() for p in net.parameters()], torch.rand(2).tolist()))
    assert left[0] == left[1]


def test_a_function_that_runs_eagerly_says_why() -> None:
    @torch.compile
    def halve(x: Any) -> Any:
        return x / 2 if x.sum() > 1 else x

    with pytest.warns(UserWarning, match="it runs eagerly"):
        halve(torch.ones(3))
    assert "runs eagerly where it reads a value" in str(halve.explain())


def test_the_limits_of_the_machine_are_plausible() -> None:
    limits = machine()
    assert 1e8 < limits.flops < 1e15 and 1e8 < limits.bytes < 1e13


@native
def test_the_drawing_has_a_box_for_each_step(tmp_path: Path) -> None:
    step, _ = training()
    with pytest.raises(ValueError, match="call it first"):
        step.draw()
    step(torch.tensor(X), torch.tensor(Y))
    step.draw(tmp_path / "step.svg")
    root = ET.parse(tmp_path / "step.svg").getroot()
    boxes = [e for e in root.iter() if e.tag.endswith("rect")]
    assert len(boxes) == 1 + len(step.traces[0].program.steps)
    words = {e.text for e in root.iter() if e.tag.endswith("text")}
    assert any("matmul" in (w or "") for w in words) and "takes f32 [8, 20]" in words
    assert any((w or "").startswith("changes f32 [30, 20]") for w in words)
    with pytest.raises(ValueError, match="pass limit="):
        step.draw(limit=2)


@native
def test_stages_are_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step, _ = training()
    with config(debug="schedule,cache", dump=str(tmp_path / "stages"), cache=str(tmp_path / "cache")):
        step(torch.tensor(X), torch.tensor(Y))
    shown = capsys.readouterr().err
    assert "-- rushlight: schedule" in shown and re.search(r"^matmul .*: mm", shown, re.MULTILINE)
    kinds = {path.name.split("-")[1] for path in (tmp_path / "stages").iterdir()}
    assert {"trace.txt", "simplify.txt", "cse.txt", "dce.txt", "graph.txt", "schedule.txt"} <= kinds
