"""Elementary functions in single precision, of operations that processors do on many numbers at
once.

Written for float32 arrays and traced for the compiled engine (trace.py), whose compiler would otherwise call the
mathematics library once a cell. Polynomials after the Cephes library (Moshier, netlib.org/cephes, single precision);
relative errors are under 1e-6 where stated, as tests/test_engine.py holds them.
"""

from typing import Any

import numpy as np

from memenv.compiler.trace import routine

Array = Any  # float32 array (n,), or a traced term

_f = np.float32
ROUNDER = _f(1.5 * 2**23)  # added and taken away it leaves the nearest integer; its bits hold that integer at the end
LOG2_E = _f(1.44269504088896341)
LN2_HIGH, LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)
EXPONENT_ONE = np.int32(127 << 23)  # the bits of 1.0
SQRT_HALF_BITS = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)


def _polynomial(x: Array, *coefficients: float) -> Array:
    """Horner's rule, highest power first."""
    value = x * _f(coefficients[0]) + _f(coefficients[1])
    for coefficient in coefficients[2:]:
        value = value * x + _f(coefficient)
    return value


@routine("float32", "float32")
def rint(x: Array) -> Array:
    """The nearest integer, for |x| < 2^22; halves go to the even one."""
    return (x + ROUNDER) - ROUNDER


@routine("float32", "float32")
def floor(x: Array) -> Array:
    """The greatest integer that is not above x, for |x| < 2^22."""
    nearest = rint(x)
    return nearest - np.where(nearest > x, _f(1.0), _f(0.0))


def _exp_parts(x: Array) -> tuple[Array, Array]:
    """2^n and expm1(x - n ln 2) with n = round(x / ln 2); x is held within the range of float32."""
    x = np.minimum(np.maximum(x, _f(-87.0)), _f(88.0))
    shifted = x * LOG2_E + ROUNDER
    n = shifted - ROUNDER
    r = x - n * LN2_HIGH - n * LN2_LOW
    tail = _polynomial(
        r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1
    )
    return ((shifted.view(np.int32) << 23) + EXPONENT_ONE).view(np.float32), tail * (r * r) + r


@routine("float32", "float32")
def exp(x: Array) -> Array:
    """e^x, relative error < 2e-7 in -87 < x < 88, constant beyond."""
    scale, part = _exp_parts(x)
    return scale * part + scale


@routine("float32", "float32")
def expm1(x: Array) -> Array:
    """e^x - 1, relative error < 5e-7 in x < 88, near zero too."""
    scale, part = _exp_parts(x)
    return scale * part + (scale - _f(1.0))


@routine("float32", "float32")
def tanh(x: Array) -> Array:
    """The hyperbolic tangent, relative error < 1e-6."""
    part = expm1(x + x)
    return part / (part + _f(2.0))


@routine("float32", "float32")
def log(x: Array) -> Array:
    """ln x, error < 2e-7 + 2e-7 |ln x|, for normal numbers x > 0."""
    bits = x.view(np.int32) - SQRT_HALF_BITS
    exponent = bits >> 23
    m = (x.view(np.int32) - (exponent << 23)).view(np.float32) - _f(1.0)  # sqrt(1/2) <= m + 1 < sqrt(2)
    n = exponent.astype(np.float32)
    square = m * m
    tail = _polynomial(
        m,
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
    return n * LN2_HIGH + (m + (m * square * tail + (n * LN2_LOW - _f(0.5) * square)))


@routine("float32", "float32")
def log1p(x: Array) -> Array:
    """ln(1 + x) for x > -1, relative error < 1e-6, near zero too."""
    x = np.minimum(x, _f(1e38))  # no infinity, which less itself is no number
    one = x + _f(1.0)
    return log(one) - ((one - _f(1.0)) - x) / one


@routine("uint32", "float32 float32")
def cos_sin_turn(turn: Array) -> tuple[Array, Array]:
    """Cosine and sine of 2 pi `turn` / 2^32, uint32; error < 1e-7."""
    quarter = turn + np.uint32(1 << 29)  # its two leading bits count the quarters of the turn, to the nearest
    angle = ((turn << 2).view(np.int32)).astype(np.float32) * _f(np.pi / 2 / 2**32)
    square = angle * angle
    sine = _polynomial(square, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1) * square * angle + angle
    cosine = _polynomial(square, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
    cosine = cosine * (square * square) - _f(0.5) * square + _f(1.0)
    odd = (quarter & np.uint32(1 << 30)) > np.uint32(0)
    a, b = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
    flip_a = (quarter + (np.uint32(1 << 30))) & np.uint32(1 << 31)
    flip_b = quarter & np.uint32(1 << 31)
    return (a.view(np.uint32) ^ flip_a).view(np.float32), (b.view(np.uint32) ^ flip_b).view(np.float32)


@routine("float32", "float32")
def ndtri(p: Array) -> Array:
    """The standard normal quantile, relative error < 2e-6; Wichura's PPND7, 10.2307/2347330."""
    q = p - _f(0.5)
    r = _f(0.180625) - q * q
    middle = (
        q
        * _polynomial(r, 5.9109374720e1, 1.5929113202e2, 5.0434271938e1, 3.3871327179e0)
        / _polynomial(r, 6.7187563600e1, 7.8757757664e1, 1.7895169469e1, 1.0)
    )
    r = np.sqrt(-log(np.maximum(np.minimum(p, _f(1.0) - p), _f(1e-30))))
    near, far = r - _f(1.6), r - _f(5.0)
    near = _polynomial(near, 1.7023821103e-1, 1.3067284816e0, 2.7568153900e0, 1.4234372777e0) / _polynomial(
        near, 1.2021132975e-1, 7.3700164250e-1, 1.0
    )
    far = _polynomial(far, 1.7337203997e-2, 4.2868294337e-1, 3.0812263860e0, 6.6579051150e0) / _polynomial(
        far, 1.2258202635e-2, 2.4197894225e-1, 1.0
    )
    tail = np.where(r > _f(5.0), far, near)
    tail = np.where(q < _f(0.0), -tail, tail)
    return np.where(np.abs(q) <= _f(0.425), middle, tail)
