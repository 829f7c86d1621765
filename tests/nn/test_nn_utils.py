"""`nn.utils`: clipping, vectors, packing, stateless calls, parametrizations, norms, fusion; against PyTorch."""

import copy
import pickle
import warnings
from typing import Any

import pytest

import rushlight as torch
from rushlight import nn
from tests.nn.side_by_side import Log, compare


def rounded(tensor: Any) -> Any:
    """Nested lists of `tensor` with all its digits, rounded far below the tolerance so that -0.0 and 1e-9 are 0.0."""

    def walk(value: Any) -> Any:
        return [walk(v) for v in value] if isinstance(value, list) else f"{round(value, 6) + 0.0:.6f}"

    return walk(tensor.detach().tolist())


def _parameters(torch: Any, *gradients: Any) -> list[Any]:
    out = []
    for gradient in gradients:
        p = torch.nn.Parameter(torch.zeros(len(gradient) if gradient else 1))
        if gradient:
            p.grad = torch.tensor(gradient)
        out.append(p)
    return out


def test_clipping_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        utils = torch.nn.utils
        for order in (2.0, 1, float("inf"), "inf", 0, 3, -1.0, float("-inf")):
            ps = _parameters(torch, [3.0, 4.0], [5.0], None)
            log(rounded(utils.clip_grad_norm_(ps, 1.0, order)), [p.grad is None or rounded(p.grad) for p in ps])
        ps = _parameters(torch, [3.0, 4.0])
        log(utils.clip_grad_norm_(ps, 10.0), ps[0].grad, utils.clip_grad_norm_(ps[0], 0.5), ps[0].grad)
        log(utils.clip_grad_norm_((p for p in ps), 1), utils.clip_grad_norm_([], 1.0), utils.clip_grad_norm(ps, 0.1))
        nan = _parameters(torch, [float("nan")])
        log(lambda: utils.clip_grad_norm_(nan, 1.0, error_if_nonfinite=True), utils.clip_grad_norm_(nan, 1.0))
        ps = _parameters(torch, [3.0, -4.0, 0.5], None)
        log(utils.clip_grad_value_(ps, 1.0), ps[0].grad)
        log(utils.get_total_norm([torch.ones(3), torch.ones(1)]), utils.get_total_norm([]))
        log(utils.clip_grads_with_norm_(ps, 1.0, torch.tensor(5.0)), ps[0].grad)

    compare(scenario)


def test_vectors_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        utils = torch.nn.utils
        ps = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.zeros(3))]
        vector = utils.parameters_to_vector(ps)
        log(vector)
        (vector * torch.arange(7.0)).sum().backward()
        log(ps[0].grad, ps[1].grad)
        new = torch.arange(7.0)
        utils.vector_to_parameters(new, ps)
        new[0] = 9
        log(ps, lambda: utils.vector_to_parameters([1], ps), lambda: utils.parameters_to_vector([]))
        log(lambda: utils.vector_to_parameters(torch.ones(3), ps))

    compare(scenario)


def test_packing_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        rnn = torch.nn.utils.rnn
        pack, pad = rnn.pack_padded_sequence, rnn.pad_packed_sequence
        x = torch.arange(12.0).reshape(3, 2, 2).requires_grad_()
        packed = pack(x, [3, 1])
        log(packed, pad(packed), pad(packed, batch_first=True, padding_value=-1, total_length=4))
        (pad(packed)[0] * torch.arange(12.0).reshape(3, 2, 2)).sum().backward()
        log(x.grad)
        mixed = pack(x.detach(), torch.tensor([1, 3]), enforce_sorted=False)
        log(mixed, pad(mixed), pad(mixed, batch_first=True), pack(x.detach(), [2, 2, 1], batch_first=True))
        for lengths in ([1, 3], [3], [3, 0], (2, 2), torch.tensor([3, 2])):
            log(lambda n=lengths: pack(x.detach(), n))
        log(lambda: pack(torch.ones(0, 2), [0, 0]), lambda: pack(x, [2, 1], batch_first=True))
        log(lambda: pad(mixed, total_length=2), lambda: rnn.PackedSequence(torch.ones(3)), len(mixed), mixed.is_cuda)
        log(mixed.double(), mixed.to("cpu") is mixed, mixed.to(torch.float32) is mixed, mixed.long().data.dtype)
        log(rnn.invert_permutation(torch.tensor([2, 0, 1])), rnn.PackedSequence(torch.ones(2), torch.tensor([1, 1])))
        log(rnn.PackedSequence(torch.ones(3), torch.tensor([2, 1]), torch.tensor([1, 0])), isinstance(mixed, tuple))
        log(pickle.loads(pickle.dumps(mixed)).batch_sizes, copy.deepcopy(mixed).data)

    compare(scenario)


def test_padding_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        rnn = torch.nn.utils.rnn
        a, b = torch.ones(2, 2, requires_grad=True), torch.full((3, 2), 2.0)
        log(rnn.pad_sequence([a, b]), rnn.pad_sequence([a, b], batch_first=True, padding_value=7))
        rnn.pad_sequence([a, b]).sum().backward()
        log(a.grad, rnn.pad_sequence([torch.ones(2), torch.ones(3)], batch_first=True, padding_side="left"))
        for wrong in ([], 3, [torch.ones(2, 2), torch.ones(3, 3)], [torch.ones(2, 2), torch.ones(3)]):
            log(lambda w=wrong: rnn.pad_sequence(w))
        log(lambda: rnn.pad_sequence([b], padding_side="up"), rnn.pad_sequence(torch.ones(2, 2)))
        log(rnn.pad_sequence([torch.tensor([1]), torch.tensor([1.5, 2])]))
        log(rnn.pack_sequence([torch.ones(2), torch.zeros(3)], enforce_sorted=False))
        log(lambda: rnn.pack_sequence([torch.ones(2), torch.zeros(3)]))
        log(rnn.unpack_sequence(rnn.pack_sequence([torch.ones(2), torch.zeros(3)], enforce_sorted=False)))
        log(rnn.unpad_sequence(torch.arange(6.0).reshape(2, 3), torch.tensor([1, 3]), batch_first=True))

    compare(scenario)


def test_a_length_beyond_the_batch_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="got length 4"):
        nn.utils.rnn.pack_padded_sequence(torch.ones(3, 2), [4, 2])


def test_functional_call_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Tied(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a = torch.nn.Parameter(torch.ones(1))
                self.b = self.a
                self.register_buffer("c", torch.ones(1))

            def forward(self, x: Any = 0, k: int = 0) -> Any:
                self.c = self.c + 1
                return x + self.a + 10 * self.b + 100 * self.c + k

        call, zero, one = torch.nn.utils.stateless.functional_call, torch.zeros(1), torch.ones(1)
        m = Tied()
        log(call(m, {"a": zero}, zero), call(m, {"a": zero}, (zero,), {"k": 1}, tie_weights=False))
        log(lambda: call(m, {"a": zero, "b": one}, ()), call(m, {"a": zero, "b": one}, (), tie_weights=False))
        log(lambda: call(m, {"zz": zero}, ()), lambda: call(m, {"zz": zero, "y": one}, (), strict=True))
        log(lambda: call(m, {"a": zero}, (), strict=True), lambda: call(m, {"a": 3}, ()), call(m, {}), m.c, m.a)
        given = {"c": torch.zeros(1)}
        log(call(m, given, ()), m.c, given, m.a is m.b, type(m.a).__name__)
        s = torch.nn.Sequential(Tied(), torch.nn.Sequential(Tied()))
        w = torch.full((1,), 2.0, requires_grad=True)
        call(s, {"1.0.a": w}, (zero,)).sum().backward()
        log(w.grad, s[1][0].a.grad, lambda: call(s, {"9.a": w}, (zero,)))

    compare(scenario)


def test_the_module_gets_its_tensors_back_after_an_error() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self) -> Any:
            raise ValueError("broken")

    m = Fails()
    w = m.w
    with pytest.raises(ValueError, match="broken"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.stateless.functional_call(m, {"w": torch.zeros(1)})
    assert m.w is w


def _parametrizations(torch: Any) -> Any:
    class Kinds:
        class Symmetric(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return x.triu() + x.triu(1).T

            def right_inverse(self, a: Any) -> Any:
                return a.triu()

        class Twice(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return x * 2

        class Sum(torch.nn.Module):
            def forward(self, a: Any, b: Any) -> Any:
                return a + b

            def right_inverse(self, x: Any) -> Any:
                return x / 2, x / 2

        class Number(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return 3

        class Wide(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return x.double()

        class Row(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return x[0]

        class BadInverse(Twice):
            def right_inverse(self, x: Any) -> Any:
                return 3

        class WideInverse(Twice):
            def right_inverse(self, x: Any) -> Any:
                return x.double()

    return Kinds


def test_parametrize_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P, Kinds = torch.nn.utils.parametrize, _parametrizations(torch)
        m = torch.nn.Linear(3, 3)
        weight = m.weight
        log(P.register_parametrization(m, "weight", Kinds.Symmetric()) is m, m, type(m).__name__, list(m.state_dict()))
        log(rounded(m.weight), m.parametrizations.weight.original is weight, isinstance(m, torch.nn.Linear))
        log(P.is_parametrized(m), P.is_parametrized(m, "bias"), P.is_parametrized(m, "weight"))
        log(P.type_before_parametrizations(m), m.parametrizations.weight, m.parametrizations["weight"][0])
        m.weight = torch.ones(3, 3)
        log(m.weight, m.parametrizations.weight.original)
        with P.cached():
            log(m.weight is m.weight)
        log(m.weight is m.weight, copy.deepcopy(m), m(torch.ones(1, 3)).shape)
        m(torch.ones(1, 3)).sum().backward()
        log(m.parametrizations.weight.original.grad)
        log(lambda: P.register_parametrization(m, "zz", Kinds.Twice()), lambda: P.remove_parametrizations(m, "bias"))
        P.register_parametrization(m, "weight", Kinds.Twice())
        log(m.weight, m, lambda: setattr(m, "weight", torch.ones(3, 3)))
        for kind in (Kinds.Wide, Kinds.Row, Kinds.Number):
            log(lambda k=kind: P.register_parametrization(torch.nn.Linear(2, 2), "weight", k()))
        for kind in (Kinds.BadInverse, Kinds.WideInverse):
            log(lambda k=kind: P.register_parametrization(torch.nn.Linear(2, 2), "weight", k()))
        log(P.remove_parametrizations(m, "weight"), m.weight, m.weight is weight)
        log(type(m), hasattr(m, "parametrizations"))
        log(P.register_parametrization(torch.nn.Linear(2, 2), "weight", Kinds.Wide(), unsafe=True).weight.dtype)

    compare(scenario)


def test_parametrizing_by_several_tensors_and_of_buffers_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P, Kinds = torch.nn.utils.parametrize, _parametrizations(torch)
        m = torch.nn.Linear(2, 2)
        P.register_parametrization(m, "weight", Kinds.Sum())
        m.weight = torch.ones(2, 2)
        log(m.state_dict()["parametrizations.weight.original0"], m.weight, [n for n, _ in m.named_parameters()])
        log(lambda: P.remove_parametrizations(m, "weight", leave_parametrized=False))
        log(P.remove_parametrizations(m, "weight").weight, [n for n, _ in m.named_parameters()])
        b = torch.nn.BatchNorm1d(2)
        P.register_parametrization(b, "running_var", Kinds.Twice())
        log(list(b.state_dict()), b.running_var, [n for n, _ in b.named_buffers()])
        P.remove_parametrizations(b, "running_var", leave_parametrized=False)
        log(list(b.state_dict()), b.running_var)

    compare(scenario)


def test_transferring_parametrizations_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P, Kinds = torch.nn.utils.parametrize, _parametrizations(torch)
        source, target = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        P.register_parametrization(source, "weight", Kinds.Symmetric())
        source.weight = torch.ones(2, 2)
        P.transfer_parametrizations_and_params(source, target)
        log(target, target.weight, target.parametrizations.weight.original)

    compare(scenario)


def test_parametrized_modules_refuse_pickling() -> None:
    m = nn.Linear(2, 2)
    nn.utils.parametrize.register_parametrization(m, "weight", _parametrizations(torch).Twice())
    with pytest.raises(RuntimeError, match=r"only supported through state_dict\(\)"):
        pickle.dumps(m)


@pytest.mark.parametrize("dim", [0, 1, None, -1])
def test_weight_norm_agrees_with_pytorch(dim: Any) -> None:
    def scenario(torch: Any, log: Log) -> None:
        for norm in (torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm):
            m = torch.nn.Linear(3, 2)
            with torch.no_grad():
                m.weight.copy_(torch.arange(1.0, 7.0).reshape(2, 3))
            log(norm(m, dim=dim), list(m.state_dict()), rounded(m.weight))
            (m(torch.ones(1, 3)) ** 2).sum().backward()
            log([(n, rounded(p), rounded(p.grad)) for n, p in m.named_parameters()])

    compare(scenario)


def test_older_weight_norm_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        utils = torch.nn.utils
        m = utils.weight_norm(torch.nn.Linear(2, 3))
        with torch.no_grad():
            m.weight_g.fill_(2.0)
        m(torch.ones(1, 2))
        log(rounded(m.weight.norm(dim=1)), type(m.weight).__name__, lambda: utils.weight_norm(m))
        log(utils.remove_weight_norm(m) is m, list(m.state_dict()), lambda: utils.remove_weight_norm(m))
        modern = utils.parametrizations.weight_norm(torch.nn.Linear(1, 1))
        old = {"weight_g": torch.ones(1, 1), "weight_v": torch.full((1, 1), 3.0), "bias": torch.zeros(1)}
        log(modern.load_state_dict(old), modern.state_dict())

    compare(scenario)


def test_spectral_norm_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        utils, x = torch.nn.utils, torch.ones(1, 3)
        for norm in (utils.spectral_norm, utils.parametrizations.spectral_norm):
            torch.manual_seed(3)
            m = torch.nn.Linear(3, 2)
            norm(m)
            log(m, list(m.state_dict()), m.state_dict()._metadata, [rounded(v) for v in m.state_dict().values()])
            m(x).sum().backward()
            log(rounded(m(x)), [(n, rounded(p.grad)) for n, p in m.named_parameters()])
            m.eval()
            log(rounded(m(x)), rounded(m(x)), lambda f=norm: f(torch.nn.Linear(2, 2), n_power_iterations=0))
        old = utils.spectral_norm(torch.nn.Linear(2, 2))
        log(lambda: utils.spectral_norm(old), old.load_state_dict(old.state_dict()))
        log(utils.remove_spectral_norm(old), list(old.state_dict()), lambda: utils.remove_spectral_norm(old))
        log(old._state_dict_hooks, old._forward_pre_hooks)
        transposed = utils.spectral_norm(torch.nn.ConvTranspose1d(2, 3, 3))
        log(transposed.weight_u.shape, transposed.weight_v.shape)
        log(lambda: utils.parametrizations.spectral_norm(old, "zz"))
        log(rounded(utils.parametrizations.spectral_norm(torch.nn.Linear(2, 2), "bias").bias))

    compare(scenario)


@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (4, 2)])
def test_orthogonal_agrees_with_pytorch(kind: str, sizes: tuple[int, int]) -> None:
    def scenario(torch: Any, log: Log) -> None:
        for from_base in (True, False):
            torch.manual_seed(1)
            m = torch.nn.Linear(*sizes)
            torch.nn.utils.parametrizations.orthogonal(m, orthogonal_map=kind, use_trivialization=from_base)
            log(m, list(m.state_dict()))
            if sizes[0] == sizes[1] or not from_base:
                # Otherwise a random basis is completed, whose numbers depend on the QR routine.
                log(rounded(m.weight), rounded(m.parametrizations.weight.original))
            w = m.weight
            gram = w @ w.T if sizes[1] <= sizes[0] else w.T @ w
            log(rounded((gram - torch.eye(len(gram))).abs() + 1))
            (w * torch.arange(float(w.numel())).reshape(w.shape)).sum().backward()
            if not from_base:
                log(rounded(m.parametrizations.weight.original.grad))
        log(lambda: setattr(m, "weight", torch.eye(sizes[1], sizes[0])))
        log(lambda: rounded(m.weight) if kind == "householder" else None)

    compare(scenario)


def test_orthogonal_errors_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        orthogonal, m = torch.nn.utils.parametrizations.orthogonal, torch.nn.Linear(2, 2)
        log(lambda: orthogonal(m, orthogonal_map="foo"), lambda: orthogonal(m, "bias"), lambda: orthogonal(m, "zz"))
        orthogonal(m)
        log(lambda: setattr(m, "weight", torch.ones(2, 3)))
        m.weight = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        log(rounded(m.weight))

    compare(scenario)


def test_fusion_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        utils, nn = torch.nn.utils, torch.nn
        x = torch.arange(32.0).reshape(1, 2, 4, 4) / 10
        for conv in (nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 1, bias=False), nn.ConvTranspose2d(2, 3, 2)):
            bn = nn.BatchNorm2d(3).eval()
            with torch.no_grad():
                bn.running_mean.copy_(torch.arange(3.0))
                bn.running_var.copy_(torch.arange(1.0, 4.0))
            fused = utils.fuse_conv_bn_eval(conv.eval(), bn, transpose=isinstance(conv, nn.ConvTranspose2d))
            log(bool(((fused(x) - bn(conv(x))).abs() < 1e-4).all()), type(fused.bias).__name__, rounded(fused.bias))
        bn, linear = nn.BatchNorm1d(3).eval(), nn.Linear(2, 3).eval()
        bn.running_mean.fill_(2.0)
        fused = utils.fuse_linear_bn_eval(linear, bn)
        log(rounded(fused(torch.ones(1, 2)) - bn(linear(torch.ones(1, 2)))))
        log(lambda: utils.fuse_linear_bn_eval(nn.Linear(2, 3), bn))
        log(lambda: utils.fuse_linear_bn_eval(nn.Linear(2, 2).eval(), bn))

    compare(scenario)


def test_skip_init_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        skip = torch.nn.utils.skip_init
        before = torch.get_rng_state()
        m = skip(torch.nn.Linear, 2, 3)
        log(m, m.weight.shape, torch.equal(before, torch.get_rng_state()))
        log(lambda: skip(torch.nn.ReLU), lambda: skip(3))

    compare(scenario)


def test_data_parallel_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        m = torch.nn.DataParallel(inner)
        log(m, m.module is inner, list(m.state_dict()), m.device_ids)
        log(torch.equal(m(torch.ones(1, 2)), inner(torch.ones(1, 2))))
        log(m.eval() is m, inner.training, lambda: inner.load_state_dict(m.state_dict()))

    compare(scenario)


def test_distributed_data_parallel_needs_a_process_group_as_in_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        log(lambda: torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1)))

    compare(scenario)
