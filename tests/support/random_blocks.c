/* random_blocks.c: see random_blocks.h. */
#include "random_blocks.h"

#include <math.h>

/* Where a block keeps its half-float scale, and the second number of the types that have one; `unit`: deviation of the weights for a scale
 * of 1 and random codes; `ratio`: the second number, as a multiple of the scale, that makes their mean zero. */
static const struct {
    smt_dtype type;
    int d_at, m_at;
    float unit, ratio;
} forms[] = {
    {SMT_DTYPE_Q4_0, 0, -1, 4.6f, 0},     {SMT_DTYPE_Q4_1, 0, 2, 4.6f, -7.5f}, {SMT_DTYPE_Q5_0, 0, -1, 9.2f, 0},
    {SMT_DTYPE_Q5_1, 0, 2, 9.2f, -15.5f}, {SMT_DTYPE_Q8_0, 0, -1, 74, 0},      {SMT_DTYPE_Q2_K, 80, 82, 14, 1.5f},
    {SMT_DTYPE_Q3_K, 108, -1, 43, 0},     {SMT_DTYPE_Q4_K, 0, 2, 258, 7.5f},   {SMT_DTYPE_Q5_K, 0, 2, 526, 15.5f},
    {SMT_DTYPE_Q6_K, 208, -1, 1370, 0},   {SMT_DTYPE_IQ4_NL, 0, -1, 70, 0},    {SMT_DTYPE_IQ4_XS, 0, -1, 1290, 0},
    {SMT_DTYPE_IQ2_XXS, 0, -1, 60, 0},    {SMT_DTYPE_IQ2_XS, 0, -1, 60, 0},    {SMT_DTYPE_IQ2_S, 0, -1, 60, 0},
    {SMT_DTYPE_IQ3_XXS, 0, -1, 160, 0},   {SMT_DTYPE_IQ3_S, 0, -1, 170, 0},    {SMT_DTYPE_IQ1_S, 0, -1, 7, 0},
};

static void put_half(uint8_t *at, float value) {
    uint16_t half = smt_float_to_half(value);
    memcpy(at, &half, sizeof half);
}

static float random_scale(smt_test_random *random, float size) {
    float d = size * smt_test_uniform(random, 0.5f, 1.5f) * (smt_test_next(random) % 2 ? 1 : -1);
    return smt_test_next(random) % 16 == 0 ? d * 0x1p-12f : d;
}

/* The scale of IQ1_M is spread over the tops of four words. */
static void put_iq1_m(uint8_t *words, float d) {
    uint16_t half = smt_float_to_half(d);
    for (int k = 0; k < 4; k++) words[2 * k + 1] = (uint8_t)((words[2 * k + 1] & 15) | (half >> (4 * k) & 15) << 4);
}

void smt_test_blocks(smt_test_random *random, smt_dtype type, uint8_t *bytes, size_t n_blocks, float deviation) {
    size_t size = smt_dtype_get((uint32_t)type)->bytes, form = 0;
    while (form < SMT_COUNT(forms) && forms[form].type != type) form++;
    assert_true(form < SMT_COUNT(forms) || type == SMT_DTYPE_IQ1_M || type == SMT_DTYPE_MXFP4);
    for (size_t i = 0; i < n_blocks * size; i++) bytes[i] = (uint8_t)(smt_test_next(random) >> 32);
    for (size_t b = 0; b < n_blocks; b++) {
        uint8_t *block = bytes + b * size;
        if (type == SMT_DTYPE_MXFP4) {
            block[0] = (uint8_t)(128 + ilogbf(deviation / 6) + (int)(smt_test_next(random) % 3)); /* codes deviate by 6 */
        } else if (type == SMT_DTYPE_IQ1_M) {
            put_iq1_m(block + 48, random_scale(random, deviation / 7));
        } else {
            float d = random_scale(random, deviation / forms[form].unit);
            put_half(block + forms[form].d_at, d);
            if (forms[form].m_at >= 0)
                put_half(block + forms[form].m_at, d * forms[form].ratio * smt_test_uniform(random, 0.9f, 1.1f));
        }
    }
}
