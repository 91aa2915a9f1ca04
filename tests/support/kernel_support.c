/* kernel_support.c: see kernel_support.h. */
#include "kernel_support.h"

#include "check/check_internal.h"
#include "random_blocks.h"
#include "ref/ref.h"
#include "run/run.h"

#include <math.h>

const char *const smt_lab_mode_names[SMT_LAB_MODES] = {"", " minimum", " other family", " other family minimum", " coop"};

/* ---- the lab ---- */

/* An fma whose two roundings lose what one keeps: (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24. */
static const char probe_text[] = "#include \"lib/prelude.glsl\"\n"
                                 "layout(std430, binding = 1) buffer Out { float v[]; };\n"
                                 "void main() {\n"
                                 "    if (gl_GlobalInvocationID.x > 0) return;\n"
                                 "    precise float r = fma(v[0], v[0], v[1]);\n"
                                 "    v[2] = r;\n"
                                 "}\n";
static void probe(smt_lab *lab) {
    const smt_vk_fixture *f = lab->vk;
    smt_vk_test_shader(f, "probe.comp", probe_text);
    smt_vk_kernel *kernel = smt_vk_test_kernel(f, "probe.comp", 1, 0);
    smt_vk_buffer *buffer = smt_vk_test_buffer(f, 16, "probe");
    float *v = smt_vk_buffer_map(buffer);
    v[0] = 1 + 0x1p-12f, v[1] = -(1 + 0x1p-11f);
    smt_vk_recording *recording;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_buffer_flush(f->device, buffer, 0, 16, &err), &err);
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "probe", &recording, &err), &err);
    smt_vk_range range = smt_vk_test_whole(buffer);
    smt_vk_dispatch dispatch = {.kernel = kernel, .buffers = &range, .n_buffers = 1, .groups = {1, 1, 1}};
    SMT_ASSERT_OK(smt_vk_record_dispatch(recording, &dispatch, &err), &err);
    smt_vk_test_run(f, recording);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, buffer, 0, 16, &err), &err);
    assert_true(v[2] == 0 || v[2] == 0x1p-24f);
    lab->fused = v[2] != 0;
    smt_vk_buffer_destroy(f->device, buffer);
    smt_vk_kernel_destroy(f->device, kernel);
}

int smt_lab_setup(void **state) {
    static smt_lab lab; /* one per program */
    if (smt_vk_test_setup(state) != 0) return 1;
    const char *thorough = getenv("SMT_TEST_FULL"), *driver = getenv("SMT_TEST_DRIVER");
    lab.vk = *state;
    lab.thorough = thorough && *thorough && strcmp(thorough, "0") != 0;
    lab.repeats = driver && strcmp(driver, "lavapipe-new") == 0;
    lab.devices[SMT_LAB_FULL] = lab.vk->device;
    bool rows = smt_vk_device_caps(lab.vk->device)->family == SMT_FAMILY_ROWS;
    for (int mode = SMT_LAB_FULL + 1; mode < SMT_LAB_MODES; mode++) {
        smt_vk_device_options options = {.minimum = mode == SMT_LAB_MINIMUM || mode == SMT_LAB_OTHER_MINIMUM,
                                         .kernels = mode < SMT_LAB_OTHER           ? NULL
                                                    : rows || mode == SMT_LAB_COOP ? "wave"
                                                                                   : "rows"};
        smt_error err;
        if (smt_vk_device_create(lab.vk->vk, 0, &options, &lab.devices[mode], &err) == SMT_OK) continue;
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    probe(&lab);
    *state = &lab;
    return 0;
}

smt_lab_mode smt_lab_wave(const smt_lab *lab, bool minimum) {
    if (smt_vk_device_caps(lab->devices[SMT_LAB_FULL])->family == SMT_FAMILY_WAVE)
        return minimum ? SMT_LAB_MINIMUM : SMT_LAB_FULL;
    return minimum ? SMT_LAB_OTHER_MINIMUM : SMT_LAB_OTHER;
}

static void end_job(smt_lab *lab) {
    smt_vk_device *device = lab->devices[lab->job.mode];
    for (uint32_t i = 0; i < lab->job.n_windows; i++) smt_vk_buffer_destroy(device, lab->job.windows[i]);
    for (uint32_t i = 0; i < SMT_VK_MAX_BUFFERS; i++) smt_vk_buffer_destroy(device, lab->job.buffers[i]);
    lab->job = (smt_lab_job){0};
}

int smt_lab_teardown(void **state) {
    smt_lab *lab = *state;
    end_job(lab);
    for (size_t i = 0; i < lab->n_kernels; i++) smt_vk_kernel_destroy(lab->devices[lab->kernels[i].mode], lab->kernels[i].kernel);
    smt_free(lab->kernels);
    for (int mode = SMT_LAB_FULL + 1; mode < SMT_LAB_MODES; mode++) smt_vk_device_destroy(lab->devices[mode]);
    *state = lab->vk;
    return smt_vk_test_teardown(state);
}

smt_vk_kernel *smt_lab_compile(smt_vk_device *device, const smt_kernel_key *key) {
    smt_kernel_spec spec;
    smt_kernel_describe(smt_vk_device_caps(device), key, &spec);
    smt_vk_kernel *kernel;
    smt_error err;
    SMT_ASSERT_OK(smt_run_kernel_compile(device, &spec, false, &kernel, &err), &err);
    return kernel;
}

void smt_test_kernel_stats(smt_vk_device *device, const smt_kernel_key *key, smt_kernel_spec *spec, smt_vk_kernel_stats *stats) {
    smt_vk_kernel *kernel;
    smt_error err;
    smt_kernel_describe(smt_vk_device_caps(device), key, spec);
    SMT_ASSERT_OK(smt_run_kernel_compile(device, spec, true, &kernel, &err), &err);
    smt_vk_kernel_get_stats(kernel, stats);
    smt_vk_kernel_destroy(device, kernel);
}

const smt_vk_kernel *smt_lab_get_kernel(smt_lab *lab, smt_lab_mode mode, const smt_kernel_key *key) {
    for (size_t i = 0; i < lab->n_kernels; i++)
        if (lab->kernels[i].mode == mode && smt_kernel_equal(&lab->kernels[i].key, key)) return lab->kernels[i].kernel;
    smt_error err;
    SMT_ASSERT_OK(smt_grow((void **)&lab->kernels, &lab->capacity, lab->n_kernels + 1, sizeof *lab->kernels, &err), &err);
    lab->kernels[lab->n_kernels] = (smt_lab_kernel){mode, *key, smt_lab_compile(lab->devices[mode], key)};
    return lab->kernels[lab->n_kernels++].kernel;
}

/* ---- a dispatch ---- */

void smt_lab_begin(smt_lab *lab, smt_lab_mode mode, const smt_kernel_key *key) {
    end_job(lab);
    lab->job = (smt_lab_job){.mode = mode, .key = *key, .kernel = smt_lab_get_kernel(lab, mode, key)};
}

static smt_vk_buffer *new_buffer(smt_lab *lab, size_t bytes, const char *name) {
    smt_vk_fixture fixture = {.device = lab->devices[lab->job.mode], .host_type = lab->vk->host_type};
    return smt_vk_test_buffer(&fixture, smt_align_up(bytes, 16), name);
}

void *smt_lab_window(smt_lab *lab, size_t bytes) {
    assert_true(lab->job.n_windows < lab->job.key.windows);
    smt_vk_buffer *buffer = new_buffer(lab, bytes, "window");
    lab->job.windows[lab->job.n_windows++] = buffer;
    return smt_vk_buffer_map(buffer);
}

void *smt_lab_buffer(smt_lab *lab, uint32_t binding, size_t bytes) {
    smt_vk_buffer **buffer = &lab->job.buffers[binding - 1];
    assert_null(*buffer);
    *buffer = new_buffer(lab, bytes, "buffer");
    return smt_vk_buffer_map(*buffer);
}

static void set_words(uint32_t *words, size_t count) {
    for (size_t i = 0; i < count; i++) words[i] = SMT_LAB_UNTOUCHED;
}

void *smt_lab_output(smt_lab *lab, uint32_t binding, size_t words) {
    void *memory = smt_lab_buffer(lab, binding, words * 4);
    set_words(memory, words);
    return memory;
}

uint32_t *smt_lab_step(smt_lab *lab, uint32_t binding, uint32_t n_rows, uint32_t n_out, uint32_t max_rows) {
    uint32_t *step = smt_lab_buffer(lab, binding, 4 * (STEP_HEAD + (size_t)STEP_ARRAYS * max_rows));
    step[STEP_N_ROWS] = n_rows;
    step[STEP_N_OUT] = n_out;
    step[STEP_MAX_ROWS] = max_rows;
    return step;
}

/* Host access to every buffer of the job ends here (flush), or begins again (invalidate). */
static void touch(smt_lab *lab, bool flush) {
    smt_vk_device *device = lab->devices[lab->job.mode];
    smt_error err;
    for (uint32_t i = 0; i < lab->job.n_windows + SMT_VK_MAX_BUFFERS; i++) {
        smt_vk_buffer *buffer = i < lab->job.n_windows ? lab->job.windows[i] : lab->job.buffers[i - lab->job.n_windows];
        if (!buffer) continue;
        uint64_t bytes = smt_vk_buffer_bytes(buffer);
        if (flush)
            SMT_ASSERT_OK(smt_vk_buffer_flush(device, buffer, 0, bytes, &err), &err);
        else
            SMT_ASSERT_OK(smt_vk_buffer_invalidate(device, buffer, 0, bytes, &err), &err);
    }
}

void smt_lab_run(smt_lab *lab, const void *push, uint32_t groups_x, uint32_t groups_y, uint32_t groups_z) {
    smt_vk_fixture fixture = {.device = lab->devices[lab->job.mode]};
    smt_kernel_spec spec;
    smt_kernel_describe(smt_vk_device_caps(fixture.device), &lab->job.key, &spec);
    if (smt_quant_has_codebook((smt_dtype)lab->job.key.type) && !lab->job.buffers[CODEBOOK_BINDING - 1])
        memcpy(smt_lab_buffer(lab, CODEBOOK_BINDING, sizeof smt_quant_codebooks), smt_quant_codebooks,
               sizeof smt_quant_codebooks);
    smt_vk_range windows[SMT_VK_MAX_WINDOWS], buffers[SMT_VK_MAX_BUFFERS] = {0};
    for (uint32_t i = 0; i < lab->job.n_windows; i++) windows[i] = smt_vk_test_whole(lab->job.windows[i]);
    for (uint32_t i = 0; i < SMT_VK_MAX_BUFFERS; i++)
        if (lab->job.buffers[i]) buffers[i] = smt_vk_test_whole(lab->job.buffers[i]);
    touch(lab, true);
    smt_vk_recording *recording;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_recording_begin(fixture.device, spec.label, &recording, &err), &err);
    smt_vk_dispatch dispatch = {.kernel = lab->job.kernel,
                                .windows = windows,
                                .n_windows = lab->job.n_windows,
                                .buffers = buffers,
                                .n_buffers = SMT_VK_MAX_BUFFERS,
                                .push = push,
                                .push_bytes = spec.push_bytes,
                                .groups = {groups_x, groups_y, groups_z}};
    SMT_ASSERT_OK(smt_vk_record_dispatch(recording, &dispatch, &err), &err);
    smt_vk_test_run(&fixture, recording);
    touch(lab, false);
}

/* ---- expected results ---- */

float smt_lab_fma(const smt_lab *lab, float a, float b, float c) { return lab->fused ? fmaf(a, b, c) : a * b + c; }

float smt_lab_dot(const smt_lab *lab, const float *a, const float *b, uint32_t k) {
    bool wave = smt_vk_device_caps(lab->devices[lab->job.mode])->family == SMT_FAMILY_WAVE;
    float chains[16] = {0}, exact = wave ? smt_ref_dot_wave(a, b, k) : smt_ref_dot(a, b, k), sum, size = 0;
    for (uint32_t i = 0; i < k; i++) {
        float *chain = &chains[wave ? i / 32 % 16 : i % 4];
        *chain = smt_lab_fma(lab, a[i], b[i], *chain);
        size += fabsf(a[i] * b[i]);
    }
    sum = wave ? chains[0] : (chains[0] + chains[1]) + (chains[2] + chains[3]);
    for (int l = 1; wave && l < 16; l++) sum += chains[l];
    /* One more rounding a step, half a unit each: the two forms must stay that close, or this one is no reference. */
    assert_true(fabsf(sum - exact) <= size * 0x1p-22f);
    return lab->fused ? exact : sum;
}

/* smt_ref_dot_fast with the device's fma. */
static float dot_fast(const smt_lab *lab, const smt_lab_matrix *m, const uint8_t *row, const float *x) {
    float sums[SMT_WAVE_LANES] = {0}, size = 0, exact = smt_ref_dot_fast(m->type, row, x, m->k);
    for (uint32_t c = 0; c < m->k / SMT_QUANT_CHUNK; c++) {
        smt_quant_codes w;
        smt_ref_rounded r;
        float *sum = &sums[c % SMT_WAVE_LANES];
        smt_quant_codes_at(m->type, row, c, &w);
        smt_ref_round(x + c * SMT_QUANT_CHUNK, &r);
        *sum = smt_lab_fma(lab, smt_ref_product(&w, &r), r.scale, *sum);
        *sum = smt_lab_fma(lab, w.min, r.scale * (float)r.sum, *sum);
        size += 1024 * r.scale * (fabsf(w.scale[0]) + fabsf(w.scale[1]) + fabsf(w.min));
    }
    for (int l = 1; l < SMT_WAVE_LANES; l++) sums[0] += sums[l];
    assert_true(fabsf(sums[0] - exact) <= size * 0x1p-18f);
    return lab->fused ? exact : sums[0];
}

float smt_lab_row_dot(const smt_lab *lab, const smt_lab_matrix *m, uint32_t row, const float *x) {
    if (lab->job.key.fast) return dot_fast(lab, m, m->file + row * smt_dtype_row_bytes(m->type, m->k), x);
    return smt_lab_dot(lab, m->values + (size_t)row * m->k, x, m->k);
}

void *smt_lab_image(size_t words) {
    uint32_t *image = smt_alloc(words, sizeof *image);
    assert_non_null(image);
    set_words(image, words);
    return image;
}

static float as_float(uint32_t word) {
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

void smt_lab_same(const char *label, const void *got, const void *expected, size_t words) {
    const uint32_t *g = got, *e = expected;
    size_t wrong = 0, first = words;
    for (size_t i = 0; i < words; i++)
        if (g[i] != e[i] && wrong++ == 0) first = i;
    if (wrong)
        fail_msg("%s: %zu of %zu words differ, the first is %zu: %08x (%.9g), expected %08x (%.9g)", label, wrong, words, first,
                 g[first], (double)as_float(g[first]), e[first], (double)as_float(e[first]));
}

double smt_lab_close(const char *label, const float *got, const float *expected, size_t words, double bound) {
    double sum = 0, worst = 0;
    size_t n = 0, at = 0;
    for (size_t i = 0; i < words; i++)
        if (expected[i] == expected[i]) sum += (double)expected[i] * (double)expected[i], n++;
    double rms = n ? sqrt(sum / (double)n) : 0;
    for (size_t i = 0; i < words; i++) {
        if (expected[i] != expected[i]) {
            if (memcmp(&got[i], &expected[i], 4) != 0) fail_msg("%s: word %zu was written: %.9g", label, i, (double)got[i]);
            continue;
        }
        double size = fmax(fabs((double)expected[i]), rms), error = fabs((double)got[i] - (double)expected[i]) / size;
        if (!(error <= worst)) worst = error, at = i; /* a NaN stays */
        if (error != error) break;
    }
    if (!(worst <= bound))
        fail_msg("%s: off by %.3g (bound %.3g) at %zu: %.9g, expected %.9g", label, worst, bound, at, (double)got[at],
                 (double)expected[at]);
    return worst;
}

/* ---- fixtures ---- */

smt_lab_matrix smt_lab_matrix_make(smt_test_random *random, smt_dtype type, uint32_t rows, uint32_t k) {
    smt_lab_matrix m = {.type = type, .rows = rows, .k = k, .row_bytes = (uint32_t)smt_quant_device_row_bytes(type, k)};
    size_t n = (size_t)rows * k, file_bytes = rows * smt_dtype_row_bytes(type, k);
    assert_true(m.row_bytes > 0);
    m.file = smt_alloc(file_bytes, 1);
    m.values = smt_alloc(n, sizeof *m.values);
    assert_true(m.file && m.values);
    if (smt_dtype_get((uint32_t)type)->elems == 1) {
        for (size_t i = 0; i < n; i++) m.values[i] = 0.3f * smt_test_normal(random);
        assert_true(smt_quant_encode(type, m.values, m.file, n));
    } else {
        smt_test_blocks(random, type, m.file, n / smt_dtype_get((uint32_t)type)->elems, 0.1f);
    }
    assert_true(smt_quant_decode(type, m.file, m.values, n));
    return m;
}

void smt_lab_matrix_put(const smt_lab *lab, const smt_lab_matrix *matrix, uint32_t row0, uint32_t rows, uint8_t *to) {
    bool woven = smt_kernel_weaves(smt_vk_device_caps(lab->devices[lab->job.mode]), matrix->type);
    smt_quant_to_device(matrix->type, matrix->file + row0 * smt_dtype_row_bytes(matrix->type, matrix->k), to, rows, matrix->k,
                        woven);
}

void smt_lab_matrix_free(smt_lab_matrix *matrix) {
    smt_free(matrix->file);
    smt_free(matrix->values);
    *matrix = (smt_lab_matrix){0};
}

int smt_lab_next_type(int type) {
    for (type++; type < SMT_DTYPE_LIMIT; type++) {
        const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
        if (info && info->runs) return type;
    }
    return -1;
}

bool smt_lab_sweep(const smt_lab *lab, uint32_t index, smt_lab_variant *out) {
    uint32_t list[8], n = 0;
    for (uint32_t columns = 0; (columns = smt_kernel_next_columns(smt_vk_device_caps(lab->devices[SMT_LAB_FULL]), columns));)
        list[n++] = columns;
    uint32_t i = index / (n + 2), c = index % (n + 2), turn = i ^ c;
    int type = smt_lab_next_type(-1);
    for (uint32_t k = 0; k < i && type >= 0; k++) type = smt_lab_next_type(type);
    if (type < 0) return false;
    *out = (smt_lab_variant){.type = (smt_dtype)type, .turn = i + c};
    if (c < n) {
        out->mode = turn & 1 ? SMT_LAB_MINIMUM : SMT_LAB_FULL;
        out->columns = list[c];
        out->gated = turn >> 1 & 1;
    } else {
        out->mode = SMT_LAB_OTHER;
        out->columns = c == n ? 1 : smt_kernel_columns(smt_vk_device_caps(lab->devices[SMT_LAB_OTHER]), 32);
        out->gated = turn & 1;
    }
    return true;
}

void smt_lab_fill(smt_test_random *random, float *x, uint32_t rows, uint32_t stride, uint32_t k) {
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < stride; i++)
            x[(size_t)r * stride + i] = i < k ? smt_test_normal(random) : as_float(SMT_LAB_UNTOUCHED);
}

void smt_lab_experts(uint32_t *ids, uint32_t n_rows, uint32_t n_used, uint32_t n_experts) {
    assert_true(n_experts >= n_used + 3);
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t s = 0; s < n_used; s++)
            ids[r * n_used + s] = s == 0 ? n_experts - 1 : s == 1 && r == 0 ? 0 : 2 + (r * 5 + s) % (n_experts - 3);
}

uint32_t smt_lab_work(const uint32_t *ids, uint32_t n_entries, const struct group_params *p, uint32_t *work) {
    return smt_check_work(ids, n_entries, p, work);
}
