/* test_api_select.c: which device the user's words mean, over invented machines; and the rule for option structs. */
#include "api/api_internal.h"
#include "support.h"

/* A device that has all the engine needs. */
static smt_caps invent(const char *id, const char *name, const char *uuid, smt_device_kind kind, uint64_t local_bytes) {
    smt_caps caps = {.kind = kind,
                     .api_version = 1u << 22 | 3u << 12,
                     .max_storage_range = 1ull << 31,
                     .max_push_bytes = 256,
                     .max_shared_bytes = 32768,
                     .max_invocations = 1024,
                     .max_stage_buffers = 1000,
                     .buffer_array_dynamic = true,
                     .timeline = true,
                     .n_heaps = 1,
                     .heaps = {{local_bytes, local_bytes, true}}};
    snprintf(caps.id, sizeof caps.id, "%s", id);
    snprintf(caps.name, sizeof caps.name, "%s", name);
    snprintf(caps.uuid_text, sizeof caps.uuid_text, "%s", uuid);
    return caps;
}

enum { LLVMPIPE, INTEL, RADEON, RADEON_TWO, SWIFTSHADER, N_DEVICES };

typedef struct machine {
    smt_caps caps[N_DEVICES];
    const smt_caps *list[N_DEVICES];
} machine;

static machine make_machine(void) {
    machine m = {
        .caps = {
            invent("vk0", "llvmpipe (LLVM 15.0.6, 256 bits)", "6d657361323232360000000000000000", SMT_KIND_CPU, 1ull << 40),
            invent("vk1", "Intel(R) Graphics (ADL GT2)", "8680a646000000000002000000000000", SMT_KIND_INTEGRATED, 1ull << 36),
            invent("vk2", "AMD Radeon RX 7600 (RADV NAVI33)", "00000000030000000000000000000000", SMT_KIND_DISCRETE, 8ull << 30),
            invent("vk3", "AMD Radeon RX 7900 XTX (RADV NAVI31)", "00000000440000000000000000000000", SMT_KIND_DISCRETE,
                   24ull << 30),
            invent("vk4", "SwiftShader Device (LLVM 10.0.0)", "53776966745368616465720000000000", SMT_KIND_CPU, 1ull << 40),
        }};
    return m;
}

static smt_status choose(machine *m, uint32_t n, const char *wanted, uint32_t *out, smt_error *err) {
    for (uint32_t i = 0; i < N_DEVICES; i++) m->list[i] = &m->caps[i];
    return smt_api_choose_device(m->list, n, wanted, out, err);
}

static void check_names(void **state) {
    (void)state;
    static const struct {
        const char *wanted;
        uint32_t index;
    } rows[] = {
        {"vk3", RADEON_TWO},
        {"VK1", INTEL},
        {"llvmpipe", LLVMPIPE},
        {"swiftshader", SWIFTSHADER},
        {"7900 xtx", RADEON_TWO},
        {" intel ", INTEL},
        {"6d6573", LLVMPIPE},
        {"8680A646-0000", INTEL},
        {"0000000044", RADEON_TWO},
        {"navi33", RADEON},
        {"llvmpipe (LLVM 15.0.6, 256 bits)", LLVMPIPE},
    };
    machine m = make_machine();
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        uint32_t index = 99;
        smt_error err = {0};
        SMT_ASSERT_OK(choose(&m, N_DEVICES, rows[i].wanted, &index, &err), &err);
        assert_int_equal(index, rows[i].index);
    }
}

static void check_refusals(void **state) {
    (void)state;
    static const struct {
        const char *wanted, *in_message;
        smt_status status;
    } rows[] = {
        {"nvidia", "\"nvidia\"", SMT_NOT_FOUND},
        {"vk9", "vk4", SMT_NOT_FOUND},
        {"radeon", "vk2", SMT_INVALID},
        {"radeon", "vk3", SMT_INVALID},
        {"00", "vk3", SMT_INVALID},
        {"llvm", "2 devices", SMT_INVALID},
        {"vk0,,vk1", "empty", SMT_INVALID},
        {"vk0,", "empty", SMT_INVALID},
        {" ", "empty", SMT_INVALID},
        {"-", "\"-\"", SMT_NOT_FOUND},
        {"vk0,vk1", "2 devices", SMT_UNSUPPORTED},
    };
    machine m = make_machine();
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        uint32_t index = 99;
        smt_error err = {0};
        assert_int_equal(choose(&m, N_DEVICES, rows[i].wanted, &index, &err), rows[i].status);
        assert_int_equal(err.code, rows[i].status);
        if (!strstr(err.message, rows[i].in_message)) fail_msg("%s: %s", rows[i].wanted, err.message);
    }
}

static void check_lists(void **state) {
    (void)state;
    machine m = make_machine();
    for (uint32_t i = 0; i < N_DEVICES; i++) m.list[i] = &m.caps[i];
    uint32_t indices[3], count;
    smt_error err = {0};
    SMT_ASSERT_OK(smt_api_choose_devices(m.list, N_DEVICES, "xtx, vk0,vk0", indices, 3, &count, &err), &err);
    assert_int_equal(count, 3);
    assert_int_equal(indices[0], RADEON_TWO);
    assert_int_equal(indices[1], LLVMPIPE);
    assert_int_equal(indices[2], LLVMPIPE);
    assert_int_equal(smt_api_choose_devices(m.list, N_DEVICES, "vk0,vk1,vk2,vk3", indices, 3, &count, &err), SMT_INVALID);
    assert_int_equal(count, 0);
}

static void check_automatic(void **state) {
    (void)state;
    machine m = make_machine();
    uint32_t index;
    smt_error err = {0};
    SMT_ASSERT_OK(choose(&m, N_DEVICES, NULL, &index, &err), &err);
    assert_int_equal(index, RADEON_TWO);
    SMT_ASSERT_OK(choose(&m, N_DEVICES, "", &index, &err), &err);
    assert_int_equal(index, RADEON_TWO);
    m.caps[RADEON_TWO].timeline = false; /* unusable: the next best */
    SMT_ASSERT_OK(choose(&m, N_DEVICES, NULL, &index, &err), &err);
    assert_int_equal(index, RADEON);
    SMT_ASSERT_OK(choose(&m, 2, NULL, &index, &err), &err);
    assert_int_equal(index, INTEL);
    SMT_ASSERT_OK(choose(&m, 1, NULL, &index, &err), &err);
    assert_int_equal(index, LLVMPIPE);
    m.caps[LLVMPIPE].n_heaps = 0; /* still the only one: whoever needs memory says so */
    SMT_ASSERT_OK(choose(&m, 1, NULL, &index, &err), &err);
    assert_int_equal(index, LLVMPIPE);
    assert_int_equal(choose(&m, 0, NULL, &index, &err), SMT_NOT_FOUND);
    assert_int_equal(choose(&m, 0, "vk0", &index, &err), SMT_NOT_FOUND);
}

/* An option struct as an older and as a newer program would pass it. */
static void check_options(void **state) {
    (void)state;
    struct {
        size_t struct_size;
        uint32_t a, b;
    } known, given = {sizeof given, 1, 2};
    struct {
        size_t struct_size;
        uint32_t a, b;
        uint64_t later;
    } newer = {sizeof newer, 3, 4, 0};
    smt_error err = {0};
    SMT_ASSERT_OK(smt_api_copy_options(&known, sizeof known, &given, "options", &err), &err);
    assert_int_equal(known.b, 2);
    given.struct_size = sizeof(size_t) + sizeof(uint32_t);
    SMT_ASSERT_OK(smt_api_copy_options(&known, sizeof known, &given, "options", &err), &err);
    assert_int_equal(known.a, 1);
    assert_int_equal(known.b, 0);
    SMT_ASSERT_OK(smt_api_copy_options(&known, sizeof known, &newer, "options", &err), &err);
    assert_int_equal(known.b, 4);
    newer.later = 1;
    assert_int_equal(smt_api_copy_options(&known, sizeof known, &newer, "options", &err), SMT_INVALID);
    given.struct_size = 0;
    assert_int_equal(smt_api_copy_options(&known, sizeof known, &given, "options", &err), SMT_INVALID);
    assert_int_equal(smt_api_copy_options(&known, sizeof known, NULL, "options", &err), SMT_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_names),     cmocka_unit_test(check_refusals), cmocka_unit_test(check_lists),
        cmocka_unit_test(check_automatic), cmocka_unit_test(check_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
