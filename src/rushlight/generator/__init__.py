"""Random numbers on the CPU: PyTorch's MT19937 streams and transforms on flat NumPy arrays.

`Generator` holds a stream; each function draws `n` numbers from it, in the order in which PyTorch fills a tensor.
"""

from __future__ import annotations

import secrets

from rushlight import config
from rushlight.generator.discrete import bernoulli as bernoulli
from rushlight.generator.discrete import bernoulli_each as bernoulli_each
from rushlight.generator.discrete import binomial as binomial
from rushlight.generator.discrete import dirichlet as dirichlet
from rushlight.generator.discrete import dropout_factors as dropout_factors
from rushlight.generator.discrete import geometric as geometric
from rushlight.generator.discrete import multinomial as multinomial
from rushlight.generator.discrete import poisson as poisson
from rushlight.generator.discrete import standard_gamma as standard_gamma
from rushlight.generator.engine import Generator as Generator
from rushlight.generator.engine import wrapped_seed as wrapped_seed
from rushlight.generator.floats import cauchy as cauchy
from rushlight.generator.floats import exponential as exponential
from rushlight.generator.floats import log_normal as log_normal
from rushlight.generator.floats import normal as normal
from rushlight.generator.floats import uniform as uniform
from rushlight.generator.integers import mantissa_bits as mantissa_bits
from rushlight.generator.integers import permutation as permutation
from rushlight.generator.integers import random_full as random_full
from rushlight.generator.integers import random_natural as random_natural
from rushlight.generator.integers import random_range as random_range


def _started() -> Generator:
    seed = config.get("SEED")
    return Generator().manual_seed(secrets.randbits(64) if seed is None else seed)


default_generator = _started()
