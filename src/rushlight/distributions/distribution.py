"""The base class of distributions."""

from __future__ import annotations

import warnings
from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.utils import lazy_property
from rushlight.modes import no_grad
from rushlight.size import Size
from rushlight.tape import Variable

__all__ = ["Distribution"]


class Distribution:
    """A batch of distributions over events of `event_shape`.

    Parameters
    ----------
    batch_shape, event_shape : Size
    validate_args : bool, optional
        Whether parameters and values are checked; the setting of `set_default_validate_args` if not given.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their parameters and values from now on."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(
        self,
        batch_shape: Any = (),
        event_shape: Any = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._validate_parameters()
        super().__init__()

    def _validate_parameters(self) -> None:
        try:
            declared = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize "
                "the distribution with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
            return
        for name, constraint in declared.items():
            lazy = isinstance(getattr(type(self), name, None), lazy_property)
            if constraints.is_dependent(constraint) or (name not in self.__dict__ and lazy):
                continue
            value = getattr(self, name)
            valid = constraint.check(value)
            if not valid.all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch broadcast to `batch_shape`."""
        raise NotImplementedError

    @property
    def batch_shape(self) -> Size:
        """Shape of independent, not identical distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """Shape of one draw of one distribution."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """The constraint of each parameter."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """Constraint that the draws satisfy."""
        raise NotImplementedError

    @property
    def mean(self) -> Any:
        """Expected value."""
        raise NotImplementedError

    @property
    def mode(self) -> Any:
        """Most likely value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Any:
        """Expected squared distance from the mean."""
        raise NotImplementedError

    @property
    def stddev(self) -> Any:
        """Square root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws of shape `sample_shape + batch_shape + event_shape`, without gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draws through which gradients reach the parameters."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Any:
        """`n` draws."""
        warnings.warn("sample_n will be deprecated. Use .sample((n,)) instead", UserWarning, stacklevel=2)
        return self.sample(Size((n,)))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density or probability at `value`."""
        raise NotImplementedError

    def cdf(self, value: Any) -> Any:
        """Probability of a draw at most `value`."""
        raise NotImplementedError

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Any:
        """All values that a draw can have, along a new first dim."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """Expected `-log_prob`, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Any:
        """e ** entropy."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Any) -> None:
        if not isinstance(value, Variable):
            raise ValueError("The value argument to log_prob must be a Tensor")
        self._validate_place(value)

    def _validate_place(self, value: Any) -> None:
        event_start = value.dim() - len(self._event_shape)
        if value.shape[event_start:] != self._event_shape:
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.shape} vs {self._event_shape}."
            )
        expected = self._batch_shape + self._event_shape
        for i, j in zip(reversed(value.shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {Size(expected)}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        valid = support.check(value)
        if not valid.all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the "
                f"support ({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also "
                "define a custom .expand() method."
            )
        return type(self).__new__(type(self)) if _instance is None else _instance

    def __repr__(self) -> str:
        names = [name for name in self.arg_constraints if name in self.__dict__]
        shown = (f"{n}: {v if (v := self.__dict__[n]).numel() == 1 else v.size()}" for n in names)
        return f"{type(self).__name__}({', '.join(shown)})"


def expand_parameters(self: Distribution, batch_shape: Any, _instance: Any = None) -> Any:
    """`expand` of a distribution whose only state is the parameters in `arg_constraints` (given or derived)."""
    owner = next(cls for cls in type(self).__mro__ if "expand" in cls.__dict__)
    new = self._get_checked_instance(owner, _instance)
    batch_shape = Size(batch_shape)
    for name in self.arg_constraints:
        if name in self.__dict__:
            value = self.__dict__[name]
            events = value.shape[value.dim() - _event_dim(self, name) :]
            setattr(new, name, value.expand((*batch_shape, *events)))
    new._batch_shape, new._event_shape = batch_shape, self._event_shape
    new._validate_args = self._validate_args
    return new


def _event_dim(distribution: Distribution, name: str) -> int:
    """Number of dims of a parameter that do not belong to the batch."""
    constraint = distribution.arg_constraints[name]
    return 0 if constraints.is_dependent(constraint) else int(constraint.event_dim)
