"""Arithmetic in float64 with the same bits on every machine.

numpy's own products, sums and exponentials depend on the BLAS, the vector width and the C library. Here everything is made of
elementwise +, -, *, / and sqrt, which IEEE 754 defines to the bit, in a fixed order.
"""

import math

import numpy as np

SMALLEST_EXPONENT = -745.0
LOG_2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)  # in two parts; the first has zeros to multiply into


def total(x):
    """Sum over the last axis, from the first element to the last; the axis stays, of length 1."""
    acc = np.zeros(x.shape[:-1] + (1,))
    for index in range(x.shape[-1]):
        acc = acc + x[..., index : index + 1]
    return acc


def matmul(a, b):
    """`[..., n, k] x [..., k, m]`, summed over k from the first to the last."""
    acc = np.zeros(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + (a.shape[-2], b.shape[-1]))
    for index in range(a.shape[-1]):
        acc = acc + a[..., :, index : index + 1] * b[..., index : index + 1, :]
    return acc


def exp(x):
    """2^n times the Taylor series of the rest, which is at most log(2) / 2; 0 below the range of float64."""
    high, low = LOG_2
    bounded = np.maximum(x, SMALLEST_EXPONENT)
    n = np.rint(bounded / (high + low))
    rest = (bounded - n * high) - n * low
    series = np.ones_like(rest)
    for k in range(17, 0, -1):
        series = 1.0 + series * rest / k
    half = np.floor(n / 2).astype(np.int64)  # 2^n alone may be below the range
    scaled = np.ldexp(np.ldexp(series, half), n.astype(np.int64) - half)
    return np.where(x < SMALLEST_EXPONENT, 0.0, scaled)


def log(x):
    """`log(m 2^n) = n log(2) + 2 artanh((m - 1) / (m + 1))` for m between 1/2 and 1."""
    m, n = np.frexp(x)
    y = (m - 1.0) / (m + 1.0)
    series = np.zeros_like(y)
    for k in range(39, 0, -2):
        series = series * (y * y) + 1.0 / k
    return n * sum(LOG_2) + 2.0 * y * series


def tanh(x):
    """Odd in x, so that only the exponential of a number below 0 is taken."""
    e = exp(-2.0 * np.abs(x))
    return np.sign(x) * (1.0 - e) / (1.0 + e)


def erf(x):
    """Abramowitz and Stegun 7.1.6, a series of positive terms; 1 to the last bit beyond 6."""
    y = np.minimum(np.abs(x), 6.0)
    term = y.copy()
    series = y.copy()
    for k in range(1, 160):
        term = term * (2.0 * y * y) / (2.0 * k + 1.0)
        series = series + term
    return np.sign(x) * np.minimum((2.0 / math.sqrt(math.pi)) * exp(-y * y) * series, 1.0)


def softmax(x):
    """Over the last axis; the probability of a score of minus infinity is 0."""
    e = exp(x - np.max(x, axis=-1, keepdims=True))
    return e / total(e)


def self_test():
    """Compares with the C library: these series are not what is wrong if an output differs."""
    points = [k / 16.0 for k in range(-160, 161)]
    x = np.array(points)
    for name, ours, theirs in [
        ("exp", exp(x), [math.exp(p) for p in points]),
        ("tanh", tanh(x), [math.tanh(p) for p in points]),
        ("erf", erf(x), [math.erf(p) for p in points]),
        ("log", log(exp(x)), points),
        ("exp of small numbers", exp(60.0 * x), [math.exp(60.0 * p) for p in points]),
    ]:
        for point, a, b in zip(points, ours, theirs):
            if abs(a - b) > 4e-15 * max(abs(b), 1e-300) and abs(a - b) > 4e-16:
                raise SystemExit(f"{name}({point}) is {b}, not {a}")
    a, b = x[:6].reshape(2, 3), x[6:18].reshape(3, 4)
    if not np.allclose(matmul(a, b), a @ b, rtol=1e-14) or not np.allclose(total(a)[:, 0], a.sum(-1), rtol=1e-14):
        raise SystemExit("a product or a sum differs from numpy's")
