"""Views, strides and copies: shape functions share memory exactly where PyTorch's do."""

import pytest

from tests.tensor.side_by_side import agree, lines

X = "x = torch.arange(24.0).view(2, 3, 4); "
BASES = (
    "torch.arange(24.0).view(2, 3, 4)", "torch.arange(24.0).view(4, 3, 2).permute(2, 1, 0)", "torch.arange(48.0).view(2, 3, 8)[..., ::2]",
    "torch.arange(12.0).view(1, 3, 4).expand(2, 3, 4)", "torch.arange(24.0).view(2, 4, 3).transpose(1, 2)",
)  # fmt: skip
SHARED = lines("""
«view(6, 4)¦view(24)¦view(-1)¦view(2, -1)¦view(2, 3, 2, 2)¦view((4, 6))¦view(torch.Size([24]))¦view(2, 3, 1, 4)»
«reshape(6, 4)¦reshape(-1)¦reshape(4, 6)¦reshape(2, 3, 4)¦reshape((3, 8))¦reshape(2, 12)»
«flatten()¦flatten(1)¦flatten(0, 1)¦flatten(1, -1)¦ravel()¦unflatten(2, (2, 2))¦unflatten(-1, (-1, 2))»
«squeeze()¦unsqueeze(0)¦unsqueeze(-1)¦unsqueeze(1)¦unsqueeze(0).squeeze(0)¦squeeze(1)¦unsqueeze(2).squeeze((2,))»
«transpose(0, 1)¦transpose(-1, 0)¦swapaxes(0, 2)¦permute(2, 0, 1)¦permute((1, 2, 0))¦permute(0, -1, 1)¦movedim(0, 2)¦movedim((0, 1), (1, 2))¦moveaxis(-1, 0)¦mT¦T¦mH»
«expand(5, 2, 3, 4)¦expand(-1, -1, 4)¦expand_as(torch.zeros(1, 2, 3, 4))¦broadcast_to((2, 2, 3, 4))¦repeat(1, 2, 1)¦repeat(2, 1, 1, 1)¦tile(2)¦tile((1, 2))¦tile(2, 1, 1, 1)»
«narrow(1, 1, 2)¦narrow(-1, 0, 3)¦select(0, 1)¦select(2, -1)¦unfold(2, 2, 1)¦unfold(1, 3, 1)¦unfold(2, 2, 2)¦diagonal()¦diagonal(1, 1, 2)¦diagonal(0, 0, 2)¦diagonal(offset=-1, dim1=1, dim2=2)»
«split(2)¦split(2, 1)¦split([1, 2], dim=1)¦chunk(2, 2)¦chunk(3, 1)¦chunk(4, 1)¦tensor_split(3, 2)¦tensor_split((1, 3), 2)¦unbind()¦unbind(1)¦hsplit(3)¦dsplit(2)¦split_with_sizes([1, 3], 2)»
«flip(0)¦flip(0, 1)¦flip((-1,))¦roll(1)¦roll(1, 0)¦roll((1, -1), (0, 2))¦rot90()¦rot90(2, (1, 2))¦rot90(-1)¦fliplr()¦flipud()»
«contiguous()¦clone()¦detach()¦data¦real¦float()¦to(torch.float32)¦double()¦type_as(torch.zeros(1))¦to("cpu")¦cpu()¦contiguous().view(-1)¦abs()¦to(torch.float32, copy=True)»
«as_strided((2, 2), (4, 1))¦as_strided((3,), (2,), 5)¦as_strided((2, 3), (0, 1))¦as_strided((), ())»
«[0]¦[1, 2]¦[..., 0]¦[:, 1:]¦[:, ::2]¦[None]¦[..., None]¦[:, [0, 2]].contiguous()¦[torch.tensor([1, 0])].contiguous()¦[x > 100]¦[()]¦[...]»
""")


def shared() -> list[str]:
    """Programs that also say whether the result shares the operand's memory, and show a write through it."""
    programs = []
    for base in BASES:
        for call in SHARED:
            call = call if call.startswith("[") else "." + call
            programs.append(
                f"x = {base}; y = x{call}; z = y[0] if isinstance(y, tuple) else y; "
                "(y, z.untyped_storage().data_ptr() == x.untyped_storage().data_ptr(), z.is_contiguous(), x.is_contiguous(), "
                "z._is_view(), z._base is x, z is x)"
            )
    return programs


PROGRAMS = [X + p for p in lines("""
x.view(«5, 5¦-1, -1¦7, -1¦-2¦2, 3, 5¦0, -1¦(24, )¦[2, 12]»)
x.t()
x.transpose(0, 2).view(-1)
x.transpose(0, 2).view(4, 6)
x.permute(«0, 1¦0, 0, 1¦0, 1, 3¦2, 1, 0»)
x.reshape(«5, 5¦-1, -1¦7, -1¦-2, 4»)
x.transpose(«0, 3¦-4, 0¦1, 1»)
x.squeeze(«3¦0¦(0, 1)»), 1
x.unsqueeze(«4¦-5¦-4¦3»)
x.expand(«3, 3, 4¦2, 3¦2, 3, -1»)
x.narrow(«1, 2, 2¦1, -1, 1¦3, 0, 1¦1, 5, 1¦1, 0, -1¦0, 2, 0»)
x.select(«0, 2¦3, 0¦0, -3¦0, -1»)
x.split(«0¦-1¦[1, 1]¦5¦2, 3»)
x.chunk(«0¦-1¦5¦1»)
x.unfold(«0, 3, 1¦0, 2, 0¦3, 1, 1»)
x.flatten(«2, 1¦3¦0, 5»)
x.unflatten(1, «(2, 2)¦(3, 1)»)
x.diagonal(«0, 0, 0¦0, 0, 5¦5»)
x.flip(«3¦0, 0»)
x.roll(«(1, 2), 0¦1, 3¦(1, 2)»)
x.movedim(«0, 3¦(0, 0), (1, 2)»)
x.repeat(«2¦2, 2¦0, 1, 1¦-1, 1, 1»)
x.tensor_split(«0¦2, 5¦[0, 1], 1»)
x.unbind(«3¦-1»)
x.as_strided(«(2, 2), (1,)¦(100,), (1,)¦(2,), (-1,)¦(2,), (1,), -1»)
x.rot90(«1, (0, 0)¦1, (0, 5)»)
x.expand(3)
x.T
x[0].T
x.H
x[0].H
x.mT.stride()
x.view(torch.«int32¦float64¦int16¦complex64¦int64¦uint8»)
x[..., :3].view(torch.float64)
x[..., ::2].view(torch.«int16¦int32»)
x.stride(), x.stride(0), x.stride(-1), x.storage_offset(), x[1].storage_offset(), x.element_size(), x.numel(), x.nelement(), x.dim(), x.ndim, x.ndimension(), x.nbytes, x.itemsize
x.stride(3)
x[1, 1:].storage_offset(), x[1, 1:].is_contiguous(), x[:, 1].is_contiguous(), x[:, :, None].is_contiguous(), x[:0].is_contiguous(), x[:1].transpose(0, 1).is_contiguous()
x.storage().size(), x.untyped_storage().nbytes(), x[1].storage().size(), x[1].untyped_storage().size(), len(x.storage()), x.storage()[5], x.storage().dtype
x.storage().data_ptr() == x.data_ptr(), x[1].data_ptr() - x.data_ptr(), x[1].untyped_storage().data_ptr() == x.data_ptr()
x.storage().tolist()[:3], x[1].storage().tolist()[:3]
s = x.storage(); s[0] = 99; x[0, 0, 0]
x.set_(torch.arange(3.0)).shape, x
y = torch.zeros(0).set_(x.storage()); y.shape
y = torch.zeros(0).set_(x.untyped_storage(), 2, (2, 3), (3, 1)); y
torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last).stride(), torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).is_contiguous(), torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).is_contiguous(memory_format=torch.channels_last)
torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last).clone().stride()
(torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last) + 1).stride()
torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last).contiguous().stride()
torch.zeros(2, 3, 4, 5).clone(memory_format=torch.channels_last).stride()
torch.zeros(2, 3, 4, 5).permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).stride()
torch.zeros(2, 3, 4).permute(2, 0, 1).clone().stride(), (torch.zeros(2, 3, 4).permute(2, 0, 1) * 2).stride(), torch.zeros(2, 3, 4).permute(2, 0, 1).to(torch.float64).stride()
torch.zeros(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d).stride()
torch.zeros(2, 3, 4).to(memory_format=torch.channels_last)
torch.contiguous_format, torch.channels_last, torch.preserve_format, torch.strided
torch.stack([x, x]).shape, torch.stack([x, x], 1).shape, torch.stack([x, x], -1).shape, torch.cat([x, x], 1).shape, torch.cat((x, x), -1).shape
torch.cat([torch.arange(2), torch.arange(2.0)]), torch.cat([torch.ones(2), torch.zeros(0)]), torch.cat([torch.ones(1, 2), torch.zeros(0)])
torch.«cat¦stack»([])
torch.cat([torch.ones(2), torch.ones(2, 2)])
torch.cat([torch.ones(2, 3), torch.ones(2, 2)], 0)
torch.cat([torch.ones(2), torch.ones(2)], 1)
torch.cat([torch.tensor(1.0), torch.tensor(2.0)])
torch.stack([torch.ones(2), torch.ones(3)])
torch.stack([torch.tensor(1), torch.tensor(2.5)])
torch.«cat¦stack»(torch.ones(2, 2))
torch.«cat¦stack»([torch.ones(2), 1])
torch.cat([x, x], dim=0, out=torch.zeros(0)).shape
torch.stack([x, x], out=torch.zeros(2, 2, 3, 4)).shape
torch.«hstack¦vstack¦dstack¦column_stack¦row_stack»([torch.arange(3), torch.arange(3) + 1])
torch.«hstack¦vstack¦dstack¦column_stack»([torch.ones(2, 2), torch.zeros(2, 2)])
torch.«hstack¦vstack¦dstack¦column_stack»([torch.tensor(1), torch.tensor(2)])
torch.«atleast_1d¦atleast_2d¦atleast_3d»(«torch.tensor(1)¦torch.arange(2)¦torch.ones(2, 2)¦torch.tensor(1), torch.arange(2)¦[torch.tensor(1)]»)
torch.broadcast_tensors(torch.arange(3), torch.zeros(2, 1))
torch.broadcast_shapes(«(2, 1), (3,)¦()¦(1,), 2»)
torch.repeat_interleave(torch.tensor([1, 2, 3]), «2¦torch.tensor([1, 0, 2])¦torch.tensor([2])»)
torch.repeat_interleave(torch.arange(4).view(2, 2), «2¦2, dim=0¦torch.tensor([1, 2]), dim=1¦torch.tensor([1, 2, 3]), dim=1»)
torch.repeat_interleave(torch.tensor([0, 2, 1]))
torch.tril(torch.ones(3, 3)), torch.triu(torch.ones(3, 4), 1), torch.tril(torch.ones(2, 3, 3), -1)
torch.tril(torch.ones(3))
torch.diag(torch.arange(3)), torch.diag(torch.arange(9).view(3, 3)), torch.diag(torch.arange(2), 1), torch.diag(torch.arange(6).view(2, 3), -1)
torch.diag(x)
torch.diag_embed(torch.arange(4).view(2, 2)), torch.diag_embed(torch.arange(2), 1), torch.diagflat(torch.arange(4).view(2, 2))
torch.unsqueeze(x, 0).shape, torch.squeeze(torch.zeros(1, 2, 1)).shape, torch.transpose(x, 0, 1).shape, torch.permute(x, (2, 1, 0)).shape, torch.flatten(x, 1).shape, torch.reshape(x, (6, 4)).shape, torch.movedim(x, 0, 1).shape, torch.swapdims(x, 0, 1).shape, torch.unflatten(x, 1, (3, 1)).shape
torch.view_as_real(torch.tensor([1+2j])), torch.view_as_complex(torch.tensor([[1.0, 2.0]])), torch.view_as_real(torch.ones(2))
torch.view_as_complex(torch.ones(3))
torch.tensor(5).expand(3), torch.tensor(5).view(1, 1), torch.tensor(5).reshape(-1), torch.tensor(5).unsqueeze(0), torch.tensor(5).T, torch.tensor(5).flatten(), torch.tensor(5).squeeze(), torch.tensor(5).repeat(2), torch.tensor(5).t()
torch.tensor(5).«unbind()¦split(1)¦chunk(1)¦transpose(0, 1)¦permute(0)¦flip(0)¦expand(2, 2)¦narrow(0, 0, 1)¦select(0, 0)¦squeeze(0)¦squeeze(1)¦unsqueeze(1)¦size(0)¦stride(0)»
x.unsqueeze_(0).shape, x.squeeze_().shape, x.transpose_(0, 1).shape, x.t_ if False else 0
x.resize_(2, 3).tolist(), x.resize_((20,)).tolist(), x.resize_((30,)).shape
x[0].t_().stride()
x.new_zeros(2).stride(), x.resize_as_(torch.zeros(6, 4)).shape
x.sum_to_size(1, 3, 1), x.view_as(torch.zeros(6, 4)).shape, x.reshape_as(torch.zeros(4, 6)).shape
x.fill_diagonal_(1) if False else torch.zeros(3, 3).fill_diagonal_(5)
torch.zeros(5, 3).fill_diagonal_(1, wrap=True)
x.index_select(1, torch.tensor([0, 2])).stride(), x.gather(2, torch.zeros(2, 3, 1, dtype=torch.int64)).shape
x.select_scatter(torch.zeros(3, 4), 0, 1), x.slice_scatter(torch.zeros(2, 3, 2), 2, 1, 3), torch.zeros(3, 3).diagonal_scatter(torch.ones(3))
y = x[0]; y += 1; x[0, 0]
y = x.view(-1); x[0, 0, 0] = 7; y[0]
y = x.reshape(-1); y[0] = 5; x[0, 0, 0]
y = x.transpose(0, 2).reshape(-1); y[0] = 5; x[0, 0, 0]
y = x.expand(2, 2, 3, 4); x.add_(1); y[1, 1, 1]
y = x.detach(); y[0] = 0; x.sum(), x._version, y._version
y = x.data; y[0] = 0; x.sum(), x._version
x._version, x[0].add_(1)._version, x._version, x.view(-1)._version
y = x[0]; y._base is x, x._base, y._is_view(), x._is_view(), x.clone()._is_view()
torch.zeros(2, 0, 3).view(0), torch.zeros(2, 0).sum(1), torch.zeros(0, 3).reshape(3, 0), torch.zeros(0).view(-1), torch.zeros(0, 3).flatten(), torch.zeros(2, 0).stride()
torch.zeros(2, 0).view(-1, 0)
torch.zeros(2, 1, 3).stride(), torch.zeros(1, 1).stride(), torch.zeros(1, 3).t().stride(), torch.zeros(2, 1).expand(2, 5).stride(), torch.zeros(3)[None].stride(), torch.zeros(3)[:, None].stride()
torch.ones(3, 1).expand(3, 4)[1:].stride(), torch.zeros(4, 4)[::2, ::2].stride(), torch.zeros(4, 4)[::2, ::2].contiguous().stride()
torch.rand(4, 3).argsort(0).stride(), torch.zeros(3, 2).t().sum(0).stride(), torch.zeros(2, 3, 4).transpose(0, 2).exp().stride(), torch.zeros(2, 3).t().float().stride(), (torch.zeros(2, 3).t() > 0).stride()
(torch.zeros(2, 3) + torch.zeros(3, 2).t()).stride(), (torch.zeros(3, 2).t() * torch.zeros(3, 2).t()).stride(), (torch.zeros(3, 2).t() + torch.zeros(1, 3)).stride(), (torch.zeros(3).expand(2, 3) * 2).stride()
torch.where(torch.zeros(3, 2).t() > 0, 1.0, torch.zeros(3, 2).t()).stride(), torch.zeros(3, 2).t().clamp(0, 1).stride(), torch.zeros(3, 2).t().mul(2).stride(), torch.zeros(3, 2).t().to(torch.int64).stride(), torch.zeros(3, 2).t().double().stride(), torch.zeros(3, 2).t().sqrt().stride(), torch.zeros(4, 2).t()[:, ::2].exp().stride()
torch.zeros(3, 2).t().flip(0).stride(), torch.zeros(3, 2).t().roll(1).stride(), torch.zeros(3, 2).t().tril().stride()
""")]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_same_as_pytorch(program: str) -> None:
    agree(program)


@pytest.mark.parametrize("program", shared())
def test_shares_memory_as_pytorch(program: str) -> None:
    agree(program)
