/* test_kernel_matmul.c: the matrix kernel in its dense form, equal to the bit to the plain-C dot product over decoded weights,
 * whatever the type, the columns of the variant, and the features of the device. (The expert form: test_kernel_matmul_expert.c.)
 *
 * Weights start at an offset, activations and results lie in rows longer than needed, and all that no kernel should read is NaN.
 */
#include "kernel_support.h"

#include "ref/ref.h"

typedef struct dense {
    smt_dtype type;
    uint32_t k, rows;
    uint32_t columns, active; /* of the variant; of the step */
    bool gated, bias, residual, out, fast;
    uint32_t coop;          /* as in smt_kernel_key */
    uint32_t planes, y_row; /* planes 0 is 1 */
} dense;

/* Puts the planes of one matrix into a window behind `off16`; the four bytes behind it may be read. */
static void put_planes(smt_lab *lab, const smt_lab_matrix *planes, uint32_t n, uint32_t off16, uint32_t batch_off16) {
    uint8_t *bytes = smt_lab_window(lab, 16 * ((size_t)off16 + n * (size_t)batch_off16) + 4);
    memset(bytes, 0xff, 16 * off16);
    for (uint32_t i = 0; i < n; i++)
        smt_lab_matrix_put(lab, &planes[i], 0, planes[i].rows, bytes + 16 * ((size_t)off16 + i * (size_t)batch_off16));
}

/* A bias behind `off16` of the next window, NaN but for the rows of this part. Returns those. */
static const float *put_bias(smt_lab *lab, smt_test_random *random, uint32_t off16, uint32_t first, uint32_t rows) {
    size_t bytes = 16 * (size_t)off16 + 4 * ((size_t)first + rows);
    uint8_t *window = smt_lab_window(lab, bytes);
    memset(window, 0xff, bytes);
    float *bias = (float *)(void *)(window + 16 * off16) + first;
    for (uint32_t i = 0; i < rows; i++) bias[i] = smt_test_uniform(random, -1, 1);
    return bias;
}

static float expected_value(const smt_lab *lab, const dense *d, const smt_lab_matrix *w, const smt_lab_matrix *w2, uint32_t row,
                            const float *x) {
    float y = smt_lab_row_dot(lab, w, row, x);
    return d->gated ? smt_ref_silu(y) * smt_lab_row_dot(lab, w2, row, x) : y;
}

/* Cooperative matrices: columns that no float16 holds as they are, and the first one again at another place. */
static void stretch_columns(const dense *d, float *x, uint32_t x_stride) {
    for (uint32_t i = 0; i < d->k && d->active > 4; i++) {
        x[x_stride + i] *= 0x1p20f;
        x[2 * x_stride + i] *= 0x1p-20f;
        x[(d->active - 1) * x_stride + i] = x[i];
    }
}

/* Each column against its own size, and that equal columns of the step have equal results wherever they stand. */
static void check_columns(const char *label, const dense *d, const float *y, const float *expected, uint32_t y_stride) {
    for (uint32_t c = 0; c < d->active + 2; c++)
        smt_lab_close(label, y + c * y_stride, expected + c * y_stride, y_stride,
                      d->gated ? SMT_LAB_COOP_GATED_BOUND : SMT_LAB_COOP_BOUND);
    if (d->active > 4 && !d->residual) smt_lab_same(label, y + (d->active - 1) * y_stride, y, y_stride);
}

static void check_dense(smt_lab *lab, smt_lab_mode mode, const dense *d) {
    char label[200];
    uint32_t planes = d->planes ? d->planes : 1;
    snprintf(label, sizeof label, "%s k %u rows %u x%u active %u%s%s%s%s%s%s planes %u y_row %u%s",
             smt_dtype_get((uint32_t)d->type)->name, d->k, d->rows, d->columns, d->active, d->fast ? " fast" : "",
             d->coop == 2 ? " coop plain"
             : d->coop    ? " coop"
                          : "",
             d->gated ? " gated" : "", d->bias ? " bias" : "", d->residual ? " residual" : "", d->out ? " out" : "", planes,
             d->y_row, smt_lab_mode_names[mode]);
    smt_kernel_key key = {.kernel = SMT_KERNEL_MATMUL,
                          .windows = d->gated || d->bias || d->coop ? 4 : 1,
                          .type = (uint32_t)d->type,
                          .columns = d->columns,
                          .gated = d->gated,
                          .fast = d->fast,
                          .coop = d->coop};
    smt_test_random random = {.state = d->k * 1000 + d->rows};
    smt_lab_matrix w[4], w2 = {0};
    for (uint32_t i = 0; i < planes; i++) w[i] = smt_lab_matrix_make(&random, d->type, d->rows, d->k);
    if (d->gated) w2 = smt_lab_matrix_make(&random, d->type, d->rows, d->k);

    uint32_t x_batch = (uint32_t)smt_align_up(d->k, 4) + 4, y_batch = d->rows + 3;
    struct matmul_params p = {.w_off16 = 3,
                              .w2_off16 = 5,
                              .row_bytes = w[0].row_bytes,
                              .k = d->k,
                              .rows = d->rows,
                              .w_batch_off16 = smt_div_up(d->rows * w[0].row_bytes, 16),
                              .x_stride = planes * x_batch + 4,
                              .x_batch = x_batch,
                              .y_stride = d->y_row + planes * y_batch + 2,
                              .y_batch = y_batch,
                              .y_row = d->y_row,
                              .bias = d->bias,
                              .residual = d->residual,
                              .res_stride = d->y_row + d->rows + 5,
                              .count_word = d->out ? STEP_N_OUT : STEP_N_ROWS,
                              .x_div = 1};
    smt_lab_begin(lab, mode, &key);
    put_planes(lab, w, planes, p.w_off16, p.w_batch_off16);
    if (d->gated) put_planes(lab, &w2, 1, p.w2_off16, p.w_batch_off16);
    const float *bias = d->bias ? put_bias(lab, &random, p.w2_off16, d->y_row, d->rows) : NULL;
    size_t y_words = (size_t)p.y_stride * (d->active + 2);
    float *x = smt_lab_buffer(lab, 1, 4ull * p.x_stride * d->active);
    float *y = smt_lab_output(lab, 2, y_words), *residual, *expected = smt_lab_image(y_words);
    smt_lab_fill(&random, x, d->active, p.x_stride, p.x_stride);
    for (uint32_t i = 0; i < d->active * planes; i++)
        smt_lab_fill(&random, x + i / planes * p.x_stride + i % planes * x_batch, 1, x_batch, d->k);
    if (d->coop) stretch_columns(d, x, p.x_stride);
    residual = smt_lab_buffer(lab, 3, 4ull * p.res_stride * d->active);
    if (d->residual) {
        smt_lab_fill(&random, residual, d->active, p.res_stride, d->y_row + d->rows);
    }
    smt_lab_step(lab, 4, d->out ? d->active + 2 : d->active, d->out ? d->active : d->active + 2, d->active + 2);
    uint32_t group = smt_kernel_matmul_rows(smt_vk_device_caps(lab->devices[mode]), d->columns, d->gated);
    smt_lab_run(lab, &p, smt_div_up(d->rows, group), smt_div_up(d->active + 2, d->columns), planes);

    for (uint32_t c = 0; c < d->active; c++)
        for (uint32_t i = 0; i < planes; i++)
            for (uint32_t row = 0; row < d->rows; row++) {
                float value = expected_value(lab, d, &w[i], &w2, row, x + c * p.x_stride + i * x_batch);
                if (bias) value += bias[row];
                if (d->residual) value += residual[c * p.res_stride + d->y_row + row];
                expected[c * p.y_stride + i * y_batch + d->y_row + row] = value;
            }
    if (d->coop)
        check_columns(label, d, y, expected, p.y_stride);
    else
        smt_lab_same(label, y, expected, y_words);
    smt_free(expected);
    for (uint32_t i = 0; i < planes; i++) smt_lab_matrix_free(&w[i]);
    smt_lab_matrix_free(&w2);
}

/* Row lengths that no block divides evenly where the type allows, and long ones. */
static const uint32_t lengths_padded[] = {1, 3, 30, 32, 172, 1408}, lengths_32[] = {32, 96, 160, 1408},
                      lengths_256[] = {256, 512, 1536};

static void check_lengths(smt_lab *lab, smt_lab_mode mode, smt_dtype type, uint32_t columns, bool gated, bool fast) {
    static const uint32_t rows[] = {1, 7, 33, 65};
    uint32_t block = smt_dtype_get((uint32_t)type)->elems;
    const uint32_t *lengths = block == 1 ? lengths_padded : block == 32 ? lengths_32 : lengths_256;
    size_t n = block == 1 ? SMT_COUNT(lengths_padded) : block == 32 ? SMT_COUNT(lengths_32) : SMT_COUNT(lengths_256);
    for (size_t i = 0; i < n; i++)
        check_dense(lab, mode,
                    &(dense){.type = type,
                             .k = lengths[i],
                             .rows = rows[(i + columns) % SMT_COUNT(rows)],
                             .columns = columns,
                             .active = i % 2 ? 2 * columns + 1 : smt_max_u32(columns - 1, 1), /* tiles that are not full */
                             .gated = gated,
                             .fast = fast});
}

static void check_type(smt_lab *lab, smt_lab_mode mode, smt_dtype type, uint32_t columns, bool gated) {
    check_lengths(lab, mode, type, columns, gated, false);
}

/* Every type; further columns and devices for one type of each way to read a block, the rest of the product in the full tier. */
static void test_types(void **state) {
    for (int type = smt_lab_next_type(-1); type >= 0; type = smt_lab_next_type(type))
        check_type(*state, SMT_LAB_FULL, (smt_dtype)type, 1, false);
}

typedef struct variant {
    smt_dtype type;
    uint32_t columns;
} variant;

static void test_columns(void **state) {
    static const variant variants[] = {{SMT_DTYPE_F32, 4},  {SMT_DTYPE_F16, 2},  {SMT_DTYPE_Q4_1, 4},   {SMT_DTYPE_Q8_0, 8},
                                       {SMT_DTYPE_Q3_K, 2}, {SMT_DTYPE_Q4_K, 8}, {SMT_DTYPE_IQ4_NL, 4}, {SMT_DTYPE_IQ2_S, 2}};
    for (size_t i = 0; i < SMT_COUNT(variants); i++)
        check_type(*state, SMT_LAB_FULL, variants[i].type, variants[i].columns, false);
}

static void test_minimum(void **state) {
    static const variant variants[] = {{SMT_DTYPE_F32, 1},  {SMT_DTYPE_BF16, 2}, {SMT_DTYPE_Q5_0, 4},  {SMT_DTYPE_Q8_0, 8},
                                       {SMT_DTYPE_Q6_K, 1}, {SMT_DTYPE_Q2_K, 2}, {SMT_DTYPE_MXFP4, 1}, {SMT_DTYPE_IQ3_XXS, 1}};
    for (size_t i = 0; i < SMT_COUNT(variants); i++)
        check_type(*state, SMT_LAB_MINIMUM, variants[i].type, variants[i].columns, false);
}

static void test_gated(void **state) {
    check_type(*state, SMT_LAB_FULL, SMT_DTYPE_F16, 1, true);
    check_type(*state, SMT_LAB_FULL, SMT_DTYPE_Q8_0, 2, true);
    check_type(*state, SMT_LAB_FULL, SMT_DTYPE_Q4_K, 4, true);
    check_type(*state, SMT_LAB_FULL, SMT_DTYPE_IQ1_M, 1, true);
    check_type(*state, SMT_LAB_MINIMUM, SMT_DTYPE_Q5_0, 1, true);
}

/* The heads of k_b and v_b: one matrix each. */
static void test_planes(void **state) {
    const dense cases[] = {
        {.type = SMT_DTYPE_F16, .k = 30, .rows = 33, .columns = 4, .active = 5, .planes = 4},
        {.type = SMT_DTYPE_Q8_0, .k = 96, .rows = 40, .columns = 8, .active = 3, .planes = 3},
        {.type = SMT_DTYPE_Q6_K, .k = 256, .rows = 16, .columns = 1, .active = 2, .planes = 2},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_dense(*state, SMT_LAB_FULL, &cases[i]);
    check_dense(*state, SMT_LAB_MINIMUM,
                &(dense){.type = SMT_DTYPE_F16, .k = 33, .rows = 9, .columns = 2, .active = 3, .planes = 3});
}

/* A part of a tall matrix writes, and adds the residual, from its first row on. */
static void test_parts(void **state) {
    const dense cases[] = {
        {.type = SMT_DTYPE_Q8_0, .k = 160, .rows = 35, .columns = 1, .active = 3, .y_row = 77, .residual = true},
        {.type = SMT_DTYPE_F32, .k = 172, .rows = 65, .columns = 4, .active = 6, .residual = true},
        {.type = SMT_DTYPE_Q6_K, .k = 512, .rows = 31, .columns = 1, .active = 2, .y_row = 40, .out = true},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_dense(*state, SMT_LAB_FULL, &cases[i]);
}

/* A bias comes before the residual, from the part's first row on. */
static void test_bias(void **state) {
    const dense cases[] = {
        {.type = SMT_DTYPE_F16, .k = 48, .rows = 33, .columns = 1, .active = 1, .bias = true},
        {.type = SMT_DTYPE_Q8_0, .k = 96, .rows = 35, .columns = 4, .active = 6, .y_row = 77, .bias = true, .residual = true},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_dense(*state, SMT_LAB_FULL, &cases[i]);
    check_dense(*state, SMT_LAB_MINIMUM, &cases[1]);
}

/* The other family: every column count, forms and types that read blocks in different ways. */
static void test_other_family(void **state) {
    static const variant variants[] = {{SMT_DTYPE_F32, 2},  {SMT_DTYPE_F16, 8},  {SMT_DTYPE_Q5_0, 1}, {SMT_DTYPE_Q8_0, 4},
                                       {SMT_DTYPE_Q4_K, 8}, {SMT_DTYPE_Q6_K, 1}, {SMT_DTYPE_IQ3_S, 1}};
    if (((smt_lab *)*state)->repeats) skip();
    for (size_t i = 0; i < SMT_COUNT(variants); i++)
        check_type(*state, SMT_LAB_OTHER, variants[i].type, variants[i].columns, false);
    check_type(*state, SMT_LAB_OTHER, SMT_DTYPE_Q4_K, 1, true);
    check_type(*state, SMT_LAB_OTHER, SMT_DTYPE_F16, 4, true);
    smt_lab *lab = *state; /* tiles, of the device or of the other family */
    smt_lab_mode wave = smt_lab_wave(lab, false);
    check_type(lab, wave, SMT_DTYPE_F16, 32, false);
    check_type(lab, wave, SMT_DTYPE_Q8_0, 64, true);
    const dense cases[] = {
        {.type = SMT_DTYPE_F16, .k = 33, .rows = 40, .columns = 2, .active = 5, .planes = 4},
        {.type = SMT_DTYPE_Q8_0, .k = 96, .rows = 35, .columns = 4, .active = 6, .y_row = 77, .bias = true, .residual = true},
        {.type = SMT_DTYPE_Q6_K, .k = 512, .rows = 31, .columns = 1, .active = 2, .y_row = 40, .out = true, .residual = true},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_dense(*state, SMT_LAB_OTHER, &cases[i]);
}

/* Fast precision: every type with one column, then other columns, tiles and forms, and a device without integer dot products. */
static void test_fast(void **state) {
    static const struct {
        smt_dtype type;
        uint32_t columns;
        bool gated, minimum;
    } cases[] = {{SMT_DTYPE_Q8_0, 4, false, false}, {SMT_DTYPE_Q5_1, 2, false, false},  {SMT_DTYPE_Q4_K, 8, true, false},
                 {SMT_DTYPE_Q8_0, 32, true, false}, {SMT_DTYPE_Q6_K, 64, false, false}, {SMT_DTYPE_Q5_K, 32, false, true},
                 {SMT_DTYPE_Q8_0, 1, false, true},  {SMT_DTYPE_Q6_K, 8, false, true}};
    smt_lab *lab = *state;
    if (lab->repeats) skip();
    for (int type = smt_lab_next_type(-1); type >= 0; type = smt_lab_next_type(type))
        if (smt_quant_has_codes((smt_dtype)type)) check_lengths(lab, smt_lab_wave(lab, false), (smt_dtype)type, 1, false, true);
    for (size_t i = 0; i < SMT_COUNT(cases); i++)
        check_lengths(lab, smt_lab_wave(lab, cases[i].minimum), cases[i].type, cases[i].columns, cases[i].gated, true);
    const dense forms[] = {
        {.type = SMT_DTYPE_Q5_0, .k = 128, .rows = 40, .columns = 8, .active = 3, .planes = 3, .fast = true},
        {.type = SMT_DTYPE_Q8_0, .k = 4192, .rows = 35, .columns = 1, .active = 1, .y_row = 7, .residual = true, .fast = true},
    };
    for (size_t i = 0; i < SMT_COUNT(forms); i++) check_dense(lab, smt_lab_wave(lab, false), &forms[i]);
}

/* Cooperative matrices, spelled out in plain loops everywhere, and themselves where the device has them. */
static void test_coop(void **state) {
    static const struct {
        smt_dtype type;
        uint32_t k, rows, active;
        bool gated, bias, residual;
    } cases[] = {
        {SMT_DTYPE_Q8_0, 160, 70, 67, false, true, true},   {SMT_DTYPE_Q4_K, 256, 40, 9, true, false, false},
        {SMT_DTYPE_F16, 172, 65, 64, false, false, false},  {SMT_DTYPE_Q6_K, 512, 64, 70, false, false, false},
        {SMT_DTYPE_BF16, 30, 33, 5, true, false, false},    {SMT_DTYPE_Q4_0, 96, 7, 1, false, false, true},
        {SMT_DTYPE_Q5_0, 1408, 64, 64, true, false, false}, {SMT_DTYPE_Q5_K, 256, 65, 130, false, false, true},
    };
    smt_lab *lab = *state;
    if (lab->repeats) skip();
    bool own = smt_vk_device_caps(lab->devices[SMT_LAB_COOP])->coop.m > 0;
    for (uint32_t coop = own ? 1 : 2; coop <= 2; coop++)
        for (size_t i = 0; i < SMT_COUNT(cases); i++) {
            if (coop == 2 && (lab->thorough ? i % 3 : i)) continue; /* LLVM takes 15 s for each */
            check_dense(lab, coop == 1 ? SMT_LAB_COOP : smt_lab_wave(lab, i == 0),
                        &(dense){.type = cases[i].type,
                                 .k = cases[i].k,
                                 .rows = cases[i].rows,
                                 .columns = 64,
                                 .active = cases[i].active,
                                 .gated = cases[i].gated,
                                 .bias = cases[i].bias,
                                 .residual = cases[i].residual,
                                 .y_row = cases[i].bias ? 77 : 0,
                                 .coop = coop});
        }
}

/* For the full tier: every type in every column count (smt_lab_sweep), and in fast precision, where it has one, in every second of them by turns. */
static void test_sweep(void **state) {
    smt_lab *lab = *state;
    if (!lab->thorough) skip();
    smt_lab_variant v;
    for (uint32_t i = 0; smt_lab_sweep(lab, i, &v); i++) check_type(lab, v.mode, v.type, v.columns, v.gated);
    smt_lab_mode wave = smt_lab_wave(lab, false);
    const smt_caps *caps = smt_vk_device_caps(lab->devices[wave]);
    uint32_t turn = 0;
    for (int type = smt_lab_next_type(-1); type >= 0; type = smt_lab_next_type(type), turn++)
        for (uint32_t columns = 0; (columns = smt_kernel_next_columns(caps, columns)); turn++)
            if (smt_kernel_fast(caps, (smt_dtype)type) && turn % 2)
                check_lengths(lab, wave, (smt_dtype)type, columns, columns % 3 == 1, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types), cmocka_unit_test(test_columns),      cmocka_unit_test(test_minimum),
        cmocka_unit_test(test_gated), cmocka_unit_test(test_planes),       cmocka_unit_test(test_parts),
        cmocka_unit_test(test_bias),  cmocka_unit_test(test_other_family), cmocka_unit_test(test_fast),
        cmocka_unit_test(test_coop),  cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
