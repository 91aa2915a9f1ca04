/* test_kernel_exp.c: the exponential and silu of the shaders, called from a small shader of the test, over the whole range of
 * floats. */
#include "kernel_support.h"

#include "ref/ref.h"

#include <math.h>

static const char text[] = "#include \"lib/prelude.glsl\"\n"
                           "layout(std430, binding = 1) readonly buffer X { float x[]; };\n"
                           "layout(std430, binding = 2) writeonly buffer Y { vec2 y[]; };\n"
                           "void main() {\n"
                           "    uint i = gl_GlobalInvocationID.x;\n"
                           "    y[i] = vec2(smt_exp(x[i]), smt_silu(x[i]));\n"
                           "}\n";

/* y[2 * n] <- exp and silu of x[n]; n is a multiple of 64. */
static void compute(const smt_lab *lab, const float *x, float *y, uint32_t n) {
    const smt_vk_fixture *f = lab->vk;
    smt_vk_test_shader(f, "exp.comp", text);
    smt_vk_kernel *kernel = smt_vk_test_kernel(f, "exp.comp", 1, 0);
    smt_vk_buffer *in = smt_vk_test_buffer(f, 4ull * n, "x"), *out = smt_vk_test_buffer(f, 8ull * n, "y");
    memcpy(smt_vk_buffer_map(in), x, 4ull * n);
    smt_error err;
    smt_vk_recording *recording;
    SMT_ASSERT_OK(smt_vk_buffer_flush(f->device, in, 0, 4ull * n, &err), &err);
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "exp", &recording, &err), &err);
    smt_vk_range buffers[] = {smt_vk_test_whole(in), smt_vk_test_whole(out)};
    smt_vk_dispatch dispatch = {.kernel = kernel, .buffers = buffers, .n_buffers = 2, .groups = {n / 64, 1, 1}};
    SMT_ASSERT_OK(smt_vk_record_dispatch(recording, &dispatch, &err), &err);
    smt_vk_test_run(f, recording);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, out, 0, 8ull * n, &err), &err);
    memcpy(y, smt_vk_buffer_map(out), 8ull * n);
    smt_vk_kernel_destroy(f->device, kernel);
    smt_vk_buffer_destroy(f->device, in);
    smt_vk_buffer_destroy(f->device, out);
}

#define STEP_BITS 11
#define N         (1u << (32 - STEP_BITS))

/* Equal to the reference to the bit, and that near the true value. */
static void check(const char *name, float x, float got, float expected, double exact) {
    if (memcmp(&got, &expected, sizeof got) != 0)
        fail_msg("%s(%.9g): %a, expected %a", name, (double)x, (double)got, (double)expected);
    if (fabsf(x) < 87.3f && fabs((double)got / exact - 1) > 2e-7)
        fail_msg("%s(%.9g): %a is far off", name, (double)x, (double)got);
}

static void test_every_scale(void **state) {
    const smt_lab *lab = *state;
    float *x = smt_alloc(N, 4), *y = smt_alloc(N, 8);
    uint32_t n = 0;
    assert_true(x && y);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t bits = i << STEP_BITS | (i & ((1u << STEP_BITS) - 1)); /* low bits vary too */
        memcpy(&x[n], &bits, 4);
        n += fabsf(x[n]) >= 1e-37f && isfinite(x[n]); /* subnormal numbers may be flushed, silu halves; NaN has no rule */
    }
    while (n % 64) x[n++] = 0;
    compute(lab, x, y, n);
    for (uint32_t i = 0; i < n; i++) {
        double wide = (double)x[i], silu = wide / (1 + exp(-wide));
        check("exp", x[i], y[2 * i], smt_ref_exp(x[i]), exp(wide));
        if (fabs(silu) > 1e-37) check("silu", x[i], y[2 * i + 1], smt_ref_silu(x[i]), silu);
    }
    smt_free(x);
    smt_free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_scale)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
