"""Bessel, modified Bessel and Airy functions of arrays, in NumPy alone.

As in `special.py`, the polynomials are fitted here by interpolation at Chebyshev nodes in 40 decimal digits. Large
arguments use the amplitude and phase of the Hankel functions (DLMF 10.17, 9.7), fitted in the inverse argument.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.backends import special
from rushlight.backends.special import in_double, piecewise, polynomial

# zeros of J0 and J1 below 8, each as a float64 and the rest
_J0_ZEROS = ((2.404825557695773, -1.176691651530894e-16), (5.520078110286311, 8.088597146146722e-17))
_J1_ZEROS = ((3.8317059702075125, -1.5269184090088067e-16), (7.015586669815619, -9.414165653410389e-17))

_J0 = (
    4.006178286297737e-16, -1.2482966637990574e-14, 3.3923324014926297e-13, -8.023472603248695e-12,
    1.627648945732473e-10, -2.7948629678312687e-09, 3.9988393454959875e-08, -4.677128021300755e-07,
    4.366932324640601e-06, -3.157342540223544e-05, 0.00016977200713997844, -0.0006415390646406123,
    0.0015636431645931661, -0.002119794289479692, 0.0011434937743762545,
)  # fmt: skip
_J1 = (
    1.1809575438223918e-17, -3.910422781244815e-16, 1.1343132028985911e-14, -2.8755308688882974e-13,
    6.2847338188380325e-12, -1.1696932521779358e-10, 1.826854769538332e-09, -2.3521922545778545e-08,
    2.4425222607520203e-07, -1.989093515914257e-06, 1.224217365301561e-05, -5.408003239085506e-05,
    0.00015860016799369874, -0.0002697522746716368, 0.00019498936985895625,
)  # fmt: skip
_Y0 = (
    2.6920542955933077e-11, -7.165821502826742e-10, 1.6390898995460987e-08, -3.218450385303195e-07,
    5.321318774428052e-06, -7.279542368640505e-05, 0.000806158605989114, -0.007025741054992014,
    0.046367047681363883, -0.21895747096229637, 0.6721770783431702, -1.077547733821527, 0.14412632369302453,
    1.6470964788745432, -0.8284358903604587, -0.38225065445942497,
)  # fmt: skip
_Y1 = (
    8.758166378734063e-13, -2.4995314348224963e-11, 6.169694909376002e-10, -1.3153147370992129e-08,
    2.3804930317310604e-07, -3.6010000225850992e-06, 4.4674330127252e-05, -0.00044381734344201836,
    0.0034224907399185273, -0.01962875683311711, 0.07854786922242538, -0.19639839859930203, 0.23507209206669755,
    0.02336757172099348, -0.24337743079193114, 0.07075985882118005,
)  # fmt: skip
_P0 = (
    -1.1346926815291663e-14, 3.334599531685773e-14, -6.563491590174781e-14, 2.454626647456918e-13,
    -1.061860361827791e-12, 4.786833648457065e-12, -2.4883792349430343e-11, 1.5500573849457377e-10,
    -1.2121178913027262e-09, 1.2803761421389911e-08, -2.052744816021978e-07, 6.137416080111143e-06,
    -0.0005363673192130033, 0.9994572757882519,
)  # fmt: skip
_Q0 = (
    9.756113507128432e-14, -2.729058891731019e-13, 4.743918565467509e-13, -1.6798068504524111e-12,
    6.934511868227323e-12, -2.88387465828897e-11, 1.362452803693964e-10, -7.575872758461843e-10,
    5.146228618919075e-09, -4.534973594868882e-08, 5.684971885449538e-07, -1.1817110660731776e-05,
    0.0005466519279475136, -0.12444091103610816,
)  # fmt: skip
_P1 = (
    1.2012721775449965e-14, -3.5404613525657416e-14, 7.019004954768849e-14, -2.635099411586755e-13,
    1.1443000350441976e-12, -5.190987549128526e-12, 2.7205216071451606e-11, -1.713108363257052e-10,
    1.3603054724512454e-09, -1.4708512970871809e-08, 2.453676622679369e-07, -7.95969469844003e-06,
    0.0008988049416705564, 1.0009070262780821,
)  # fmt: skip
_Q1 = (
    -1.0308138671963011e-13, 2.8910711721761855e-13, -5.061753256584603e-13, 1.798464167692092e-12,
    -7.446940085047187e-12, 3.114226481045957e-11, -1.481767246888408e-10, 8.315594957016384e-10,
    -5.720887751116045e-09, 5.1361067953963376e-08, -6.633568564937367e-07, 1.456961480935691e-05,
    -0.0007697167057643569, 0.3742149922195918,
)  # fmt: skip
_K0 = (
    1.8282920316203465e-16, 3.518631515801595e-14, 5.45210758976468e-12, 6.623013272794464e-10,
    6.093361934166002e-08, 4.054506619949891e-06, 0.00018280555827901256, 0.005053392643196092, 0.07177701034240512,
    0.3404973210133806, -0.30362077291575545,
)  # fmt: skip
_K1 = (
    -3.59620154421188e-15, -6.214271617193096e-13, -8.532735118189087e-11, -9.03212750174071e-09,
    -7.081133770184316e-07, -3.891869064371633e-05, -0.0013831688466153067, -0.02785423521977184,
    -0.24383852886774365, -0.3322409552403131, 0.8850882877295894,
)  # fmt: skip
_K0_TAIL = (
    3.96355256263508e-11, -6.82912231113288e-11, -1.286822465377347e-10, 2.1672329094976382e-10,
    3.1302580587365775e-10, -5.425392268826551e-10, -1.2974622316235225e-10, 1.6249121403085222e-10,
    9.50126795470238e-10, -1.9163886235149194e-09, 3.237899704197692e-09, -7.294807830568568e-09,
    1.7288102250486044e-08, -4.133603551539714e-08, 1.028875394812628e-07, -2.6890740183537945e-07,
    7.427918745301117e-07, -2.191177672686996e-06, 7.0022444255986085e-06, -2.473520457096165e-05,
    9.956054748575022e-05, -0.0004797690567658713, 0.0030328918102739454, -0.031071461824889523, 1.2185953385133905,
)  # fmt: skip
_K1_TAIL = (
    -4.3071978473211124e-11, 7.437054315558186e-11, 1.392647707395567e-10, -2.3491838521262873e-10,
    -3.4052380863530667e-10, 5.917703107429806e-10, 1.3403129134884593e-10, -1.6214964652946646e-10,
    -1.064142272258912e-09, 2.1600738070102857e-09, -3.7119962979184724e-09, 8.418479670972575e-09,
    -2.0078990564218355e-08, 4.84585048883485e-08, -1.219592991740941e-07, 3.229820302740851e-07,
    -9.067215327593673e-07, 2.730041309124799e-06, -8.961206061895131e-06, 3.284386556850026e-05,
    -0.00013959021963384766, 0.0007357241549077615, -0.005566729880073094, 0.10334973775386523, 1.363151890371342,
)  # fmt: skip
_AIRY = (
    -4.316020295570828e-10, 1.3893080358620844e-08, -3.2394023897852895e-08, -1.4328123179539055e-07,
    6.571268819715665e-07, -1.2432130051111328e-07, -4.85795187633318e-06, 1.2110858092369347e-05,
    5.424292766888306e-06, -9.468836930351183e-05, 0.00018425641341495222, 0.00017288880744511316,
    -0.0014712729639522427, 0.002164244323015424, 0.003342942740497473, -0.017510261984621182, 0.01803989968197353,
    0.04375368661882689, -0.15277861755774197, 0.09441047428042976, 0.38947100437678, -0.923468823633119,
    0.2031698036483516, 2.2672020039884924, -3.551454586539841, -0.6596168799437175, 7.966485186163628,
    -7.519716387889934, -4.91504712333015, 14.616202352506741, -6.36377520002891, -9.146985614158044,
    10.397775816796367, 0.0034023237962924387, -4.265357308067737, 1.0821543852084365, 0.4642565777488694,
)  # fmt: skip
_AIRY_FAR = (
    2.1929893020120217e-11, -3.8196778172336026e-11, -5.868995202768421e-11, 9.898607543105416e-11,
    1.4690592023965664e-10, -2.604903587393327e-10, 2.128958574830871e-11, -8.536860799618368e-11,
    6.603518459892134e-10, -1.411229550105971e-09, 2.888653599463647e-09, -6.7762769563812695e-09,
    1.6630926776334176e-08, -4.2437924340787614e-08, 1.1433684419309012e-07, -3.288106704947745e-07,
    1.0235058545735147e-06, -3.519136804737076e-06, 1.3782845661331088e-05, -6.468930830926323e-05,
    0.0004004640321382673, -0.004132311639228723, 0.27747848693649835,
)  # fmt: skip
_AIRY_P = (
    1.6683043795874702e-15, -3.886522597224897e-15, 2.382442990381322e-15, -7.787735421601643e-15,
    3.829870021103545e-14, -1.1836701781520425e-13, 3.863113115036464e-13, -1.447362115433592e-12,
    6.072523609785283e-12, -2.917256918256436e-11, 1.6630370084445486e-10, -1.1806844679657957e-09,
    1.1222277557296616e-08, -1.6038523723834539e-07, 4.242596446004732e-06, -0.000330038269937171,
    0.9996655461418626,
)  # fmt: skip
_AIRY_Q = (
    1.5884475441856464e-14, -3.5692755434756864e-14, 1.611484374643581e-14, -5.372423220536795e-14,
    2.9539656133635526e-13, -8.626442966295054e-13, 2.613225176853636e-12, -9.156547801421571e-12,
    3.556419746366063e-11, -1.5580258138940386e-10, 7.946905666063241e-10, -4.914221420048568e-09,
    3.9081859211058664e-08, -4.3796763573406977e-07, 8.065003371961879e-06, -0.0003292741400677444,
    0.0691066223381818,
)  # fmt: skip
_AMPLITUDE = ((_P0, _Q0), (_P1, _Q1))
_TWO_OVER_PI = 2 / math.pi


def _waves(x: Any, order: int) -> tuple[Any, Any]:
    """J and Y of order 0 or 1 for x >= 8: an amplitude times cosine and sine of x minus a quarter or more."""
    w = 64 / (x * x)
    p, q = (polynomial(2 * w - 1, c) for c in _AMPLITUDE[order])
    q /= x
    # cos and sin of x - pi/4 (x - 3 pi/4 for order 1), without rounding that difference
    s, c = np.sin(x), np.cos(x)
    cosine, sine = ((c + s), (s - c)) if order == 0 else ((s - c), -(c + s))
    scale = 1 / np.sqrt(np.pi * x)
    return scale * (p * cosine - q * sine), scale * (p * sine + q * cosine)


def _near_zeros(x: Any, zeros: Any, coefficients: Any) -> Any:
    out = polynomial(x * x / 32 - 1, coefficients)
    for high, rest in zeros:
        out *= ((x - high) - rest) * (x + high)
    return out


def _j0_near(x: Any) -> Any:
    return _near_zeros(x, _J0_ZEROS, _J0)


def _j1_near(x: Any) -> Any:
    return x * _near_zeros(x, _J1_ZEROS, _J1)


def _bessel_j0(x: Any) -> Any:
    """Bessel function of the first kind, order 0."""
    x = np.abs(x)
    out = piecewise(x, (x <= 8, _j0_near), ((x > 8) & (x < np.inf), lambda v: _waves(v, 0)[0]))
    out[np.isinf(x)] = 0
    return out


def _bessel_j1(x: Any) -> Any:
    """Bessel function of the first kind, order 1."""
    size = np.abs(x)
    out = piecewise(size, (size <= 8, _j1_near), ((size > 8) & (size < np.inf), lambda v: _waves(v, 1)[0]))
    out[np.isinf(x)] = 0
    return np.where(x < 0, -out, out)


def _y0_near(x: Any) -> Any:
    return polynomial(x * x / 32 - 1, _Y0) + _TWO_OVER_PI * np.log(x) * _j0_near(x)


def _y1_near(x: Any) -> Any:
    return x * polynomial(x * x / 32 - 1, _Y1) + _TWO_OVER_PI * (np.log(x) * _j1_near(x) - 1 / x)


def _second_kind(x: Any, near: Any, order: int) -> Any:
    out = piecewise(x, ((x > 0) & (x <= 8), near), ((x > 8) & (x < np.inf), lambda v: _waves(v, order)[1]))
    out[x == 0] = -np.inf
    out[x == np.inf] = 0
    return out


def _bessel_y0(x: Any) -> Any:
    """Bessel function of the second kind, order 0; nan left of 0."""
    return _second_kind(x, _y0_near, 0)


def _bessel_y1(x: Any) -> Any:
    """Bessel function of the second kind, order 1; nan left of 0."""
    return _second_kind(x, _y1_near, 1)


def _k0_near(x: Any) -> Any:
    return polynomial(x * x / 2 - 1, _K0) - np.log(x / 2) * special.i0(x)


def _k1_near(x: Any) -> Any:
    return polynomial(x * x / 2 - 1, _K1) / x + np.log(x / 2) * special.i1(x)


def _modified(x: Any, near: Any, tail: Any, scaled: bool) -> Any:
    def left(v: Any) -> Any:
        return near(v) * np.exp(v) if scaled else near(v)

    def right(v: Any) -> Any:
        out = polynomial(4 / v - 1, tail) / np.sqrt(v)
        return out if scaled else out * np.exp(-v)

    out = piecewise(x, ((x > 0) & (x <= 2), left), (x > 2, right))
    out[x == 0] = np.inf
    return out


def _modified_bessel_k0(x: Any) -> Any:
    """Modified Bessel function of the second kind, order 0."""
    return _modified(x, _k0_near, _K0_TAIL, False)


def _modified_bessel_k1(x: Any) -> Any:
    """Modified Bessel function of the second kind, order 1."""
    return _modified(x, _k1_near, _K1_TAIL, False)


def _scaled_modified_bessel_k0(x: Any) -> Any:
    """exp(x) * modified_bessel_k0(x)."""
    return _modified(x, _k0_near, _K0_TAIL, True)


def _scaled_modified_bessel_k1(x: Any) -> Any:
    """exp(x) * modified_bessel_k1(x)."""
    return _modified(x, _k1_near, _K1_TAIL, True)


def _spherical_bessel_j0(x: Any) -> Any:
    """sin(x) / x, 1 at 0."""
    return np.where(np.isinf(x), 0.0, np.where(x == 0, 1.0, np.sin(x) / np.where(x == 0, 1.0, x)))


def _airy_far(x: Any) -> Any:
    zeta = x * np.sqrt(x) / 1.5
    return polynomial(2 * 1.88 / zeta - 1, _AIRY_FAR) * np.exp(-zeta) / np.sqrt(np.sqrt(x))


def _airy_left(x: Any) -> Any:
    x = -x
    zeta = x * np.sqrt(x) / 1.5
    u = 2 * 7.4**2 / (zeta * zeta) - 1
    theta = zeta + np.pi / 4
    wave = np.sin(theta) * polynomial(u, _AIRY_P) - np.cos(theta) * polynomial(u, _AIRY_Q) / zeta
    return wave / np.sqrt(np.pi * np.sqrt(x))


def _airy_ai(x: Any) -> Any:
    """Airy function Ai."""
    return piecewise(
        x,
        (x < -5, _airy_left),
        ((x >= -5) & (x <= 2), lambda v: polynomial((v + 5) / 3.5 - 1, _AIRY)),
        (x > 2, _airy_far),
    )


bessel_j0, bessel_j1, bessel_y0, bessel_y1 = map(in_double, (_bessel_j0, _bessel_j1, _bessel_y0, _bessel_y1))
modified_bessel_k0, modified_bessel_k1 = in_double(_modified_bessel_k0), in_double(_modified_bessel_k1)
scaled_modified_bessel_k0 = in_double(_scaled_modified_bessel_k0)
scaled_modified_bessel_k1 = in_double(_scaled_modified_bessel_k1)
spherical_bessel_j0, airy_ai = in_double(_spherical_bessel_j0), in_double(_airy_ai)
