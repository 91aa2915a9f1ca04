/* test_ref_ops.c: each operation of the reference against its formula in double, and, where the numeric contract fixes the
 * order of float operations, against numbers that come out otherwise in any other order. */
#include "gguf_write.h"
#include "support.h"

#include "quant/quant.h"
#include "ref/ref.h"

#include <math.h>

static void fill(float *x, size_t n, uint64_t seed) {
    smt_test_random random = {.state = seed};
    for (size_t i = 0; i < n; i++) x[i] = smt_test_normal(&random);
}

static void test_dot(void **state) {
    (void)state;
    float a[67], b[67];
    fill(a, 67, 1);
    fill(b, 67, 2);
    for (uint32_t k = 0; k <= 67; k++) {
        double want = 0, size = 0;
        for (uint32_t i = 0; i < k; i++) {
            want += (double)a[i] * b[i];
            size += fabs((double)a[i] * b[i]);
        }
        assert_true(fabs(smt_ref_dot(a, b, k) - want) <= 1e-6 * size);
    }
    /* Chains: 1e8 swallows the fifth element, -1e8 meets it only at the end. One after another the sum would be 2. */
    const float big[5] = {1e8f, 1, -1e8f, 1, 1}, ones[5] = {1, 1, 1, 1, 1};
    assert_true(smt_ref_dot(big, ones, 5) == 0);
    /* Fused: what is left is the rounding error of the first product. */
    const float y = 1 + 0x1p-12f, product = y * y;
    const float c[5] = {-product, 0, 0, 0, y}, d[5] = {1, 0, 0, 0, y};
    assert_true(smt_ref_dot(c, d, 5) == 0x1p-24f);
}

/* Sixteen sums, one for every sixteenth chunk of 32. */
static void test_dot_wave(void **state) {
    (void)state;
    enum { K = 1100 };
    float a[K], b[K];
    fill(a, K, 3);
    fill(b, K, 4);
    for (uint32_t k = 0; k <= K; k += 11) {
        double want = 0, size = 0;
        for (uint32_t i = 0; i < k; i++) {
            want += (double)a[i] * b[i];
            size += fabs((double)a[i] * b[i]);
        }
        assert_true(fabs(smt_ref_dot_wave(a, b, k) - want) <= 1e-6 * size);
    }
    /* 1e8 swallows what its chain adds after it, also in the chunk 16 further on, and meets -1e8 before the last sum. */
    float far[600] = {0}, ones[600];
    for (int i = 0; i < 600; i++) ones[i] = 1;
    far[0] = 1e8f, far[31] = far[512] = 1, far[32] = -1e8f, far[480] = 1;
    assert_true(smt_ref_dot_wave(far, ones, 600) == 1);
}

/* Fast precision against the same sum of rounded activations in double, for every type that has it; and what rounding gives. */
static void test_dot_fast(void **state) {
    (void)state;
    enum { K = 1024 };
    static uint8_t row[4 * K];
    float a[K], w[K], x[K];
    fill(a, K, 5);
    fill(x, K, 6);
    uint32_t n_types = 0;
    for (int type = 0; type < SMT_DTYPE_LIMIT; type++) {
        if (!smt_dtype_get((uint32_t)type) || !smt_quant_has_codes((smt_dtype)type)) continue;
        assert_true(smt_quant_encode((smt_dtype)type, a, row, K));
        assert_true(smt_quant_decode((smt_dtype)type, row, w, K));
        double rounded = 0, plain = 0, size = 0;
        for (uint32_t i = 0; i < K; i++) {
            smt_ref_rounded r;
            smt_ref_round(x + i / SMT_QUANT_CHUNK * SMT_QUANT_CHUNK, &r);
            assert_true(fabs((double)r.q[i % SMT_QUANT_CHUNK] * r.scale - x[i]) <= 0.501 * r.scale);
            rounded += (double)w[i] * r.q[i % SMT_QUANT_CHUNK] * r.scale;
            plain += (double)w[i] * x[i];
            size += fabs((double)w[i] * x[i]);
        }
        double got = smt_ref_dot_fast((smt_dtype)type, row, x, K);
        assert_true(fabs(got - rounded) <= 1e-6 * size);
        assert_true(fabs(got - plain) <= 0.01 * size && got != (double)smt_ref_dot_wave(w, x, K));
        n_types++;
    }
    assert_int_equal(n_types, 8);
    smt_ref_rounded r;
    float chunk[SMT_QUANT_CHUNK] = {-254, 127, 1, 3, 5, -1, -3, 253}; /* twice the number of a step: halves go to even numbers */
    smt_ref_round(chunk, &r);
    const int8_t want[8] = {-127, 64, 0, 2, 2, 0, -2, 126};
    assert_memory_equal(r.q, want, sizeof want);
    assert_true(r.sum == 65 && fabsf(r.scale - 2) < 1e-6f);
    for (int i = 0; i < SMT_QUANT_CHUNK; i++) chunk[i] = 1e-38f;
    smt_ref_round(chunk, &r);
    assert_true(r.scale == 0 && r.sum == 0 && r.q[0] == 0);
}

static double ulp_of(double value) {
    int exponent;
    frexp(value, &exponent);
    return ldexp(1, exponent < -125 ? -149 : exponent - 24);
}

static void test_exp(void **state) {
    (void)state;
    double worst = 0;
    for (uint32_t bits = 0; bits < 0xff800000u; bits += 4099) {
        float x;
        memcpy(&x, &bits, sizeof x);
        if (!(x >= -87.3f && x <= 88.7f)) continue;
        double want = exp((double)x), off = fabs(smt_ref_exp(x) - want) / ulp_of(want);
        if (off > worst) worst = off;
    }
    if (!(worst < 1)) fail_msg("off by %g ulp", worst);
    assert_true(smt_ref_exp(0) == 1);
    assert_true(smt_ref_exp(-0.0f) == 1);
    assert_true(smt_ref_exp(-87.4f) == 0);
    assert_true(smt_ref_exp(-INFINITY) == 0);
    assert_true(smt_ref_exp(-87.3f) > 0);
    assert_true(smt_ref_exp(100) == smt_ref_exp(88.7f));
    assert_true(isfinite(smt_ref_exp(INFINITY)));
    assert_true(isnan(smt_ref_exp(NAN)));
}

/* Bits that a shader must reproduce; they also catch a compiler that contracts or reorders. */
static void test_exp_bits(void **state) {
    (void)state;
    static const struct {
        float x;
        uint32_t bits;
    } rows[] = {{1, 0x402df854}, {-1, 0x3ebc5ab2}, {0.5f, 0x3fd3094c}, {-10, 0x383e6bce}, {88, 0x7ef882b7}, {-87, 0x00b33687}};
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        float y = smt_ref_exp(rows[i].x);
        uint32_t bits;
        memcpy(&bits, &y, sizeof bits);
        if (bits != rows[i].bits) fail_msg("exp(%g): %08x, expected %08x", (double)rows[i].x, bits, rows[i].bits);
    }
    uint32_t sum = 0; /* over the whole range: every constant shows */
    for (int i = -87 * 64; i <= 88 * 64; i++) {
        float y = smt_ref_exp((float)i * 0x1.01p-6f);
        uint32_t bits;
        memcpy(&bits, &y, sizeof bits);
        sum = sum * 16777619u ^ bits;
    }
    if (sum != 0xe130bbbd) fail_msg("sum of bits %08x", sum);
}

static void test_silu(void **state) {
    (void)state;
    for (float x = -88; x < 90; x += 0.37f) {
        double want = x / (1 + exp(-(double)x));
        assert_true(fabs(smt_ref_silu(x) - want) <= 4e-7 * fabs(want));
    }
    assert_true(smt_ref_silu(-1000) <= 0 && smt_ref_silu(-1000) > -1e-35f);
    assert_true(smt_ref_silu(0) == 0);
}

static void test_rmsnorm(void **state) {
    (void)state;
    float x[131], w[131], y[131];
    fill(x, 131, 3);
    fill(w, 131, 4);
    const float eps = 0.25f;
    double sum = 0;
    for (int i = 0; i < 131; i++) sum += (double)x[i] * x[i];
    smt_ref_rmsnorm(x, w, eps, y, 131);
    for (int i = 0; i < 131; i++) assert_true(fabs(y[i] - x[i] / sqrt(sum / 131 + eps) * w[i]) <= 1e-6 * fabs(y[i]));
    smt_ref_rmsnorm(x, w, eps, x, 131); /* in place */
    assert_memory_equal(x, y, sizeof x);
}

static void test_rope(void **state) {
    (void)state;
    const double freq[3] = {1, 0.1, 0.003};
    const int32_t positions[] = {0, 1, 77, 131071};
    for (size_t p = 0; p < SMT_COUNT(positions); p++) {
        float x[7], y[7]; /* the seventh is beyond the rotated part */
        fill(x, 7, 5);
        memcpy(y, x, sizeof x);
        smt_ref_rope(freq, 1.5, positions[p], y, 6);
        for (int i = 0; i < 3; i++) {
            double angle = positions[p] * freq[i], c = 1.5 * cos(angle), s = 1.5 * sin(angle);
            assert_true(fabs(y[2 * i] - (x[2 * i] * c - x[2 * i + 1] * s)) < 1e-6);
            assert_true(fabs(y[2 * i + 1] - (x[2 * i] * s + x[2 * i + 1] * c)) < 1e-6);
        }
        assert_true(y[6] == x[6]);
    }
}

static void attend_double(const float *q, const float *keys, const float *values, size_t stride, uint32_t n, uint32_t key_dim,
                          uint32_t value_dim, double scale, double *out) {
    double max = -INFINITY, sum = 0, *score = smt_alloc(n, sizeof *score);
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t d = 0; d < key_dim; d++) score[t] += scale * q[d] * keys[t * stride + d];
        max = fmax(max, score[t]);
    }
    for (uint32_t d = 0; d < value_dim; d++) out[d] = 0;
    for (uint32_t t = 0; t < n; t++) {
        double p = exp(score[t] - max);
        sum += p;
        for (uint32_t d = 0; d < value_dim; d++) out[d] += p * values[t * stride + d];
    }
    for (uint32_t d = 0; d < value_dim; d++) out[d] /= sum;
    smt_free(score);
}

static void test_attend(void **state) {
    (void)state;
    enum { KEY = 27, VALUE = 19, STRIDE = KEY + VALUE + 3, MOST = 1000 };
    const uint32_t counts[] = {1, 2, 255, 256, 257, 512, 513, MOST};
    smt_error err;
    float *rows = smt_alloc(MOST * STRIDE, sizeof *rows), q[KEY], out[VALUE];
    double want[VALUE];
    fill(rows, MOST * STRIDE, 6);
    fill(q, KEY, 7);
    for (size_t i = 0; i < SMT_COUNT(counts); i++) {
        SMT_ASSERT_OK(smt_ref_attend(q, rows, rows + KEY, STRIDE, counts[i], KEY, VALUE, 1.3f, out, &err), &err);
        attend_double(q, rows, rows + KEY, STRIDE, counts[i], KEY, VALUE, 1.3f, want);
        for (int d = 0; d < VALUE; d++) assert_true(fabs(out[d] - want[d]) < 2e-6);
    }
    /* Values may be the keys themselves, as in latent attention. */
    SMT_ASSERT_OK(smt_ref_attend(q, rows, rows, STRIDE, 300, KEY, VALUE, 0.2f, out, &err), &err);
    attend_double(q, rows, rows, STRIDE, 300, KEY, VALUE, 0.2f, want);
    for (int d = 0; d < VALUE; d++) assert_true(fabs(out[d] - want[d]) < 2e-6);
    assert_int_equal(smt_ref_attend(q, rows, rows, STRIDE, 0, KEY, VALUE, 1, out, &err), SMT_INVALID);
    smt_mem_fail_after(1);
    assert_int_equal(smt_ref_attend(q, rows, rows, STRIDE, 300, KEY, VALUE, 1, out, &err), SMT_MEMORY);
    smt_mem_fail_after(0);
    smt_free(rows);
}

/* The one border between two chunks lies before position 256. All weights are 1 (q = 0); 1e8 swallows a 4, not an 8, so the
 * sum tells whether the two fours met each other or 1e8 first. */
static void test_attend_chunks(void **state) {
    (void)state;
    enum { N = 300 };
    smt_error err;
    const float plain = 1e8f / (float)N, met = 100000008.0f / (float)N;
    assert_true(plain != met);
    for (uint32_t t = 1; t + 1 < N; t++) {
        float keys[N] = {0}, values[N] = {0}, q = 0, out;
        values[t - 1] = 1e8f;
        values[t] = values[t + 1] = 4;
        SMT_ASSERT_OK(smt_ref_attend(&q, keys, values, 1, N, 1, 1, 1, &out, &err), &err);
        if (out != (t == 256 ? met : plain)) fail_msg("border before position %u: %a", t, (double)out);
    }
}

static void test_matvec(void **state) {
    (void)state;
    enum { K = 64, ROWS = 5, PLANES = 3 };
    smt_error err;
    float w[PLANES * ROWS * K], x[K], y[ROWS];
    uint8_t bytes[PLANES * ROWS * K / 32 * 34];
    fill(w, PLANES * ROWS * K, 8);
    fill(x, K, 9);
    assert_true(smt_quant_encode(SMT_DTYPE_Q8_0, w, bytes, PLANES * ROWS * K));
    assert_true(smt_quant_decode(SMT_DTYPE_Q8_0, bytes, w, PLANES * ROWS * K));
    smt_gguf_writer writer = {0};
    smt_gguf *file;
    uint8_t *written;
    size_t n_written;
    smt_gguf_write_tensor(&writer, "t", SMT_DTYPE_Q8_0, (const uint64_t[]){K, ROWS, PLANES, 1}, bytes);
    SMT_ASSERT_OK(smt_gguf_write_memory(&writer, &written, &n_written, &err), &err);
    SMT_ASSERT_OK(smt_gguf_parse(written, n_written, "t", &file, &err), &err);
    smt_gguf_tensor tensor = *smt_gguf_find_tensor(file, "t");
    smt_matrix matrix = {.tensor = &tensor, .k = K, .rows = ROWS, .n_planes = PLANES, .plane_rows = ROWS};
    for (uint32_t p = 0; p < PLANES; p++) {
        SMT_ASSERT_OK(smt_ref_matvec(&matrix, p, x, y, &err), &err);
        for (uint32_t r = 0; r < ROWS; r++) assert_true(y[r] == smt_ref_dot(w + (p * ROWS + r) * K, x, K));
    }
    tensor.type = SMT_DTYPE_I32; /* no decoder */
    assert_int_equal(smt_ref_matvec(&matrix, 0, x, y, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "t: row 0"));
    smt_gguf_free(file);
    smt_gguf_write_free(&writer);
    smt_free(written);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dot),           cmocka_unit_test(test_dot_wave), cmocka_unit_test(test_dot_fast),
        cmocka_unit_test(test_exp),           cmocka_unit_test(test_exp_bits), cmocka_unit_test(test_silu),
        cmocka_unit_test(test_rmsnorm),       cmocka_unit_test(test_rope),     cmocka_unit_test(test_attend),
        cmocka_unit_test(test_attend_chunks), cmocka_unit_test(test_matvec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
