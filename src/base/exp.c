/* exp.c: the exponential that host and shaders share to the bit (shaders/lib/prelude.glsl has the other form of it). The build forbids
 * contraction (-ffp-contract=off): a plain product and sum stay two roundings. */
#include "base.h"

#include <math.h>
#include <string.h>

float smt_exp(float x) {
    if (x != x) return x;
    if (x < -87.3f) return 0;
    if (x > 88.7f) x = 88.7f;
    float n = floorf(x * 0x1.715476p+0f + 0.5f);
    /* ln 2 in two parts: the first has so few bits that n times it is exact. |r| ends up below 0.347. */
    float r = (x - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;
    /* exp(r) = 1 + r + r^2 * (C2 + ... + C6 r^4), the C fitted for least relative error on that interval. */
    float p = 0x1.6a4f6cp-10f * r + 0x1.123986p-7f;
    p = p * r + 0x1.5558aep-5f;
    p = p * r + 0x1.555492p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = (p * r) * r + r;
    p = p + 1.0f;
    uint32_t bits; /* p is in (0.7, 1.42) and n in -126 .. 128, so the exponent stays that of a normal number */
    memcpy(&bits, &p, sizeof bits);
    bits += (uint32_t)(int32_t)n << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}
