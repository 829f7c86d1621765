"""Walks over the tree of a model: what it holds, by name, and what is done to all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from rushlight.nn.parameter import Parameter
from rushlight.nn.tree import ModuleTree
from rushlight.tensor import Tensor


class ModuleWalk(ModuleTree):
    """Iteration over parameters, buffers and submodules, and flags set on all of them."""

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Every module of the tree with its dotted path, this one first as `prefix`.

        Parameters
        ----------
        remove_duplicate : bool
            Give a module that appears in several places once, under its first path.

        Examples
        --------
        >>> net = torch.nn.Sequential(torch.nn.ReLU())
        >>> [name for name, module in net.named_modules()]
        ['', '0']
        """
        if memo is None:
            memo = set()
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """Every module of the tree, this one first."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The direct submodules with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Any]:
        """The direct submodules, each once."""
        for _, module in self.named_children():
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name.

        Parameters
        ----------
        prefix : str
            Put before all names.
        recurse : bool
            Include the parameters of submodules.
        remove_duplicate : bool
            Give a shared parameter once, under its first name.

        Examples
        --------
        >>> [name for name, p in torch.nn.Linear(2, 1).named_parameters(prefix="fc")]
        ['fc.weight', 'fc.bias']
        """
        yield from self._named_members(_parameters_of, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, each once; what an optimizer takes."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its dotted name; arguments as for `named_parameters`."""
        yield from self._named_members(_buffers_of, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named_members(
        self,
        get_members_fn: Callable[[Any], Iterable[tuple[str, Any]]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        # By identity: a set of tensors would compare elements on a collision of hashes.
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in get_members_fn(module):
                if member is None or (remove_duplicate and id(member) in seen):
                    continue
                seen.add(id(member))
                yield (f"{path}.{name}" if path else name), member

    def apply(self, fn: Callable[[Any], None]) -> Self:
        """Call `fn(module)` on every submodule, children before parents, then on this one; return self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode (`False`: evaluation) for this module and all below it; return self."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode: dropout off, batch normalisation by running statistics; return self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let autograd record on all parameters, or freeze them with `False`; return self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Parameters
        ----------
        set_to_none : bool
            Set `.grad` to `None`; otherwise fill it with zeros in place.
        """
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
                continue
            if parameter.grad is None:
                continue
            if parameter.grad.grad_fn is not None:
                parameter.grad.detach_()
            else:
                parameter.grad.requires_grad_(False)
            parameter.grad.zero_()


def _parameters_of(module: Any) -> Iterable[tuple[str, Any]]:
    items: Iterable[tuple[str, Any]] = module._parameters.items()
    return items


def _buffers_of(module: Any) -> Iterable[tuple[str, Any]]:
    items: Iterable[tuple[str, Any]] = module._buffers.items()
    return items
