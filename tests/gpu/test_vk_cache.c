/* test_vk_cache.c: the cache folder: hits, misses, and files that are cut, altered, foreign or in the way. */
#include "vk_support.h"

#include "vk/vk_internal.h"

#include <dirent.h>

static const char text[] = "#include \"part.glsl\"\n"
                           "layout(local_size_x = SMT_GROUP_X) in;\n"
                           "layout(set = 0, binding = 1) buffer Out { uint out_[]; };\n"
                           "void main() { out_[gl_GlobalInvocationID.x] = part() + FIRST * SECOND; }\n";

typedef struct place {
    const smt_vk_fixture *fixture;
    char cache[256];
} place;

/* One life of a device: makes the kernel and says whether its SPIR-V came from disk. */
static bool make(const place *p, const char *cache, const char *first, bool swapped) {
    smt_vk_device_options options = {.cache_dir = cache, .shader_dir = p->fixture->folder};
    smt_vk_device *device;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_device_create(p->fixture->vk, 0, &options, &device, &err), &err);
    smt_vk_define defines[2] = {{"FIRST", first}, {"SECOND", "3"}};
    if (swapped) defines[1] = defines[0], defines[0] = (smt_vk_define){"SECOND", "3"};
    smt_vk_kernel_desc desc = {
        .source = "cached.comp", .label = "cached", .defines = defines, .n_defines = 2, .n_windows = 1, .group_size = {64, 1, 1}};
    smt_vk_kernel *kernel;
    SMT_ASSERT_OK(smt_vk_kernel_create(device, &desc, false, &kernel, &err), &err);
    smt_vk_kernel_stats stats;
    smt_vk_kernel_get_stats(kernel, &stats);
    assert_true(stats.compile_ms >= 0);
    smt_vk_kernel_destroy(device, kernel);
    SMT_ASSERT_OK(smt_vk_cache_save(device, &err), &err);
    smt_vk_device_destroy(device);
    return stats.cached;
}

static int begin(void **state) {
    static place p;
    int result = smt_vk_test_setup(state);
    p.fixture = *state;
    smt_vk_test_folder(p.cache, sizeof p.cache);
    smt_vk_test_shader(p.fixture, "cached.comp", text);
    smt_vk_test_shader(p.fixture, "part.glsl", "uint part() { return 1; }\n");
    *state = &p;
    return result;
}

static int end(void **state) {
    place *p = *state;
    smt_vk_test_remove(p->cache);
    *state = (void *)(uintptr_t)p->fixture;
    return smt_vk_test_teardown(state);
}

/* Path of the only file of the cache whose name begins with `stem`; the key is in the name. */
static void find(const place *p, const char *stem, char path[1024], smt_vk_key *key) {
    DIR *folder = opendir(p->cache);
    assert_non_null(folder);
    int found = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, stem, strlen(stem)) != 0) continue;
        found++;
        snprintf(path, 1024, "%s/%s", p->cache, entry->d_name);
        for (int i = 0; i < 16; i++) {
            char hex[3] = {entry->d_name[strlen(stem) + 1 + 2 * i], entry->d_name[strlen(stem) + 2 + 2 * i], 0};
            key->bytes[i] = (uint8_t)strtoul(hex, NULL, 16);
        }
    }
    closedir(folder);
    assert_int_equal(found, 1);
}

static void write_file(const char *path, const void *bytes, size_t n_bytes) {
    smt_error err;
    SMT_ASSERT_OK(smt_os_write_atomic(path, bytes, n_bytes, &err), &err);
}

static void test_hits(void **state) {
    const place *p = *state;
    assert_false(make(p, p->cache, "2", false));
    assert_true(make(p, p->cache, "2", false));
    assert_true(make(p, p->cache, "2", true)); /* the order of defines does not matter */
    assert_false(make(p, NULL, "2", false));
    smt_vk_test_shader(p->fixture, "part.glsl", "uint part() { return 2; }\n"); /* an include is part of the key */
    smt_vk_test_remove(p->cache);
    assert_false(make(p, p->cache, "2", false)); /* a missing folder is made again */
    assert_true(make(p, p->cache, "2", false));
}

/* Every kind of damage is a miss that repairs the file. */
static void damage(const place *p, const char *stem, bool is_spirv) {
    char path[1024];
    smt_vk_key key;
    make(p, p->cache, "2", false);
    find(p, stem, path, &key);
    char *good, *bad;
    size_t n_bytes;
    smt_error err;
    SMT_ASSERT_OK(smt_os_read_file(path, &good, &n_bytes, &err), &err);
    bad = malloc(n_bytes + 1);
    assert_non_null(bad);
    const size_t cuts[] = {0, 1, 8, 47, 48, n_bytes / 2, n_bytes - 1};
    for (size_t i = 0; i < SMT_COUNT(cuts); i++) {
        write_file(path, good, cuts[i]);
        assert_int_equal(make(p, p->cache, "2", false), !is_spirv);
    }
    const size_t flips[] = {0, 6, 8, 15, 16, 31, 32, 47, 48, n_bytes / 2, n_bytes - 1};
    for (size_t i = 0; i < SMT_COUNT(flips); i++) {
        memcpy(bad, good, n_bytes);
        bad[flips[i]] ^= 0x40;
        write_file(path, bad, n_bytes);
        assert_int_equal(make(p, p->cache, "2", false), !is_spirv);
    }
    memcpy(bad, good, n_bytes);
    bad[n_bytes] = 7;
    write_file(path, bad, n_bytes + 1); /* one byte too many */
    assert_int_equal(make(p, p->cache, "2", false), !is_spirv);
    /* A file with a right header around something that is neither SPIR-V nor a pipeline cache. */
    SMT_ASSERT_OK(smt_vk_blob_write(p->cache, stem, &key, "sixteen bytes...sixteen bytes...", 32, &err), &err);
    assert_int_equal(make(p, p->cache, "2", false), !is_spirv);
    assert_true(make(p, p->cache, "2", false));
    char *repaired;
    size_t repaired_bytes;
    SMT_ASSERT_OK(smt_os_read_file(path, &repaired, &repaired_bytes, &err), &err);
    if (is_spirv) {
        assert_int_equal(repaired_bytes, n_bytes);
        assert_memory_equal(repaired, good, n_bytes);
    } else {
        void *payload = smt_vk_blob_read(p->cache, stem, &key, &repaired_bytes);
        assert_non_null(payload);
        assert_memory_not_equal(payload, "sixteen", 7);
        smt_free(payload);
    }
    smt_free(repaired);
    smt_free(good);
    free(bad);
}

static void test_damaged_spirv(void **state) { damage(*state, "spirv", true); }
static void test_damaged_pipelines(void **state) { damage(*state, "pipeline", false); }

static void test_folder_in_the_way(void **state) {
    const place *p = *state;
    char file[512];
    snprintf(file, sizeof file, "%s/cached.comp", p->fixture->folder); /* a file, not a folder */
    smt_vk_device_options options = {.cache_dir = file, .shader_dir = p->fixture->folder};
    smt_vk_device *device;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_device_create(p->fixture->vk, 0, &options, &device, &err), &err);
    smt_vk_define defines[2] = {{"FIRST", "1"}, {"SECOND", "1"}};
    smt_vk_kernel_desc desc = {.source = "cached.comp",
                               .label = "uncached",
                               .defines = defines,
                               .n_defines = 2,
                               .n_windows = 1,
                               .group_size = {64, 1, 1}};
    smt_vk_kernel *kernel;
    SMT_ASSERT_OK(smt_vk_kernel_create(device, &desc, false, &kernel, &err), &err);
    smt_vk_kernel_destroy(device, kernel);
    assert_int_equal(smt_vk_cache_save(device, &err), SMT_IO);
    smt_vk_device_destroy(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits),
        cmocka_unit_test(test_damaged_spirv),
        cmocka_unit_test(test_damaged_pipelines),
        cmocka_unit_test(test_folder_in_the_way),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
