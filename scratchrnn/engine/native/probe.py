"""A library of a few lines: whether what the compiler makes runs here, and how wide it computes."""

from __future__ import annotations

import ctypes

from .build import Unavailable, load

_SOURCE = """\
typedef float floats __attribute__((vector_size(64)));

void twice_and_one(const float *x, float *y) {
    floats v;
    __builtin_memcpy(&v, x, sizeof v);
    v = v * 2.0f + 1.0f;
    __builtin_memcpy(y, &v, sizeof v);
}

int vector_bits(void) {
#if defined __AVX512F__
    return 512;
#elif defined __AVX__
    return 256;
#elif defined __SSE2__ || defined __ARM_NEON
    return 128;
#else
    return 32;
#endif
}
"""


def probe() -> ctypes.CDLL:
    """The library, whose `vector_bits()` is the width that the compiler makes use of.

    Raises:
        Unavailable: it cannot be built, or computes something else.
    """
    library = load(_SOURCE, "probe")
    x, y = (ctypes.c_float * 16)(*range(16)), (ctypes.c_float * 16)()
    library.twice_and_one(x, y)
    if list(y) != [2 * k + 1 for k in range(16)]:
        raise Unavailable(f"{library._name} computes something else than its source: name another in SCRATCHRNN_CC")
    return library
