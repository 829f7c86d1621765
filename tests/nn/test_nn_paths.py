"""PyTorch's import paths under `nn`, and small helpers found there."""

import importlib
import pkgutil
from typing import Any

import pytest

import rushlight as torch
from rushlight import nn
from tests.nn.side_by_side import Log, compare

# What PyTorch has and Rushlight does not, each with its reason.
ABSENT = {
    "_functions": "internal",
    "linear_cross_entropy": "internal",
    "linear_cross_entropy_options": "internal",
}


def test_every_module_path_of_pytorch_has_its_public_names() -> None:
    oracle = pytest.importorskip("torch.nn.modules")
    for entry in pkgutil.iter_modules(oracle.__path__):
        if entry.name in ABSENT:
            continue
        theirs = importlib.import_module(f"torch.nn.modules.{entry.name}")
        ours = importlib.import_module(f"rushlight.nn.modules.{entry.name}")
        missing = [name for name in theirs.__all__ if not hasattr(ours, name) and not name.startswith("LinearCross")]
        assert not missing, (entry.name, missing)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("modules.module", "_IncompatibleKeys"),
        ("modules.batchnorm", "_BatchNorm"),
        ("modules.conv", "_ConvNd"),
        ("modules.dropout", "_DropoutNd"),
        ("modules.loss", "_Loss"),
        ("modules.utils", "_pair"),
        ("modules.lazy", "LazyModuleMixin"),
        ("parameter", "UninitializedParameter"),
        ("parallel", "DistributedDataParallel"),
        ("common_types", "_size_2_t"),
        ("utils.rnn", "PackedSequence"),
        ("utils.parametrize", "cached"),
        ("utils.clip_grad", "clip_grad_norm_"),
    ],
)
def test_names_that_model_code_imports_are_there(path: str, name: str) -> None:
    assert hasattr(importlib.import_module(f"rushlight.nn.{path}"), name)


def test_both_paths_give_the_same_class() -> None:
    assert torch.nn.modules.linear.Linear is nn.Linear
    assert torch.nn.modules.container.Sequential is nn.Sequential
    assert torch.nn.modules.Module is nn.Module


def test_helpers_of_modules_utils_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        u = torch.nn.modules.utils
        log(
            u._pair(3),
            u._pair((1, 2)),
            u._triple(0),
            u._single("ab"),
            u._ntuple(5)(1),
            u._reverse_repeat_tuple((1, 2), 2),
        )
        log(u._list_with_default([None, 3], [7, 8, 9]), lambda: u._list_with_default([None, 3], [7]))
        state = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Linear(1, 1))).state_dict()
        u.consume_prefix_in_state_dict_if_present(state, "module.")
        log(list(state), state._metadata)

    compare(scenario)


def test_gradients_of_convolutions_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        grad = importlib.import_module(f"{torch.__name__}.nn.grad")
        x, w, g = torch.arange(18.0).reshape(1, 2, 9), torch.arange(12.0).reshape(3, 2, 2), torch.ones(1, 3, 5)
        log(
            grad.conv1d_input(x.shape, w, g, stride=2, padding=1),
            grad.conv1d_weight(x, w.shape, g, stride=2, padding=1),
        )
        x, w, g = torch.arange(32.0).reshape(1, 2, 4, 4), torch.ones(3, 2, 2, 2), torch.ones(1, 3, 3, 3)
        log(grad.conv2d_input(x.shape, w, g), grad.conv2d_weight(x, w.shape, g))
        x, w, g = torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)
        log(grad.conv3d_input(x.shape, w, g), grad.conv3d_weight(x, w.shape, g))

    compare(scenario)


def test_factory_kwargs_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        f = torch.nn.factory_kwargs
        log(f(None), f({"dtype": torch.float64}), f({"factory_kwargs": {"device": "cpu"}}))
        log(lambda: f({"foo": 1}), lambda: f({"dtype": 1, "factory_kwargs": {"dtype": 1}}))

    compare(scenario)


def test_the_choice_of_attentions_kernel() -> None:
    SDPBackend, sdpa_kernel = nn.attention.SDPBackend, nn.attention.sdpa_kernel
    q = torch.ones(1, 2, 4, 8)
    switches = torch.backends.cuda
    for backend in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION]):
        with sdpa_kernel(backend, set_priority=True):
            assert nn.functional.scaled_dot_product_attention(q, q, q).sum() == 64
            assert switches.math_sdp_enabled() is (backend is SDPBackend.MATH)
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION), pytest.raises(RuntimeError, match="No viable backend"):
        nn.functional.scaled_dot_product_attention(q, q, q)
    assert switches.math_sdp_enabled() and switches.flash_sdp_enabled()
    with pytest.raises(AssertionError, match="got str"), sdpa_kernel("math"):  # type: ignore[arg-type]
        pass
    assert (int(SDPBackend.MATH), repr(SDPBackend(1))) == (0, "<SDPBackend.FLASH_ATTENTION: 1>")


@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.1}])
def test_the_loss_of_probabilities_is_named_as_pytorchs(options: dict[str, object]) -> None:
    oracle = pytest.importorskip("torch")
    names = []
    for m in (oracle, torch):
        x = m.zeros(3, 4, requires_grad=True)
        loss = m.nn.functional.cross_entropy(x, m.full((3, 4), 0.25), **options)
        names.append((type(loss.grad_fn).__name__, loss.tolist()))
    assert names[0][0] == names[1][0]
    assert names[1][1] == pytest.approx(names[0][1])
