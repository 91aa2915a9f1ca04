/* test_quant_encode.c: encoders by what a round trip loses, against what the common quantiser loses on the same numbers, and by
 * what they make of odd input.
 *
 * The figures in `peers` were measured once with ggml's quantisers (llama.cpp v0.5.0, ggml_quantize_chunk) on exactly the numbers
 * of this test, without importance matrix and with one. Ours may not lose more. */
#include "support.h"

#include "gguf/gguf.h"
#include "quant/quant.h"

#include <math.h>

static const smt_dtype encoded[] = {SMT_DTYPE_F32,  SMT_DTYPE_F16,    SMT_DTYPE_BF16,   SMT_DTYPE_Q4_0,
                                    SMT_DTYPE_Q4_1, SMT_DTYPE_Q5_0,   SMT_DTYPE_Q5_1,   SMT_DTYPE_Q8_0,
                                    SMT_DTYPE_Q2_K, SMT_DTYPE_Q3_K,   SMT_DTYPE_Q4_K,   SMT_DTYPE_Q5_K,
                                    SMT_DTYPE_Q6_K, SMT_DTYPE_IQ4_NL, SMT_DTYPE_IQ4_XS, SMT_DTYPE_MXFP4};

/* Root of the summed squares of the changes over that of the numbers. */
static const struct {
    smt_dtype type;
    double normal;   /* 65536 normal numbers */
    double trained;  /* the matrices of a small trained model */
    double weighted; /* the normal numbers as rows of 1024, columns of very different importance: the error counted with it */
} peers[] = {
    {SMT_DTYPE_Q4_0, 0.085865, 0.085738, 0.069775},   {SMT_DTYPE_Q4_1, 0.078182, 0.083724, 0.053925},
    {SMT_DTYPE_Q5_0, 0.042687, 0.043439, 0.034785},   {SMT_DTYPE_Q5_1, 0.037780, 0.038399, 0.026202},
    {SMT_DTYPE_Q8_0, 0.005351, 0.005416, 0.005321},   {SMT_DTYPE_Q2_K, 0.296502, 0.322149, 0.194169},
    {SMT_DTYPE_Q3_K, 0.150053, 0.151476, 0.118423},   {SMT_DTYPE_Q4_K, 0.071169, 0.074936, 0.055046},
    {SMT_DTYPE_Q5_K, 0.036064, 0.036931, 0.028714},   {SMT_DTYPE_Q6_K, 0.017777, 0.017456, 0.014189},
    {SMT_DTYPE_IQ4_NL, 0.075909, 0.078264, 0.062156}, {SMT_DTYPE_IQ4_XS, 0.076489, 0.079135, 0.063064},
    {SMT_DTYPE_MXFP4, 0.114199, 0.115597, 0.114486},
};
#define ROUNDING 1.0005 /* of the figures */

/* Encodes and decodes; returns the relative error, in which `weights` [n] (or NULL) count. */
static double loss(smt_dtype type, const float *x, const float *weights, size_t n) {
    uint8_t *bytes = smt_alloc(n, sizeof(float));
    float *back = smt_alloc(n, sizeof *back);
    assert_true(smt_quant_encode_weighted(type, x, weights, bytes, n));
    assert_true(smt_quant_decode(type, bytes, back, n));
    double off = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double w = weights ? (double)weights[i] : 1, d = (double)back[i] - (double)x[i];
        off += w * d * d;
        sum += w * (double)x[i] * (double)x[i];
    }
    smt_free(bytes);
    smt_free(back);
    return sqrt(off / sum);
}

enum { MANY = 65536, COLUMNS = 1024 };

static void test_against_peer(void **state) {
    (void)state;
    float *x = smt_alloc(MANY, sizeof *x), *weights = smt_alloc(MANY, sizeof *weights);
    smt_test_random numbers = {1}, importances = {2};
    for (int i = 0; i < MANY; i++) x[i] = smt_test_normal(&numbers);
    for (int i = 0; i < COLUMNS; i++) weights[i] = expf(1.5f * smt_test_normal(&importances));
    for (int i = COLUMNS; i < MANY; i++) weights[i] = weights[i - COLUMNS];
    for (size_t p = 0; p < SMT_COUNT(peers); p++) {
        double even = loss(peers[p].type, x, NULL, MANY), weighted = loss(peers[p].type, x, weights, MANY);
        if (!(even <= peers[p].normal * ROUNDING && weighted <= peers[p].weighted * ROUNDING))
            fail_msg("%s loses %.6f (peer %.6f), weighted %.6f (peer %.6f)", smt_dtype_get((uint32_t)peers[p].type)->name, even,
                     peers[p].normal, weighted, peers[p].weighted);
        assert_true(even > peers[p].normal * 0.8); /* that few bits cannot do much better: something is not measured */
    }
    smt_free(x);
    smt_free(weights);
}

/* Every matrix whose size is a whole number of blocks, one after another. */
static float *trained_numbers(const char *path, size_t *out_n) {
    smt_error err = {0};
    smt_gguf *gguf;
    smt_str all = {0};
    SMT_ASSERT_OK(smt_gguf_open(path, &gguf, &err), &err);
    for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(gguf, i);
        if (tensor->type != SMT_DTYPE_F32 || tensor->ne[1] == 1 || tensor->bytes % 1024) continue;
        void *data = smt_alloc((size_t)tensor->bytes, 1);
        SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, 0, data, tensor->bytes, &err), &err);
        SMT_ASSERT_OK(smt_str_append(&all, data, tensor->bytes, &err), &err);
        smt_free(data);
    }
    smt_gguf_free(gguf);
    *out_n = all.bytes / sizeof(float);
    return (float *)all.text;
}

static void test_trained_against_peer(void **state) {
    (void)state;
    const char *path = smt_test_shared("models/stories260K.gguf");
    size_t n;
    if (!path) skip();
    float *x = trained_numbers(path, &n);
    assert_int_equal(n, 292096);
    for (size_t p = 0; p < SMT_COUNT(peers); p++) {
        double trained = loss(peers[p].type, x, NULL, n);
        if (!(trained <= peers[p].trained * ROUNDING))
            fail_msg("%s loses %.6f (peer %.6f)", smt_dtype_get((uint32_t)peers[p].type)->name, trained, peers[p].trained);
    }
    smt_free(x);
}

enum { N = 2048 };

static void round_trip(smt_dtype type, const float *x, float *out) {
    uint8_t bytes[N * 4];
    assert_true(smt_quant_encode(type, x, bytes, N));
    assert_true(smt_quant_decode(type, bytes, out, N));
}

static double relative_error(const float *x, const float *out) {
    double off = 0, sum = 0;
    for (int i = 0; i < N; i++) {
        off += ((double)out[i] - x[i]) * ((double)out[i] - x[i]);
        sum += (double)x[i] * x[i];
    }
    return sqrt(off / sum);
}

/* Types of one element a block: nearly nothing is lost, and nothing more the second time. Block types: what is lost does not
 * depend on the order of magnitude. */
static void test_scales(void **state) {
    (void)state;
    for (size_t t = 0; t < SMT_COUNT(encoded); t++) {
        double first = 0;
        for (int scale = -3; scale <= 3; scale++) {
            smt_test_random random = {.state = 7 + t};
            float x[N], out[N], again[N];
            for (int i = 0; i < N; i++) x[i] = ldexpf(smt_test_normal(&random), scale);
            round_trip(encoded[t], x, out);
            double error = relative_error(x, out);
            if (scale == -3) first = error;
            if (!(fabs(error - first) <= 1e-3 * first)) fail_msg("%s: error %g", smt_dtype_get(encoded[t])->name, error);
            if (smt_dtype_get(encoded[t])->elems > 1) continue;
            assert_true(error <= 2.5e-3);
            round_trip(encoded[t], out, again);
            assert_memory_equal(out, again, sizeof out);
        }
    }
}

/* Single elements of the block types: never further off than the coarsest step its block can have. */
static void test_element_bounds(void **state) {
    (void)state;
    static const struct {
        smt_dtype type;
        uint32_t block;
        float steps; /* the range of a block is this many steps */
    } rows[] = {{SMT_DTYPE_Q8_0, 32, 127}, {SMT_DTYPE_Q6_K, 16, 32}};
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        smt_test_random random = {.state = 99 + r};
        float x[N], out[N];
        for (int i = 0; i < N; i++) x[i] = smt_test_uniform(&random, -2, 3);
        round_trip(rows[r].type, x, out);
        for (uint32_t i = 0; i < N; i += rows[r].block) {
            float top = 0;
            for (uint32_t j = i; j < i + rows[r].block; j++) top = fmaxf(top, fabsf(x[j]));
            for (uint32_t j = i; j < i + rows[r].block; j++)
                if (!(fabsf(out[j] - x[j]) <= 1.05f * top / rows[r].steps))
                    fail_msg("%s element %u: %g for %g", smt_dtype_get(rows[r].type)->name, j, (double)out[j], (double)x[j]);
        }
    }
}

/* A code in each place of the block comes back from the same place: catches nibbles, high bits or scales exchanged. */
static void test_places(void **state) {
    (void)state;
    for (size_t t = 0; t < SMT_COUNT(encoded); t++)
        for (int i = 0; i < 2 * 256; i += 1 + i % 7) { /* in the first of the largest blocks, and in the second */
            float x[N] = {0}, out[N];
            x[i] = -1;
            round_trip(encoded[t], x, out);
            for (int j = 0; j < N; j++)
                if (fabsf(out[j] - x[j]) > (j == i ? 0.02f : 0.01f)) /* IQ4 types have no zero: 1 / 127 comes nearest */
                    fail_msg("%s: -1 at %d gave %g at %d", smt_dtype_get(encoded[t])->name, i, (double)out[j], j);
        }
}

/* Zeros, infinities, NaN, huge and subnormal numbers: defined results, zeros exact (the sanitizer watches the rest). */
static void test_odd_values(void **state) {
    (void)state;
    const float odd[] = {0, NAN, INFINITY, -INFINITY, 1e38f, -3e38f, 1e-40f, -1e-45f, 65504, 7e4f, 1e-8f};
    for (size_t t = 0; t < SMT_COUNT(encoded); t++) {
        float x[N], out[N];
        for (size_t o = 0; o < SMT_COUNT(odd); o++) {
            for (int i = 0; i < N; i++) x[i] = odd[o];
            round_trip(encoded[t], x, out);
            if (odd[o] == 0)
                for (int i = 0; i < N; i++) assert_true(out[i] == 0);
        }
        for (int i = 0; i < N; i++) x[i] = odd[i % (int)SMT_COUNT(odd)];
        round_trip(encoded[t], x, out);
    }
}

/* Of every `step`-th element. */
static double mean_change(smt_dtype type, const uint8_t *bytes, const float *x, int step) {
    float out[N];
    double change = 0;
    assert_true(smt_quant_decode(type, bytes, out, N));
    for (int i = 0; i < N; i += step) change += fabs((double)out[i] - (double)x[i]);
    return change * step / N;
}

/* The extremes of what the weights may be: nothing breaks, and importance is attended to. */
static void test_odd_weights(void **state) {
    (void)state;
    smt_test_random random = {.state = 5};
    float x[N], w[N], out[N];
    uint8_t plain[N * 4], bytes[N * 4];
    for (int i = 0; i < N; i++) x[i] = smt_test_normal(&random);
    for (size_t t = 0; t < SMT_COUNT(encoded); t++) {
        if (smt_dtype_get(encoded[t])->elems == 1) continue;
        const size_t n_bytes = (size_t)smt_dtype_row_bytes(encoded[t], N);
        assert_true(smt_quant_encode(encoded[t], x, plain, N));
        static const float even[] = {0, 3e38f, 1e-38f};
        for (size_t e = 0; e < SMT_COUNT(even); e++) { /* all alike: as without */
            for (int i = 0; i < N; i++) w[i] = even[e];
            assert_true(smt_quant_encode_weighted(encoded[t], x, w, bytes, N));
            if (even[e] == 0) assert_memory_equal(bytes, plain, n_bytes);
            assert_true(smt_quant_decode(encoded[t], bytes, out, N));
            assert_true(relative_error(x, out) < 0.35);
        }
        if (encoded[t] == SMT_DTYPE_Q8_0) continue;             /* has no use for weights */
        for (int i = 0; i < N; i++) w[i] = i % 32 == 0 ? 1 : 0; /* these count: they are kept better than without weights */
        assert_true(smt_quant_encode_weighted(encoded[t], x, w, bytes, N));
        double unweighted = mean_change(encoded[t], plain, x, 32), weighted = mean_change(encoded[t], bytes, x, 32);
        if (!(weighted < (encoded[t] == SMT_DTYPE_MXFP4 ? 0.95 : 0.6) * unweighted)) /* a power of two hardly moves */
            fail_msg("%s: %g, unweighted %g", smt_dtype_get(encoded[t])->name, weighted, unweighted);
    }
}

/* Small numbers whose scales are subnormal halves: coarse, but of the right size and sign. */
static void test_tiny_numbers(void **state) {
    (void)state;
    for (size_t t = 0; t < SMT_COUNT(encoded); t++) {
        smt_test_random random = {.state = 3};
        float x[N], out[N];
        for (int i = 0; i < N; i++) x[i] = 2e-4f * smt_test_normal(&random);
        round_trip(encoded[t], x, out);
        if (!(relative_error(x, out) < 0.4)) fail_msg("%s: %g", smt_dtype_get(encoded[t])->name, relative_error(x, out));
    }
}

/* A narrow range far from zero, which formats with a minimum keep and others cannot. */
static void test_offset(void **state) {
    (void)state;
    static const smt_dtype lines[] = {SMT_DTYPE_Q4_1, SMT_DTYPE_Q5_1};
    for (size_t t = 0; t < SMT_COUNT(lines); t++)
        for (int sign = -1; sign <= 1; sign += 2) {
            smt_test_random random = {.state = 4};
            float x[N], out[N];
            for (int i = 0; i < N; i++) x[i] = (float)sign * (8 + smt_test_uniform(&random, 0, 0.5f));
            round_trip(lines[t], x, out);
            assert_true(relative_error(x, out) < 2e-3);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_peer), cmocka_unit_test(test_trained_against_peer),
        cmocka_unit_test(test_scales),       cmocka_unit_test(test_element_bounds),
        cmocka_unit_test(test_places),       cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_odd_weights),  cmocka_unit_test(test_tiny_numbers),
        cmocka_unit_test(test_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
