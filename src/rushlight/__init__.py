"""Rushlight: PyTorch's API and semantics in Python. `import rushlight as torch` runs PyTorch programs.

The core is imported at once; `nn`, `optim` and other packages, and names that live in them, on first use.
"""

import importlib
from typing import Any

from rushlight import autograd, cuda, random, sampling, version
from rushlight.autograd.gradcheck import GradcheckError
from rushlight.creation import (
    LEGACY,
    arange,
    as_tensor,
    asarray,
    bartlett_window,
    blackman_window,
    combinations,
    empty,
    empty_like,
    empty_strided,
    eye,
    from_dlpack,
    from_numpy,
    frombuffer,
    full,
    full_like,
    hamming_window,
    hann_window,
    kaiser_window,
    linspace,
    logspace,
    ones,
    ones_like,
    range_,
    scalar_tensor,
    set_default_tensor_type,
    tensor,
    tril_indices,
    triu_indices,
    vander,
    zeros,
    zeros_like,
)
from rushlight.device import device
from rushlight.dtypes import (
    bfloat16,
    can_cast,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from rushlight.dtypes import (
    bool_ as bool,
)
from rushlight.dtypes import (
    complex64 as cfloat,
)
from rushlight.dtypes import (
    complex128 as cdouble,
)
from rushlight.dtypes import (
    float16 as half,
)
from rushlight.dtypes import (
    float32 as float,
)
from rushlight.dtypes import (
    float64 as double,
)
from rushlight.dtypes import (
    int16 as short,
)
from rushlight.dtypes import (
    int32 as int,
)
from rushlight.dtypes import (
    int64 as long,
)
from rushlight.formats import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    sparse_coo,
    sparse_csr,
    strided,
)
from rushlight.functions.activation import hardshrink, prelu
from rushlight.functions.arithmetic import (
    abs,
    absolute,
    acos,
    acosh,
    add,
    addcdiv,
    addcmul,
    allclose,
    angle,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    clamp,
    clamp_max,
    clamp_min,
    clip,
    conj,
    conj_physical,
    copysign,
    cos,
    cosh,
    deg2rad,
    digamma,
    div,
    divide,
    eq,
    equal,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    fix,
    float_power,
    floor,
    floor_divide,
    fmax,
    fmin,
    fmod,
    frac,
    gcd,
    ge,
    greater,
    greater_equal,
    gt,
    heaviside,
    hypot,
    imag,
    is_nonzero,
    isclose,
    isfinite,
    isinf,
    isnan,
    isneginf,
    isposinf,
    isreal,
    lcm,
    ldexp,
    le,
    lerp,
    less,
    less_equal,
    lgamma,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logaddexp2,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    masked_fill,
    maximum,
    minimum,
    mul,
    multiply,
    nan_to_num,
    ne,
    neg,
    negative,
    nextafter,
    not_equal,
    positive,
    pow,
    rad2deg,
    real,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    rsub,
    sgn,
    sigmoid,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    subtract,
    tan,
    tanh,
    true_divide,
    trunc,
    where,
    xlogy,
)
from rushlight.functions.calculus import (
    cumulative_trapezoid,
    frexp,
    gradient,
    index_reduce,
    nanquantile,
    nonzero_static,
    trapezoid,
    trapz,
    unravel_index,
)
from rushlight.functions.checked import checked_functions
from rushlight.functions.combine import block_diag, cartesian_prod, complex, meshgrid, polar
from rushlight.functions.copies import (
    alias_copy,
    as_strided_copy,
    as_strided_scatter,
    detach_copy,
    diagonal_copy,
    expand_copy,
    fill,
    permute_copy,
    put,
    select_copy,
    split_copy,
    split_with_sizes_copy,
    squeeze_copy,
    t_copy,
    transpose_copy,
    unbind_copy,
    unfold_copy,
    unsqueeze_copy,
    view_as_complex_copy,
    view_as_real_copy,
    view_copy,
)
from rushlight.functions.diagonals import (
    diag,
    diag_embed,
    diagflat,
    diagonal,
    flip,
    fliplr,
    flipud,
    roll,
    rot90,
    tril,
    triu,
)
from rushlight.functions.indexing import (
    argwhere,
    gather,
    index_add,
    index_copy,
    index_fill,
    index_put,
    index_put_,
    index_select,
    masked_scatter,
    masked_select,
    nonzero,
    scatter,
    scatter_add,
    scatter_reduce,
    take,
    take_along_dim,
)
from rushlight.functions.linalg.legacy import (
    cholesky,
    cholesky_inverse,
    cholesky_solve,
    det,
    geqrf,
    inverse,
    logdet,
    lu,
    lu_solve,
    lu_unpack,
    matrix_exp,
    matrix_power,
    orgqr,
    ormqr,
    pinverse,
    qr,
    slogdet,
    svd,
    triangular_solve,
)
from rushlight.functions.matrix import (
    addbmm,
    addmm,
    addmv,
    addr,
    baddbmm,
    bmm,
    cdist,
    chain_matmul,
    cross,
    dot,
    einsum,
    ger,
    inner,
    kron,
    matmul,
    mm,
    mv,
    outer,
    tensordot,
    vdot,
)
from rushlight.functions.new import diagonal_scatter, narrow_copy, renorm, resize_as_, select_scatter, slice_scatter
from rushlight.functions.reduce import (
    all,
    amax,
    amin,
    aminmax,
    any,
    argmax,
    argmin,
    argsort,
    bincount,
    bucketize,
    corrcoef,
    count_nonzero,
    cov,
    cummax,
    cummin,
    cumprod,
    cumsum,
    diff,
    dist,
    histc,
    histogram,
    isin,
    kthvalue,
    logcumsumexp,
    max,
    mean,
    median,
    min,
    mode,
    msort,
    nanmean,
    nanmedian,
    nansum,
    norm,
    prod,
    quantile,
    searchsorted,
    sort,
    std,
    std_mean,
    sum,
    topk,
    trace,
    unique,
    unique_consecutive,
    var,
    var_mean,
)
from rushlight.functions.shape import (
    adjoint,
    as_strided,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_tensors,
    broadcast_to,
    cat,
    chunk,
    clone,
    column_stack,
    concat,
    concatenate,
    dsplit,
    dstack,
    flatten,
    hsplit,
    hstack,
    moveaxis,
    movedim,
    narrow,
    permute,
    ravel,
    repeat_interleave,
    reshape,
    row_stack,
    select,
    split,
    split_with_sizes,
    squeeze,
    stack,
    swapaxes,
    swapdims,
    t,
    tensor_split,
    tile,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
    view_as_complex,
    view_as_real,
    vsplit,
    vstack,
)
from rushlight.functions.softmax import log_softmax, logsumexp, softmax
from rushlight.functions.special import i0, igamma, igammac, logit, mvlgamma, polygamma, sinc
from rushlight.functions.spectrogram import istft, stft
from rushlight.generator.native import set_provider as set_draws_provider
from rushlight.modes import (
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from rushlight.ops.native import set_provider
from rushlight.printing import set_printoptions
from rushlight.random import get_rng_state, initial_seed, manual_seed, seed, set_rng_state, thread_safe_generator
from rushlight.sampling import (
    Generator,
    _sample_dirichlet,
    _standard_gamma,
    bernoulli,
    binomial,
    default_generator,
    multinomial,
    normal,
    poisson,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from rushlight.session import (
    are_deterministic_algorithms_enabled,
    broadcast_shapes,
    e,
    get_default_device,
    get_float32_matmul_precision,
    inf,
    is_complex,
    is_conj,
    is_deterministic_algorithms_warn_only_enabled,
    is_floating_point,
    is_inference,
    is_storage,
    is_tensor,
    nan,
    newaxis,
    numel,
    pi,
    result_type,
    set_default_device,
    set_float32_matmul_precision,
    set_flush_denormal,
    set_warn_always,
    typename,
    use_deterministic_algorithms,
)
from rushlight.size import Size
from rushlight.sparse import sparse_coo_tensor
from rushlight.storage import TypedStorage, UntypedStorage
from rushlight.tensor import Tensor
from rushlight.version import __version__

range = range_
globals().update(LEGACY)
globals().update(checked_functions(globals()))

# Packages imported on first use.
_PACKAGES = frozenset(
    """
    _dynamo accelerator amp backends compiler cpu datasets debug distributed distributions fft func hub jit linalg mps
    multiprocessing nn optim profiler serialization sparse special testing types utils xpu
    """.split()
)
# Names of this namespace that live in such packages.
_HOMES = {
    "rushlight.debug.draw": """
        draw
    """,
    "rushlight.func": "vmap",
    "rushlight.compiler.api": "compile",
    "rushlight.amp.autocast_mode": """
        autocast autocast_decrement_nesting autocast_increment_nesting clear_autocast_cache
        get_autocast_cpu_dtype get_autocast_dtype get_autocast_gpu_dtype is_autocast_cache_enabled
        is_autocast_cpu_enabled is_autocast_enabled set_autocast_cache_enabled set_autocast_dtype
        set_autocast_enabled
    """,
    "rushlight.linalg": """
        pca_lowrank svd_lowrank
    """,
    "rushlight.nn.functional.activation": """
        celu_ relu_ rrelu_ selu_ threshold_
    """,
    "rushlight.nn.functional.dense": """
        bilinear
    """,
    "rushlight.nn.functional.distance": """
        cosine_similarity pairwise_distance pdist
    """,
    "rushlight.backends.threads": "get_num_interop_threads get_num_threads set_num_interop_threads set_num_threads",
    "rushlight.amp.grad_scaler": "GradScaler",
    "rushlight.errors": "OutOfMemoryError",
    "rushlight.session": """
        get_deterministic_debug_mode is_warn_always_enabled set_deterministic_debug_mode sym_float sym_int sym_max
        sym_min sym_not
    """,
    "rushlight.nn.functional": """
        adaptive_avg_pool1d adaptive_max_pool1d avg_pool1d batch_norm channel_shuffle conv1d conv2d conv3d conv_tbc
        conv_transpose1d conv_transpose2d conv_transpose3d group_norm instance_norm layer_norm max_pool1d
        max_pool1d_with_indices max_pool2d max_pool3d native_channel_shuffle pixel_shuffle pixel_unshuffle rms_norm
    """,
    "rushlight.nn.functional.native": """
        alpha_dropout alpha_dropout_ binary_cross_entropy_with_logits celu cosine_embedding_loss ctc_loss
        dropout dropout_ embedding embedding_bag feature_alpha_dropout feature_alpha_dropout_ feature_dropout
        feature_dropout_ hinge_embedding_loss kl_div margin_ranking_loss native_dropout poisson_nll_loss rrelu
        selu threshold triplet_margin_loss
    """,
    "rushlight.nn.functional.rnn": """
        gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell
    """,
    "rushlight.serialization": """
        load load_checkpoint save save_checkpoint
    """,
    "rushlight.torch_alias": """
        install_as_torch
    """,
}
_METHODS = frozenset(
    """
    detach get_device is_neg is_same_size is_signed resolve_conj resolve_neg unsafe_chunk unsafe_split
    unsafe_split_with_sizes
    """.split()
)
_LATE = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a package, or the package that a name lives in, when it is first asked for."""
    home = _LATE.get(name)
    if home is not None:
        value = getattr(importlib.import_module(home), name)
    elif name in _METHODS or name.endswith("_") and not name.startswith("_") and hasattr(Tensor, name):
        value = getattr(Tensor, name)  # the in-place methods are functions too
    elif name in _PACKAGES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value


def _native_ops() -> Any:
    ops, updates = map(importlib.import_module, ("rushlight.compiler.eager", "rushlight.compiler.eager_update"))
    return ops.run, updates.make


def _native_draws() -> Any:
    return importlib.import_module("rushlight.compiler.draws").load()


set_provider(_native_ops)
set_draws_provider(_native_draws)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE, *_PACKAGES})
