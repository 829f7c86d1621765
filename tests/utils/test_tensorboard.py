"""Event files: their bytes by an independent reading, and TensorBoard's own reading where it is installed."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.utils.tensorboard import SummaryWriter, records
from rushlight.utils.tensorboard.crc32c import crc32c, masked
from rushlight.utils.tensorboard.graph import graph_of


def test_checksums() -> None:
    # The test vectors of RFC 3720, appendix B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E and crc32c(b"") == 0 and crc32c(b"123456789") == 0xE3069283
    data = np.random.default_rng(0).integers(0, 256, 9001, dtype=np.uint8).tobytes()
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    assert crc32c(data) == value ^ 0xFFFFFFFF
    assert masked(b"") == 0xA282EAD8


def fields(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol buffer message, by number."""
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value: Any = varint()
        elif key & 7 == 1:
            value, at = struct.unpack("<d", data[at : at + 8])[0], at + 8
        elif key & 7 == 5:
            value, at = struct.unpack("<f", data[at : at + 4])[0], at + 4
        else:
            length = varint()
            value, at = data[at : at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def read(folder: Path) -> list[dict[int, list[Any]]]:
    return [fields(record) for path in sorted(folder.glob("events*")) for record in records(path)]


def written(folder: Path) -> SummaryWriter:
    writer = SummaryWriter(folder)
    writer.add_scalar("loss", torch.tensor(0.5), 3, walltime=7.0)
    writer.add_scalar("new", 2.5, -1, new_style=True)
    writer.add_text("note", "hello", 1)
    writer.add_histogram("weights", torch.tensor([-1.0, 0.0, 2.0, 2.0]), 4)
    writer.add_image("picture", torch.zeros(3, 4, 5), 5)
    writer.add_images("pictures", torch.ones(9, 1, 2, 2), 6)
    writer.add_audio("sound", torch.zeros(1, 8), 7)
    writer.flush()
    return writer


def test_events_by_an_independent_reading(tmp_path: Path) -> None:
    writer = written(tmp_path)
    version, loss, new, note, weights, picture, pictures, sound = read(tmp_path)
    writer.close()
    assert version[3] == [b"brain.Event:2"]
    assert loss[1] == [7.0] and loss[2] == [3]
    assert fields(fields(loss[5][0])[1][0]) == {1: [b"loss"], 2: [0.5]}
    assert new[2] == [2**64 - 1]
    tensor = fields(fields(fields(new[5][0])[1][0])[8][0])
    assert tensor[1] == [1] and struct.unpack("<f", tensor[5][0]) == (2.5,)
    value = fields(fields(note[5][0])[1][0])
    assert value[1] == [b"note/text_summary"] and fields(value[8][0])[8] == [b"hello"]
    histogram = fields(fields(fields(weights[5][0])[1][0])[5][0])
    assert [histogram[k][0] for k in range(1, 6)] == [-1.0, 2.0, 4.0, 3.0, 9.0]
    counts = np.frombuffer(histogram[7][0])
    limits = np.frombuffer(histogram[6][0])
    assert counts.sum() == 4 and len(counts) == len(limits) and counts[0] == 0 and counts[-1] == 2
    shown = fields(fields(fields(picture[5][0])[1][0])[4][0])
    assert (shown[1], shown[2], shown[3]) == ([4], [5], [3]) and shown[4][0].startswith(b"\x89PNG")
    grid = fields(fields(fields(pictures[5][0])[1][0])[4][0])
    assert (grid[1], grid[2]) == ([4], [16])
    start = grid[4][0].index(b"IDAT") + 4
    pixels = np.frombuffer(zlib.decompress(grid[4][0][start:-16]), np.uint8).reshape(4, 1 + 16 * 3)[:, 1:]
    assert pixels[:2].min() == 255 and pixels[2:, 6:].max() == 0
    assert fields(fields(fields(sound[5][0])[1][0])[6][0])[5] == [b"audio/wav"]


def test_scalars_and_settings_get_runs_of_their_own(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "run", purge_step=2) as writer:
        writer.add_scalars("a/b", {"train": 1.0, "test": 2.0}, 0)
        writer.add_hparams({"lr": 0.1, "name": "x", "deep": True}, {"accuracy": 0.9}, run_name="one")
        assert writer.get_logdir() == str(tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir() if p.is_dir()} == {"a_b_train", "a_b_test", "one"}
    tags = [fields(fields(e[5][0])[1][0])[1][0] for e in read(tmp_path / "run" / "one")[1:]]
    names = ["experiment", "session_start_info", "session_end_info"]
    assert tags == [f"_hparams_/{name}".encode() for name in names] + [b"accuracy"]
    assert read(tmp_path / "run")[1][7] == [b"\x08\x01"]


def test_a_damaged_or_unfinished_file(tmp_path: Path) -> None:
    written(tmp_path).close()
    path = next(tmp_path.glob("events*"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert len(list(records(path))) == 7
    path.write_bytes(whole[:40] + b"\xff" + whole[41:])
    with pytest.raises(ValueError, match="checksum"):
        list(records(path))


def test_what_is_refused(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for name in ("add_onnx_graph", "add_embedding", "add_video", "add_mesh", "add_pr_curve"):
            with pytest.raises(NotImplementedError, match=name):
                getattr(writer, name)(None)
        with pytest.raises(AssertionError):
            writer.add_scalar("x", torch.ones(2))
        with pytest.raises(ValueError, match="no element"):
            writer.add_histogram("x", torch.ones(0))
        with pytest.raises(AssertionError):
            writer.add_image("x", torch.ones(2, 2))


def test_tensorboard_reads_them(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = written(tmp_path)
    writer.add_hparams({"lr": 0.1, "name": "x", "deep": True}, {"accuracy": 0.9}, {"lr": [0.1, 0.2]}, "one")
    writer.close()
    found = loading.EventAccumulator(str(tmp_path))
    found.Reload()
    tags = found.Tags()
    assert set(tags["images"]) == {"picture", "pictures"} and tags["audio"] == ["sound"]
    assert found.Scalars("loss")[0].value == 0.5 and found.Scalars("loss")[0].step == 3
    assert found.Histograms("weights")[0].histogram_value.num == 4
    assert found.Images("pictures")[0].width == 16
    assert found.Tensors("note/text_summary")[0].tensor_proto.string_val[0] == b"hello"
    plugin = __import__("tensorboard.plugins.hparams.plugin_data_pb2", fromlist=["HParamsPluginData"])
    below = loading.EventAccumulator(str(tmp_path / "one"))
    below.Reload()
    content = below.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    chosen = plugin.HParamsPluginData.FromString(content).session_start_info.hparams
    assert chosen["lr"].number_value == 0.1 and chosen["name"].string_value == "x" and chosen["deep"].bool_value
    experiment = below.SummaryMetadata("_hparams_/experiment").plugin_data.content
    assert plugin.HParamsPluginData.FromString(experiment).experiment.metric_infos[0].name.tag == "accuracy"


def test_histograms_are_those_of_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    reference = pytest.importorskip("torch.utils.tensorboard.summary")
    values = np.random.default_rng(1).standard_normal(200).astype(np.float32)
    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("x", values)
        writer.add_histogram("y", values, bins="auto", max_bins=4)
    ours = [e[5][0] for e in read(tmp_path)[1:]]
    theirs = [
        reference.histogram("x", values, reference.np.array(writer_bins())).SerializeToString(),
        reference.histogram("y", values, "auto", 4).SerializeToString(),
    ]
    for a, b in zip(ours, theirs, strict=True):
        a, b = (fields(fields(fields(m)[1][0])[5][0]) for m in (a, b))
        np.testing.assert_allclose(np.frombuffer(a[7][0]), np.frombuffer(b[7][0]))
        np.testing.assert_allclose(np.frombuffer(a[6][0]), np.frombuffer(b[6][0]))


def writer_bins() -> list[float]:
    from rushlight.utils.tensorboard.summaries import default_bins

    return default_bins()


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Dropout(0.5))
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x: Any, y: Any) -> Any:
        return self.head(self.body(x)) + self.head(self.body(y)).chunk(2, 1)[1]


def test_a_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Net()
    with SummaryWriter(tmp_path) as writer:
        writer.add_graph(model, (torch.zeros(5, 4), torch.ones(5, 4)), verbose=True)
    assert "relu" in capsys.readouterr().out
    assert model.training and not model._forward_hooks and not model.head._forward_hooks
    graph = fields(read(tmp_path)[1][4][0])
    assert fields(graph[4][0]) == {1: [22]}
    nodes = {fields(node)[1][0].decode(): fields(node) for node in graph[1]}
    assert {"input/input.0", "input/input.1", "output/output.1", "Net/Linear[head]/weight"} <= nodes.keys()
    relu = next(node for name, node in nodes.items() if name.startswith("Net/Sequential[body]/ReLU[1]/relu"))
    assert relu[2] == [b"aten::relu"]
    shape = fields(fields(fields(fields(relu[5][0])[2][0])[1][0])[7][0])[2]
    assert [fields(dim)[1][0] for dim in shape] == [5, 3]
    inputs = {name: [i.decode().partition(":")[0] for i in node.get(3, [])] for name, node in nodes.items()}
    assert all(source in nodes for sources in inputs.values() for source in sources)
    seen, todo = set(), ["output/output.1"]
    while todo:
        name = todo.pop()
        seen.add(name)
        todo.extend(source for source in inputs[name] if source not in seen)
    assert {"input/input.0", "input/input.1", "Net/Linear[head]/bias", "Net/Sequential[body]/Linear[0]/weight"} <= seen
    assert not [name for name in nodes if "constant" in name]
    with SummaryWriter(tmp_path) as writer, pytest.raises(TypeError, match="Module"):
        writer.add_graph(3)


@pytest.mark.parametrize("kind", ["conv", "lstm", "transformer"])
def test_graphs_of_larger_models_hang_together(kind: str) -> None:
    nn = torch.nn
    model, x = {
        "conv": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten()), (1, 1, 8, 8)),
        "lstm": (nn.LSTM(4, 3, batch_first=True), (2, 5, 4)),
        "transformer": (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), (2, 5, 8)),
    }[kind]
    nodes = graph_of(model, torch.zeros(x))
    sources = {name.partition(":")[0] for node in nodes for name in node.inputs}
    assert sources <= {node.name for node in nodes}
    assert "input/input.0" in sources
    assert sum(node.op == "Parameter" for node in nodes) >= len(list(model.parameters()))
    constants = [node for node in nodes if node.op == "Constant" and node.shapes[0]]
    assert len(constants) == (2 if kind == "lstm" else 0), "no link is lost; an LSTM's first states are constants"
