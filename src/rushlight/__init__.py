"""Rushlight: PyTorch's API and semantics in Python. `import rushlight as torch` runs PyTorch programs."""

from rushlight.functions.arithmetic import abs, absolute, acos, acosh, add, addcdiv, addcmul, allclose, angle, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, asin, asinh, atan, atan2, atanh, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift, bitwise_xor, ceil, clamp, clamp_max, clamp_min, clip, conj, conj_physical, copysign, cos, cosh, deg2rad, digamma, div, divide, eq, equal, erf, erfc, erfinv, exp, exp2, expm1, fix, float_power, floor, floor_divide, fmax, fmin, fmod, frac, gcd, ge, greater, greater_equal, gt, heaviside, hypot, imag, is_nonzero, isclose, isfinite, isinf, isnan, isneginf, isposinf, isreal, lcm, ldexp, le, lerp, less, less_equal, lgamma, log, log10, log1p, log2, logaddexp, logaddexp2, logical_and, logical_not, logical_or, logical_xor, lt, masked_fill, maximum, minimum, mul, multiply, nan_to_num, ne, neg, negative, nextafter, not_equal, positive, pow, rad2deg, real, reciprocal, relu, remainder, round, rsqrt, rsub, sgn, sigmoid, sign, signbit, sin, sinh, sqrt, square, sub, subtract, tan, tanh, true_divide, trunc, where, xlogy
from rushlight.functions.shape import adjoint, as_strided, atleast_1d, atleast_2d, atleast_3d, broadcast_tensors, broadcast_to, cat, chunk, clone, column_stack, concat, concatenate, diag, diag_embed, diagflat, diagonal, dsplit, dstack, flatten, flip, fliplr, flipud, hsplit, hstack, moveaxis, movedim, narrow, permute, ravel, repeat_interleave, reshape, roll, rot90, row_stack, select, split, split_with_sizes, squeeze, stack, swapaxes, swapdims, t, tensor_split, tile, transpose, tril, triu, unbind, unflatten, unsqueeze, view_as_complex, view_as_real, vsplit, vstack
from rushlight.functions.combine import block_diag, cartesian_prod, complex, meshgrid, polar
from rushlight.functions.reduce import all, amax, amin, aminmax, any, argmax, argmin, argsort, bincount, bucketize, corrcoef, count_nonzero, cov, cummax, cummin, cumprod, cumsum, diff, dist,  histc, histogram, isin, kthvalue, logcumsumexp, max, mean, median, min, mode, msort, nanmean, nanmedian, nansum, norm, prod, quantile, searchsorted, sort, std, std_mean, sum, topk, trace, unique, unique_consecutive, var, var_mean
from rushlight.functions.matrix import addbmm, addmm, addmv, addr, baddbmm, bmm, cdist, chain_matmul, cross, dot, einsum, ger, inner, kron, matmul, mm, mv, outer, tensordot, vdot
from rushlight.functions.special import i0, igamma, igammac, logit, mvlgamma, polygamma, sinc
from rushlight.functions.spectrogram import istft, stft
from rushlight.functions.linalg.legacy import cholesky, cholesky_inverse, cholesky_solve, det, geqrf, inverse, logdet, lu, lu_solve, matrix_exp, matrix_power, orgqr, ormqr, pinverse, qr, slogdet, svd, triangular_solve, lu_unpack
from rushlight.functions.softmax import log_softmax, logsumexp, softmax
from rushlight.functions.indexing import argwhere, gather, index_add, index_copy, index_fill, index_put, index_put_, index_select, masked_scatter, masked_select, nonzero, scatter, scatter_add, scatter_reduce, take, take_along_dim
from rushlight.functions.new import diagonal_scatter, narrow_copy, renorm, resize_as_, select_scatter, slice_scatter
from rushlight.creation import arange, as_tensor, asarray, bartlett_window, blackman_window, combinations, empty, empty_like, empty_strided, eye, from_dlpack, from_numpy, frombuffer, full, full_like, hamming_window, hann_window, linspace, logspace, ones, ones_like, scalar_tensor, set_default_tensor_type, tensor, tril_indices, triu_indices, vander, zeros, zeros_like
from rushlight.formats import channels_last, channels_last_3d, contiguous_format, layout, memory_format, preserve_format, sparse_coo, sparse_csr, strided
from rushlight.modes import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from rushlight.dtypes import bfloat16, can_cast, complex128, complex64, finfo, float16, float32, float64, get_default_dtype, iinfo, int16, int32, int64, int8, promote_types, set_default_dtype, uint16, uint32, uint64, uint8
from rushlight.size import Size

import importlib as _importlib
import sys as _sys

from rushlight.amp.autocast_mode import autocast, autocast_decrement_nesting, autocast_increment_nesting, clear_autocast_cache, get_autocast_cpu_dtype, get_autocast_dtype, get_autocast_gpu_dtype, is_autocast_cache_enabled, is_autocast_cpu_enabled, is_autocast_enabled, set_autocast_cache_enabled, set_autocast_dtype, set_autocast_enabled
from rushlight import autograd, cuda, nn, session, version
from rushlight.autograd.gradcheck import GradcheckError
from rushlight.creation import LEGACY, range_
from rushlight.device import device
from rushlight.dtypes import bool_ as bool
from rushlight.dtypes import complex64 as cfloat
from rushlight.dtypes import complex128 as cdouble
from rushlight.dtypes import dtype
from rushlight.dtypes import float16 as half
from rushlight.dtypes import float32 as float
from rushlight.dtypes import float64 as double
from rushlight.dtypes import int16 as short
from rushlight.dtypes import int32 as int
from rushlight.dtypes import int64 as long
from rushlight.functions.backward import backward as _backward
from rushlight.nn.functional.activation import celu_, hardshrink, prelu, relu_, rrelu_, selu_, threshold_
from rushlight.nn.functional.dense import bilinear
from rushlight.nn.functional.distance import cosine_similarity, pairwise_distance, pdist
from rushlight.nn.functional.native import alpha_dropout, alpha_dropout_, binary_cross_entropy_with_logits, celu, cosine_embedding_loss, ctc_loss, dropout, dropout_, embedding, embedding_bag, feature_alpha_dropout, feature_alpha_dropout_, feature_dropout, feature_dropout_, hinge_embedding_loss, kl_div, margin_ranking_loss, native_dropout, poisson_nll_loss, rrelu, selu, threshold, triplet_margin_loss
from rushlight.nn.functional.rnn import gru, gru_cell, lstm, lstm_cell, rnn_relu, rnn_relu_cell, rnn_tanh, rnn_tanh_cell
from rushlight.printing import set_printoptions
from rushlight.session import *
from rushlight.storage import TypedStorage, UntypedStorage
from rushlight.tensor import Tensor
from rushlight.torch_alias import install_as_torch
from rushlight.linalg import pca_lowrank, svd_lowrank
from rushlight.version import __version__

range = range_
globals().update(LEGACY)

for _name in ("sampling", "random", "linalg", "special", "fft", "optim", "utils", "amp", "testing", "serialization"):
    try:  # TEMPORARY while the parts are being written
        globals()[_name] = _importlib.import_module("rushlight." + _name)
    except ModuleNotFoundError as _error:
        print("rushlight: not yet:", _name, _error, file=_sys.stderr)
try:
    from rushlight.sampling import *
    from rushlight.random import *
    from rushlight.serialization import load, load_checkpoint, save, save_checkpoint
except ImportError as _error:
    print("rushlight: not yet:", _error, file=_sys.stderr)
