/* test_vk_choose.c: what is enabled on invented machines. */
#include "support.h"

#include "vk/vk_internal.h"

#define VERSION(major, minor) ((uint32_t)(major) << 22 | (uint32_t)(minor) << 12)

static smt_vk_facts plain(void) {
    smt_vk_facts facts = {.n_families = 1, .families = {{.n_queues = 1, .compute = true, .transfer = true}}};
    facts.caps = (smt_caps){.name = "Invented", .api_version = VERSION(1, 2), .timeline = true, .buffer_array_dynamic = true};
    facts.caps.subgroup_size = facts.caps.subgroup_min = facts.caps.subgroup_max = 8;
    return facts;
}

static void test_plainest(void **state) {
    (void)state;
    smt_vk_facts facts = plain();
    smt_vk_choice choice;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    const smt_vk_choice nothing = {0}; /* families 0, no feature, no extension, no subgroups, no timestamps */
    assert_memory_equal(&choice, &nothing, sizeof choice);
}

static void refuse(const smt_vk_facts *facts, const char *words) {
    smt_vk_choice choice;
    smt_error err;
    assert_int_equal(smt_vk_choose(facts, &choice, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "Invented"));
    assert_non_null(strstr(err.message, words));
}

static void test_refusals(void **state) {
    (void)state;
    smt_vk_facts facts = plain();
    facts.caps.api_version = VERSION(1, 1);
    refuse(&facts, "Vulkan 1.1");
    facts = plain();
    facts.caps.timeline = false;
    refuse(&facts, "timelineSemaphore");
    facts = plain();
    facts.caps.buffer_array_dynamic = false;
    refuse(&facts, "shaderStorageBufferArrayDynamicIndexing");
    facts = plain();
    facts.families[0].compute = false;
    refuse(&facts, "compute queue");
    facts = plain();
    facts.families[0].n_queues = 0;
    refuse(&facts, "compute queue");
}

static void test_families(void **state) {
    (void)state;
    smt_vk_facts facts = plain();
    facts.n_families = 4;
    facts.families[0] = (smt_vk_family){1, 64, .compute = true, .graphics = true, .transfer = true};
    facts.families[1] = (smt_vk_family){2, 0, .transfer = true};
    facts.families[2] = (smt_vk_family){8, 36, .compute = true, .transfer = true};
    facts.families[3] = (smt_vk_family){2, 0, .transfer = true};
    smt_vk_choice choice;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_int_equal(choice.queue_family, 2); /* computes without graphics */
    assert_int_equal(choice.timestamp_bits, 36);
    assert_int_equal(choice.transfer_family, 1); /* the first that only copies */
    facts.families[2].timestamp_bits = 0;
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_int_equal(choice.queue_family, 2);
    facts.n_families = 1; /* a desktop's only queue */
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_int_equal(choice.queue_family, 0);
    assert_int_equal(choice.transfer_family, 0);
    assert_int_equal(choice.timestamp_bits, 64);
}

static void test_subgroups(void **state) {
    (void)state;
    smt_vk_facts facts = plain();
    smt_vk_choice choice;
    smt_error err;
    facts.caps.subgroup_ballot = true;
    facts.extensions = SMT_VK_EXT_SUBGROUP_SIZE;
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_int_equal(choice.subgroup_size, 8);
    assert_false(choice.require_subgroup_size || choice.extensions);
    facts.caps.subgroup_size_control = facts.full_subgroups = true;
    facts.caps.subgroup_size = 64;
    facts.caps.subgroup_min = 32;
    facts.caps.subgroup_max = 64;
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_int_equal(choice.subgroup_size, 32);
    assert_true(choice.require_subgroup_size && choice.full_subgroups);
    assert_int_equal(choice.extensions, SMT_VK_EXT_SUBGROUP_SIZE);
    facts.extensions = 0; /* core in 1.3: nothing to enable by name */
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_true(choice.require_subgroup_size && !choice.extensions);
    smt_caps_reduce(&facts.caps);
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_int_equal(choice.subgroup_size, 0);
    assert_false(choice.require_subgroup_size || choice.full_subgroups);
}

static void test_features(void **state) {
    (void)state;
    smt_vk_facts facts = plain();
    smt_caps *caps = &facts.caps;
    caps->fp16 = caps->int8 = caps->int16 = caps->int64 = caps->storage16 = caps->storage8 = true;
    caps->int_dot = caps->coop_matrix = caps->executable_properties = true;
    facts.extensions = ~0u;
    smt_vk_choice choice;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_true(choice.fp16 && choice.int8 && choice.int16 && choice.int64 && choice.storage16 && choice.storage8);
    assert_true(choice.int_dot && choice.coop_matrix && choice.executable_properties);
    assert_int_equal(choice.extensions, SMT_VK_EXT_INT_DOT | SMT_VK_EXT_COOP_MATRIX | SMT_VK_EXT_EXECUTABLE_PROPERTIES);
    smt_caps_reduce(caps);
    SMT_ASSERT_OK(smt_vk_choose(&facts, &choice, &err), &err);
    assert_false(choice.fp16 || choice.int64 || choice.storage16 || choice.int_dot || choice.coop_matrix);
    assert_int_equal(choice.extensions, SMT_VK_EXT_EXECUTABLE_PROPERTIES); /* a tool's feature: kernels cannot tell */
}

static void same_shape(smt_coop_shape shape, uint32_t m, uint32_t n, uint32_t k) {
    assert_int_equal(shape.m, m);
    assert_int_equal(shape.n, n);
    assert_int_equal(shape.k, k);
}

/* The largest shape that fits a subgroup whose size is certain; none without all that the kernels need. */
static void test_coop(void **state) {
    (void)state;
    static const smt_coop_shape shapes[] = {{8, 8, 16}, {16, 16, 16}, {64, 16, 16}, {16, 8, 8}, {16, 16, 24}, {16, 32, 32}};
    smt_vk_facts facts = plain();
    smt_caps *caps = &facts.caps;
    caps->coop_matrix = caps->fp16 = caps->subgroup_basic = caps->subgroup_size_control = facts.full_subgroups = true;
    caps->max_shared_bytes = 32768;
    caps->subgroup_size = caps->subgroup_max = 64;
    caps->subgroup_min = 16;
    same_shape(smt_vk_choose_coop(&facts, shapes, 6), 16, 16, 16);
    same_shape(smt_vk_choose_coop(&facts, shapes, 1), 8, 8, 16);
    caps->subgroup_min = 32;
    same_shape(smt_vk_choose_coop(&facts, shapes, 6), 16, 32, 32);
    same_shape(smt_vk_choose_coop(&facts, shapes + 4, 1), 0, 0, 0);
    bool *const needed[] = {&caps->coop_matrix, &caps->fp16, &caps->subgroup_basic, &facts.full_subgroups};
    for (size_t i = 0; i < SMT_COUNT(needed); i++) {
        *needed[i] = false;
        same_shape(smt_vk_choose_coop(&facts, shapes, 6), 0, 0, 0);
        *needed[i] = true;
    }
    caps->max_shared_bytes = 16384;
    same_shape(smt_vk_choose_coop(&facts, shapes, 6), 0, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plainest),  cmocka_unit_test(test_refusals), cmocka_unit_test(test_families),
        cmocka_unit_test(test_subgroups), cmocka_unit_test(test_features), cmocka_unit_test(test_coop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
