"""One line per method of `Tensor` that a function gives: `name = module.function`."""

from __future__ import annotations

from rushlight.functions import activation as AC
from rushlight.functions import arithmetic as A
from rushlight.functions import calculus as K
from rushlight.functions import convert as C
from rushlight.functions import copies as P
from rushlight.functions import diagonals as DG
from rushlight.functions import indexing as X
from rushlight.functions import inplace as I
from rushlight.functions import matrix as M
from rushlight.functions import new as N
from rushlight.functions import random as D
from rushlight.functions import reduce as R
from rushlight.functions import shape as S
from rushlight.functions import softmax as SM
from rushlight.functions import special as F
from rushlight.functions import spectrogram as G
from rushlight.functions.linalg import legacy as L
from rushlight.ops import elementwise as E


class Methods:
    """The methods of a tensor that are functions; `tensor.Tensor` inherits them."""

    __slots__ = ()

    # Elementwise

    exp = A.exp
    exp2 = A.exp2
    expm1 = A.expm1
    log = A.log
    log2 = A.log2
    log10 = A.log10
    log1p = A.log1p
    sqrt = A.sqrt
    rsqrt = A.rsqrt
    sin = A.sin
    cos = A.cos
    tan = A.tan
    asin = A.asin
    acos = A.acos
    atan = A.atan
    sinh = A.sinh
    cosh = A.cosh
    tanh = A.tanh
    asinh = A.asinh
    acosh = A.acosh
    atanh = A.atanh
    arcsin = A.arcsin
    arccos = A.arccos
    arctan = A.arctan
    arcsinh = A.arcsinh
    arccosh = A.arccosh
    arctanh = A.arctanh
    erf = A.erf
    erfc = A.erfc
    erfinv = A.erfinv
    lgamma = A.lgamma
    digamma = A.digamma
    sigmoid = A.sigmoid
    relu = A.relu
    floor = A.floor
    ceil = A.ceil
    trunc = A.trunc
    frac = A.frac
    sign = A.sign
    sgn = A.sgn
    reciprocal = A.reciprocal
    square = A.square
    deg2rad = A.deg2rad
    rad2deg = A.rad2deg
    fix = A.fix
    abs = A.abs
    conj_physical = A.conj_physical
    absolute = A.absolute
    isnan = A.isnan
    isinf = A.isinf
    isfinite = A.isfinite
    isposinf = A.isposinf
    isneginf = A.isneginf
    signbit = A.signbit
    logical_not = A.logical_not
    bitwise_not = A.bitwise_not
    angle = A.angle
    eq = A.eq
    ne = A.ne
    lt = A.lt
    le = A.le
    gt = A.gt
    ge = A.ge
    less = A.less
    less_equal = A.less_equal
    greater = A.greater
    greater_equal = A.greater_equal
    not_equal = A.not_equal
    maximum = A.maximum
    minimum = A.minimum
    fmax = A.fmax
    fmin = A.fmin
    atan2 = A.atan2
    hypot = A.hypot
    logaddexp = A.logaddexp
    logaddexp2 = A.logaddexp2
    copysign = A.copysign
    nextafter = A.nextafter
    heaviside = A.heaviside
    xlogy = A.xlogy
    arctan2 = A.arctan2
    logical_and = A.logical_and
    logical_or = A.logical_or
    logical_xor = A.logical_xor
    bitwise_and = A.bitwise_and
    bitwise_or = A.bitwise_or
    bitwise_xor = A.bitwise_xor
    bitwise_left_shift = A.bitwise_left_shift
    bitwise_right_shift = A.bitwise_right_shift
    gcd = A.gcd
    lcm = A.lcm
    floor_divide = A.floor_divide
    remainder = A.remainder
    fmod = A.fmod
    add = A.add
    sub = A.sub
    mul = A.mul
    div = A.div
    subtract = A.subtract
    multiply = A.multiply
    divide = A.divide
    true_divide = A.true_divide
    neg = A.neg
    negative = A.negative
    positive = A.positive
    pow = A.pow
    float_power = A.float_power
    round = A.round
    clamp = A.clamp
    clip = A.clip
    clamp_min = A.clamp_min
    clamp_max = A.clamp_max
    where = A.where_method
    lerp = A.lerp
    addcmul = A.addcmul
    addcdiv = A.addcdiv
    nan_to_num = A.nan_to_num
    masked_fill = A.masked_fill
    conj = A.conj
    is_nonzero = A.is_nonzero
    isclose = A.isclose
    allclose = A.allclose
    equal = A.equal
    isreal = A.isreal
    ldexp = A.ldexp
    logit = F.logit
    i0 = F.i0
    sinc = F.sinc
    polygamma = F.polygamma_method
    mvlgamma = F.mvlgamma
    igamma = F.igamma
    igammac = F.igammac

    # Shape

    view = S.view
    view_as = S.view_as
    reshape = S.reshape
    reshape_as = S.reshape_as
    flatten = S.flatten
    ravel = S.ravel
    unflatten = S.unflatten
    transpose = S.transpose
    swapaxes = S.swapaxes
    swapdims = S.swapdims
    t = S.t
    permute = S.permute
    movedim = S.movedim
    moveaxis = S.moveaxis
    adjoint = S.adjoint
    squeeze = S.squeeze
    unsqueeze = S.unsqueeze
    expand = S.expand
    expand_as = S.expand_as
    broadcast_to = S.broadcast_to
    repeat = S.repeat
    tile = S.tile
    repeat_interleave = S.repeat_interleave
    narrow = S.narrow
    select = S.select
    unbind = S.unbind
    split = S.split
    split_with_sizes = S.split_with_sizes
    chunk = S.chunk
    tensor_split = S.tensor_split
    hsplit = S.hsplit
    vsplit = S.vsplit
    dsplit = S.dsplit
    flip = DG.flip
    fliplr = DG.fliplr
    flipud = DG.flipud
    roll = DG.roll
    rot90 = DG.rot90
    tril = DG.tril
    triu = DG.triu
    diagonal = DG.diagonal
    diag = DG.diag
    diag_embed = DG.diag_embed
    diagflat = DG.diagflat
    unfold = S.unfold
    clone = S.clone
    contiguous = S.contiguous
    as_strided = S.as_strided
    is_contiguous = S.is_contiguous

    # Reductions

    sum = R.sum
    mean = R.mean
    nansum = R.nansum
    nanmean = R.nanmean
    prod = R.prod
    var = R.var
    std = R.std
    max = R.max
    min = R.min
    amax = R.amax
    amin = R.amin
    aminmax = R.aminmax
    argmax = R.argmax
    argmin = R.argmin
    all = R.all
    any = R.any
    count_nonzero = R.count_nonzero
    norm = R.norm
    dist = R.dist
    median = R.median
    nanmedian = R.nanmedian
    mode = R.mode
    kthvalue = R.kthvalue
    sort = R.sort
    msort = R.msort
    argsort = R.argsort
    topk = R.topk
    cumsum = R.cumsum
    cumprod = R.cumprod
    cummax = R.cummax
    cummin = R.cummin
    logcumsumexp = R.logcumsumexp
    diff = R.diff
    unique = R.unique
    unique_consecutive = R.unique_consecutive
    bincount = R.bincount
    histc = R.histc
    histogram = R.histogram
    quantile = R.quantile
    trace = R.trace
    cov = R.cov
    corrcoef = R.corrcoef

    # Matrix products

    matmul = M.matmul
    mm = M.mm
    bmm = M.bmm
    mv = M.mv
    dot = M.dot
    vdot = M.vdot
    inner = M.inner
    outer = M.outer
    ger = M.ger
    addmm = M.addmm
    addmv = M.addmv
    addr = M.addr
    baddbmm = M.baddbmm
    addbmm = M.addbmm
    kron = M.kron
    cross = M.cross

    # Linear algebra

    cholesky = L.cholesky
    cholesky_inverse = L.cholesky_inverse
    cholesky_solve = L.cholesky_solve
    det = L.det
    geqrf = L.geqrf
    inverse = L.inverse
    logdet = L.logdet
    lu = L.lu
    lu_solve = L.lu_solve
    matrix_exp = L.matrix_exp
    matrix_power = L.matrix_power
    orgqr = L.orgqr
    ormqr = L.ormqr
    pinverse = L.pinverse
    qr = L.qr
    slogdet = L.slogdet
    stft = G.stft
    istft = G.istft
    svd = L.svd
    triangular_solve = L.triangular_solve

    # Positions

    gather = X.gather
    scatter = X.scatter
    scatter_ = X.scatter_
    scatter_add = X.scatter_add
    scatter_add_ = X.scatter_add_
    scatter_reduce = X.scatter_reduce
    scatter_reduce_ = X.scatter_reduce_
    index_select = X.index_select
    index_add = X.index_add
    index_add_ = X.index_add_
    index_copy = X.index_copy
    index_copy_ = X.index_copy_
    index_fill = X.index_fill
    index_fill_ = X.index_fill_
    index_put = X.index_put
    index_put_ = X.index_put_
    masked_fill_ = X.masked_fill_
    masked_select = X.masked_select
    masked_scatter = X.masked_scatter
    masked_scatter_ = X.masked_scatter_
    take = X.take
    take_along_dim = X.take_along_dim
    put_ = X.put_
    nonzero = X.nonzero
    argwhere = X.argwhere

    # In place

    mul_ = I.mul_
    add_ = I.add_
    sub_ = I.sub_
    div_ = I.div_
    pow_ = I.pow_
    clamp_ = I.clamp_
    clamp_min_ = I.clamp_min_
    clamp_max_ = I.clamp_max_
    lerp_ = I.lerp_
    addcmul_ = I.addcmul_
    addcdiv_ = I.addcdiv_
    round_ = I.round_
    nan_to_num_ = I.nan_to_num_
    tril_ = I.tril_
    triu_ = I.triu_
    cumsum_ = I.cumsum_
    cumprod_ = I.cumprod_
    fill_ = I.fill_
    zero_ = I.zero_
    fill_diagonal_ = I.fill_diagonal_
    t_ = I.t_
    transpose_ = I.transpose_
    squeeze_ = I.squeeze_
    unsqueeze_ = I.unsqueeze_
    resize_ = I.resize_
    set_ = I.set_
    neg_ = I.neg_
    conj_physical_ = I.conj_physical_
    abs_ = I.unary_(E.abs)
    sign_ = I.unary_(E.sign)
    sgn_ = I.unary_(E.sgn)
    reciprocal_ = I.unary_(E.reciprocal)
    square_ = I.unary_(E.square)
    exp_ = I.unary_(E.exp)
    exp2_ = I.unary_(E.exp2)
    expm1_ = I.unary_(E.expm1)
    log_ = I.unary_(E.log)
    log2_ = I.unary_(E.log2)
    log10_ = I.unary_(E.log10)
    log1p_ = I.unary_(E.log1p)
    sqrt_ = I.unary_(E.sqrt)
    rsqrt_ = I.unary_(E.rsqrt)
    sin_ = I.unary_(E.sin)
    cos_ = I.unary_(E.cos)
    tan_ = I.unary_(E.tan)
    asin_ = I.unary_(E.asin)
    acos_ = I.unary_(E.acos)
    atan_ = I.unary_(E.atan)
    sinh_ = I.unary_(E.sinh)
    cosh_ = I.unary_(E.cosh)
    tanh_ = I.unary_(E.tanh)
    asinh_ = I.unary_(E.asinh)
    acosh_ = I.unary_(E.acosh)
    atanh_ = I.unary_(E.atanh)
    deg2rad_ = I.unary_(E.deg2rad)
    rad2deg_ = I.unary_(E.rad2deg)
    erf_ = I.unary_(E.erf)
    erfc_ = I.unary_(E.erfc)
    erfinv_ = I.unary_(E.erfinv)
    lgamma_ = I.unary_(E.lgamma)
    digamma_ = I.unary_(E.digamma)
    sigmoid_ = I.unary_(E.sigmoid)
    relu_ = I.unary_(E.relu)
    floor_ = I.unary_(E.floor)
    ceil_ = I.unary_(E.ceil)
    trunc_ = I.unary_(E.trunc)
    frac_ = I.unary_(E.frac)
    logical_not_ = I.unary_(E.logical_not)
    bitwise_not_ = I.unary_(E.bitwise_not)
    floor_divide_ = I.binary_(E.floor_divide)
    remainder_ = I.binary_(E.remainder)
    fmod_ = I.binary_(E.fmod)
    atan2_ = I.binary_(E.atan2)
    hypot_ = I.binary_(E.hypot)
    copysign_ = I.binary_(E.copysign)
    nextafter_ = I.binary_(E.nextafter)
    heaviside_ = I.binary_(E.heaviside)
    xlogy_ = I.binary_(E.xlogy)
    eq_ = I.binary_(E.eq)
    ne_ = I.binary_(E.ne)
    lt_ = I.binary_(E.lt)
    le_ = I.binary_(E.le)
    gt_ = I.binary_(E.gt)
    ge_ = I.binary_(E.ge)
    logical_and_ = I.binary_(E.logical_and)
    logical_or_ = I.binary_(E.logical_or)
    logical_xor_ = I.binary_(E.logical_xor)
    bitwise_and_ = I.binary_(E.bitwise_and)
    bitwise_or_ = I.binary_(E.bitwise_or)
    bitwise_xor_ = I.binary_(E.bitwise_xor)
    bitwise_left_shift_ = I.binary_(E.bitwise_left_shift)
    bitwise_right_shift_ = I.binary_(E.bitwise_right_shift)
    gcd_ = I.binary_(E.gcd)
    lcm_ = I.binary_(E.lcm)
    multiply_ = mul_
    divide_ = div_
    true_divide_ = div_
    subtract_ = sub_
    negative_ = neg_
    absolute_ = abs_
    arcsin_ = asin_
    arccos_ = acos_
    arctan_ = atan_
    arcsinh_ = asinh_
    arccosh_ = acosh_
    arctanh_ = atanh_
    clip_ = clamp_
    fix_ = trunc_
    less_ = lt_
    less_equal_ = le_
    greater_ = gt_
    greater_equal_ = ge_
    not_equal_ = ne_
    arctan2_ = atan2_
    swapaxes_ = transpose_
    swapdims_ = transpose_
    real = property(A.real, doc="The real part.")
    imag = property(A.imag, doc="The imaginary part.")
    T = property(S.reversed_dims, doc="Dims in reverse order.")
    mT = property(lambda self: S.transpose(self, -2, -1), doc="The last two dims exchanged.")
    H = property(S.hermitian, doc="The transpose of a matrix, conjugated.")
    mH = property(S.adjoint, doc="The last two dims exchanged and conjugated.")

    # Conversion

    to = C.to
    cpu = C.cpu
    cuda = C.cuda
    item = C.item
    tolist = C.tolist
    numpy = C.numpy
    type = C.type_
    float = C.to_float
    double = C.to_double
    half = C.to_half
    bfloat16 = C.to_bfloat16
    int = C.to_int
    long = C.to_long
    short = C.to_short
    char = C.to_char
    byte = C.to_byte
    bool = C.to_bool
    cfloat = C.to_cfloat
    cdouble = C.to_cdouble
    apply_ = I.index_map_
    copy_ = X.copy_
    # Like this one

    new_zeros = N.new_zeros
    new_ones = N.new_ones
    new_empty = N.new_empty
    new_full = N.new_full
    new_tensor = N.new_tensor
    new = N.new
    type_as = N.type_as
    sum_to_size = N.sum_to_size
    resize_as_ = N.resize_as_
    narrow_copy = N.narrow_copy
    select_scatter = N.select_scatter
    slice_scatter = N.slice_scatter
    diagonal_scatter = N.diagonal_scatter
    addmm_ = N.addmm_
    baddbmm_ = N.baddbmm_
    renorm = N.renorm
    resolve_conj = N.resolve
    resolve_neg = N.resolve
    module_load = N.module_load
    map_ = N.map_
    unsafe_chunk = S.chunk
    unsafe_split = S.split

    unsafe_split_with_sizes = S.split_with_sizes
    frexp = K.frexp
    nanquantile = K.nanquantile
    nonzero_static = K.nonzero_static
    index_reduce = K.index_reduce
    put = P.put
    resize = P.resize
    as_strided_scatter = P.as_strided_scatter
    new_empty_strided = N.new_empty_strided
    addmv_ = N.addmv_
    addr_ = N.addr_
    addbmm_ = N.addbmm_
    renorm_ = N.renorm_
    index_reduce_ = N.index_reduce_
    as_strided_ = N.as_strided_
    to_dense = N.to_dense
    float_power_ = N.float_power_
    ldexp_ = N.ldexp_

    # Softmax

    softmax = SM.softmax
    log_softmax = SM.log_softmax
    logsumexp = SM.logsumexp
    prelu = AC.prelu
    hardshrink = AC.hardshrink

    # Random draws

    uniform_ = D.uniform_
    normal_ = D.normal_
    log_normal_ = D.log_normal_
    exponential_ = D.exponential_
    cauchy_ = D.cauchy_
    geometric_ = D.geometric_
    random_ = D.random_
    bernoulli_ = D.bernoulli_
    bernoulli = D.bernoulli
    multinomial = D.multinomial
