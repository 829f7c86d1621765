"""Profiles: every operation and backward node once, with times that add up."""

import json
from pathlib import Path
from typing import Any

import pytest

import rushlight as torch


def work() -> Any:
    x = torch.ones(3, 4, requires_grad=True)
    y = (x * 2).view(12)
    y.add_(1)
    (y.sum() + (x @ torch.ones(4, 1)).exp().sum()).backward()
    return x.grad


def test_profile_counts_operations_and_backward_nodes() -> None:
    with torch.autograd.profiler.profile(record_shapes=True) as prof:
        work()
    counts = {e.key: e.count for e in prof.key_averages()}
    assert counts["aten::mul"] == counts["aten::add_"] == counts["aten::exp"] == 1
    assert counts["aten::sum"] == 2
    assert counts["autograd::engine::evaluate_function: ExpBackward0"] == 1
    assert counts["autograd::engine::evaluate_function: SumBackward0"] == 2
    assert next(e for e in prof.events() if e.name == "aten::mul").input_shapes[0] == [3, 4]
    before = len(prof.events())
    work()
    assert len(prof.events()) == before


def test_times_add_up_and_results_stay() -> None:
    plain = work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as prof:
        with torch.profiler.record_function("mine"):
            assert torch.equal(work(), plain)
    events = prof.events()
    mine = next(e for e in events if e.name == "mine")
    inside = sum(e.self_cpu_time_total for e in events)
    assert all(0 <= e.self_cpu_time_total <= e.cpu_time_total for e in events)
    assert inside == pytest.approx(mine.cpu_time_total, rel=1e-3)
    lines = prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=3).splitlines()
    assert lines[0].startswith("Name")
    assert len(lines) == 5


def test_chrome_trace_and_callback(tmp_path: Path) -> None:
    seen = []
    with torch.profiler.profile(on_trace_ready=seen.append) as prof:
        work()
    assert seen == [prof]
    prof.export_chrome_trace(str(tmp_path / "trace.json"))
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert {"aten::mul", "aten::exp"} <= {e["name"] for e in trace["traceEvents"]}


def test_an_error_inside_leaves_no_profile_on() -> None:
    with pytest.raises(RuntimeError), torch.autograd.profiler.profile() as prof:
        torch.ones(2) + torch.ones(3)
    count = len(prof.events())
    torch.ones(2) + torch.ones(2)
    assert len(prof.events()) == count
    with pytest.raises(NotImplementedError, match="profile_memory"):
        torch.profiler.profile(profile_memory=True)
