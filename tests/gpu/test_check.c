/* test_check.c: the self-test of kernels (src/check): kernels pass as they are, and when the source of one computes something slightly else, as a
 * driver that translates it wrongly would, that is noticed and named. And what is remembered of it: for the same source alone, and nothing
 * that a damaged file says. */
#include "kernel_support.h"

#include "check/check.h"
#include "run/run.h"
#include "vk/vk_internal.h"

#include <dirent.h>
#include <unistd.h>

#define WAIT_NS 600000000000ull /* a software driver compiles meanwhile */

typedef struct fault {
    smt_kernel_key key;
    const char *find, *replace; /* in the kernel's source */
    const char *words;          /* of the message, besides the kernel's label; or NULL */
} fault;

#define SUM "y[y_at + row] = sum;", "y[y_at + row] = row == 3u ? sum * 1.01 : sum;"
static const fault faults[] = {
    {{.kernel = SMT_KERNEL_EMBED, .windows = 1, .type = SMT_DTYPE_Q6_K}, "= raw_w(r, j)", "= raw_w(r, j).yxzw", NULL},
    {{.kernel = SMT_KERNEL_NORM, .windows = 1}, "(v * factor)", "(v * factor * 1.001)", NULL},
    {{.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = SMT_DTYPE_Q8_0, .columns = 1}, SUM, "(row 0, element 3 of buffer 2"},
    {{.kernel = SMT_KERNEL_MATMUL, .windows = 4, .type = SMT_DTYPE_Q4_K, .columns = 2, .gated = 1, .expert = 1},
     SUM,
     "(row 0, element 3 of buffer 2"},
    {{.kernel = SMT_KERNEL_MATMUL, .windows = 4, .type = SMT_DTYPE_F16, .columns = 4}, "p.bias != 0u", "false", NULL},
    {{.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = SMT_DTYPE_IQ3_S, .columns = 1, .norm = 1}, "norm_after();", "", NULL},
    {{.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = SMT_DTYPE_F16, .columns = 1, .merge = 32}, SUM, NULL},
    {{.kernel = SMT_KERNEL_MLA_CACHE, .windows = 4, .cache_f16 = 1}, "(v * factor) *", "(v.yx * factor) *", NULL},
    {{.kernel = SMT_KERNEL_GQA_CACHE, .windows = 1}, "2u * i] = x.x", "2u * i] = x.y", "of buffer 3"},
    {{.kernel = SMT_KERNEL_ATTEND, .windows = 1, .cache_f16 = 1, .heads = 2, .rows = 1, .key4 = 10, .query4 = 8, .value4 = 8},
     "positions - i * SMT_BLOCK)",
     "positions - i * SMT_BLOCK - (i & 1u))",
     NULL},
    {{.kernel = SMT_KERNEL_ATTEND_MERGE, .windows = 1, .value4 = 8}, "/ stat.y", "/ stat.x", NULL},
    {{.kernel = SMT_KERNEL_ROUTE, .windows = 1, .experts = 64, .sigmoid = 1, .top2 = 1},
     "w * p.weight_scale",
     "w",
     "of buffer 3"},
    {{.kernel = SMT_KERNEL_ROUTE, .windows = 1, .experts = 64, .list = 1}, "= chosen_id[lane]", "= chosen_id[lane] ^ 1u", NULL},
    {{.kernel = SMT_KERNEL_GROUP, .windows = 1, .experts = 64}, "+ t * p.columns, ", "+ t * 4u, ", NULL},
    {{.kernel = SMT_KERNEL_COMBINE, .windows = 1}, "total += residual", "total -= residual", NULL},
    {{.kernel = SMT_KERNEL_PARTS, .windows = 1}, "== range)", "!= range)", NULL},
    {{.kernel = SMT_KERNEL_JOIN, .windows = 1}, "total += residual", "total -= residual", NULL},
    {{.kernel = SMT_KERNEL_REPACK, .windows = 1}, "p.src_words - 1u", "p.src_words - 2u", NULL},
    {{.kernel = SMT_KERNEL_MOE_DOWN, .windows = 4, .type = SMT_DTYPE_Q5_0, .columns = 1, .expert = 1, .norm = 1},
     "total[r] += residual[row]",
     "total[r] -= residual[row]",
     NULL},
    {{.kernel = SMT_KERNEL_SWIGLU, .windows = 1}, "* up[", "* gate[", NULL},
    {{.kernel = SMT_KERNEL_SAMPLE_TOP, .windows = 1}, "key > mine.x", "key >= mine.x", NULL},
    {{.kernel = SMT_KERNEL_SAMPLE_DRAW, .windows = 1},
     "STEP_ARRAY_INDEX * rows + row] + 1u",
     "STEP_ARRAY_INDEX * rows + row] + 2u",
     NULL},
};

/* Puts a source into the shader folder in which every `find` is replaced. */
static void change_source(const smt_lab *lab, const char *name, const char *find, const char *replace) {
    const struct smt_vk_embedded *shader = smt_vk_embedded_shaders;
    while (shader->name && strcmp(shader->name, name) != 0) shader++;
    assert_non_null(shader->name);
    smt_str text = {0};
    smt_error err;
    uint32_t n = 0;
    const char *at = shader->text;
    for (const char *hit; (hit = strstr(at, find)); at = hit + strlen(find), n++) {
        SMT_ASSERT_OK(smt_str_append(&text, at, (size_t)(hit - at), &err), &err);
        SMT_ASSERT_OK(smt_str_append(&text, replace, strlen(replace), &err), &err);
    }
    if (n == 0) fail_msg("%s holds no \"%s\" any more", name, find);
    SMT_ASSERT_OK(smt_str_append(&text, at, strlen(at) + 1, &err), &err);
    smt_vk_test_shader(lab->vk, name, text.text);
    smt_str_free(&text);
}

static void restore_source(const smt_lab *lab, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", lab->vk->folder, name);
    assert_int_equal(unlink(path), 0);
}

static smt_status check(smt_vk_device *device, const smt_kernel_key *key, smt_error *err) {
    smt_vk_kernel *kernel = smt_lab_compile(device, key);
    smt_status status = smt_check_kernel(device, key, kernel, WAIT_NS, err);
    smt_vk_kernel_destroy(device, kernel);
    return status;
}

static void test_faults(void **state) {
    smt_lab *lab = *state;
    smt_vk_device *device =
        lab->devices[smt_vk_device_caps(lab->devices[0])->family == SMT_FAMILY_ROWS ? SMT_LAB_FULL : SMT_LAB_OTHER];
    const smt_caps *caps = smt_vk_device_caps(device);
    for (size_t i = 0; i < SMT_COUNT(faults); i++) {
        smt_kernel_spec spec;
        smt_error err;
        smt_kernel_describe(caps, &faults[i].key, &spec);
        if (lab->thorough) SMT_ASSERT_OK(check(device, &faults[i].key, &err), &err); /* what engines do in every other test */
        change_source(lab, spec.source, faults[i].find, faults[i].replace);
        smt_status status = check(device, &faults[i].key, &err);
        restore_source(lab, spec.source);
        if (status != SMT_WRONG_RESULT || !strstr(err.message, spec.label) || !strstr(err.message, caps->name) ||
            !strstr(err.message, caps->driver_name) || (faults[i].words && !strstr(err.message, faults[i].words)))
            fail_msg("%s, \"%s\": %s: %s", spec.label, faults[i].replace, smt_status_name(status),
                     status == SMT_OK ? "not noticed" : err.message);
    }
}

/* The family of GPUs and a device of few features; in full tiles, for which lavapipe compiles half a minute, and much of the catalogue. */
static void test_families(void **state) {
    enum { N_QUICK = 4 };
    static const smt_kernel_key keys[] = {
        {.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = SMT_DTYPE_Q8_0, .columns = 1, .norm = 1},
        {.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = SMT_DTYPE_Q6_K, .columns = 1, .fast = 1},
        {.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = SMT_DTYPE_Q8_0, .columns = 1, .fast = 1, .merge = 32},
        {.kernel = SMT_KERNEL_MATMUL, .windows = 4, .type = SMT_DTYPE_Q4_K, .columns = 64, .coop = 2, .gated = 1, .expert = 1},
        {.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = SMT_DTYPE_Q4_K, .columns = 32},
        {.kernel = SMT_KERNEL_MATMUL, .windows = 4, .type = SMT_DTYPE_Q8_0, .columns = 32, .fast = 1, .gated = 1, .expert = 1},
        {.kernel = SMT_KERNEL_ATTEND, .windows = 4, .heads = 2, .rows = 2, .tile = 1, .key4 = 8, .query4 = 8, .value4 = 5},
    };
    smt_lab *lab = *state;
    smt_vk_device *wave = lab->devices[smt_lab_wave(lab, false)];
    smt_kernel_key key;
    smt_error err;
    for (size_t i = 0; i < (lab->thorough ? SMT_COUNT(keys) : N_QUICK); i++) SMT_ASSERT_OK(check(wave, &keys[i], &err), &err);
    SMT_ASSERT_OK(check(lab->devices[SMT_LAB_MINIMUM], &keys[0], &err), &err);
    for (int mode = 0; mode < SMT_LAB_MODES && lab->thorough; mode++)
        for (uint32_t i = 0; smt_kernel_catalogue(smt_vk_device_caps(lab->devices[mode]), i, &key); i++)
            if (!smt_kernel_decodes(key.kernel) || i % 31 == 0) SMT_ASSERT_OK(check(lab->devices[mode], &key, &err), &err);
}

/* ---- what is remembered ---- */

typedef struct life { /* one of a device with that cache folder */
    smt_vk_device *device;
    smt_vk_kernel *kernel;
} life;

static const smt_kernel_key small_key = {.kernel = SMT_KERNEL_SWIGLU, .windows = 1};

static life begin_life(const smt_lab *lab, const char *cache) {
    const smt_vk_device_options options = {.cache_dir = cache, .shader_dir = lab->vk->folder};
    life l;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_device_create(lab->vk->vk, 0, &options, &l.device, &err), &err);
    l.kernel = smt_lab_compile(l.device, &small_key);
    return l;
}

static void end_life(life *l) {
    smt_vk_kernel_destroy(l->device, l->kernel);
    smt_vk_device_destroy(l->device);
}

static bool is_trusted(const smt_lab *lab, const char *cache) {
    life l = begin_life(lab, cache);
    bool trusted = smt_vk_kernel_trusted(l.device, l.kernel);
    end_life(&l);
    return trusted;
}

static void judge(const smt_lab *lab, const char *cache, bool right) {
    life l = begin_life(lab, cache);
    smt_vk_kernel_judge(l.device, l.kernel, right);
    assert_int_equal(smt_vk_kernel_trusted(l.device, l.kernel), right);
    end_life(&l);
}

static void find_file(const char *cache, char path[1024]) {
    DIR *folder = opendir(cache);
    assert_non_null(folder);
    path[0] = 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (!strncmp(entry->d_name, "right-", 6)) snprintf(path, 1024, "%s/%s", cache, entry->d_name);
    closedir(folder);
    assert_true(path[0]);
}

static void write_bytes(const char *path, const uint8_t *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void test_memory(void **state) {
    const smt_lab *lab = *state;
    char cache[256], path[1024], *bytes;
    size_t n;
    smt_error err;
    smt_vk_test_folder(cache, sizeof cache);
    assert_false(is_trusted(lab, cache));
    judge(lab, cache, true);
    assert_true(is_trusted(lab, cache));
    assert_false(is_trusted(lab, NULL));
    change_source(lab, "swiglu.comp", "* up[", "* gate["); /* another source */
    assert_false(is_trusted(lab, cache));
    restore_source(lab, "swiglu.comp");
    assert_true(is_trusted(lab, cache));
    find_file(cache, path);
    SMT_ASSERT_OK(smt_os_read_file(path, &bytes, &n, &err), &err);
    assert_true(n == 48 + 16);
    for (size_t at = 0; at < n; at += 5) {
        bytes[at] ^= 1; /* another device's or version's file among them: the key is in the head */
        write_bytes(path, (const uint8_t *)bytes, n);
        assert_false(is_trusted(lab, cache));
        bytes[at] ^= 1;
        write_bytes(path, (const uint8_t *)bytes, at);
        assert_false(is_trusted(lab, cache));
    }
    judge(lab, cache, true); /* in place of the damaged file */
    assert_true(is_trusted(lab, cache));
    judge(lab, cache, false);
    assert_false(is_trusted(lab, cache));
    smt_free(bytes);
    smt_vk_test_remove(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults), cmocka_unit_test(test_families),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
