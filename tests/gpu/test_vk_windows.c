/* test_vk_windows.c: the array of storage-buffer windows, indexed by a table on the device, as experts are found. */
#include "vk_support.h"

#define ITEMS      24
#define ITEM_WORDS 64

/* One workgroup per item: table[item] = { window, offset in 16-byte units }; out = the item's words + 1. */
static const char gather_text[] = "layout(local_size_x = SMT_GROUP_X) in;\n"
                                  "layout(set = 0, binding = 0) readonly buffer Window { uvec4 v[]; } W[SMT_WINDOWS];\n"
                                  "layout(set = 0, binding = 1) readonly buffer Table { uvec2 table[]; };\n"
                                  "layout(set = 0, binding = 3) writeonly buffer Out { uint out_[]; };\n"
                                  "void main() {\n"
                                  "    uint item = gl_WorkGroupID.x, i = gl_LocalInvocationID.x;\n"
                                  "    uvec2 at = table[item];\n"
                                  "    out_[item * 64 + i] = W[at.x].v[at.y + i / 4][i % 4] + 1;\n"
                                  "}\n";

/* Items spread over `n_given` windows of two slabs; the kernel has `n_windows` slots. */
static void gather(const smt_vk_fixture *f, uint32_t n_windows, uint32_t n_given) {
    const uint64_t window_bytes = smt_align_up(ITEMS * ITEM_WORDS * 4, f->caps->storage_align);
    smt_vk_test_shader(f, "gather.comp", gather_text);
    smt_vk_kernel *kernel = smt_vk_test_kernel(f, "gather.comp", n_windows, 0);
    smt_vk_buffer *slabs[2] = {smt_vk_test_buffer(f, window_bytes * 8, "slab 0"),
                               smt_vk_test_buffer(f, window_bytes * 8, "slab 1")};
    smt_vk_buffer *table = smt_vk_test_buffer(f, ITEMS * 8, "table"), *out = smt_vk_test_buffer(f, ITEMS * ITEM_WORDS * 4, "out");
    smt_vk_range windows[SMT_VK_MAX_WINDOWS];
    for (uint32_t w = 0; w < n_given; w++) windows[w] = (smt_vk_range){slabs[w % 2], w / 2 * window_bytes, window_bytes};
    uint32_t *entries = smt_vk_buffer_map(table);
    for (uint32_t item = 0; item < ITEMS; item++) {
        uint32_t w = item * 7 % n_given, place = (item * 5 + 3) % ITEMS;
        entries[2 * item] = w;
        entries[2 * item + 1] = place * ITEM_WORDS / 4;
        uint32_t *words = (uint32_t *)((char *)smt_vk_buffer_map(windows[w].buffer) + windows[w].offset) + place * ITEM_WORDS;
        for (uint32_t i = 0; i < ITEM_WORDS; i++) words[i] = item * 1000 + i;
    }
    smt_error err;
    smt_vk_buffer *written[3] = {slabs[0], slabs[1], table};
    for (int i = 0; i < 3; i++)
        SMT_ASSERT_OK(smt_vk_buffer_flush(f->device, written[i], 0, smt_vk_buffer_bytes(written[i]), &err), &err);

    smt_vk_recording *recording;
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "gather", &recording, &err), &err);
    smt_vk_range buffers[3] = {smt_vk_test_whole(table), {0}, smt_vk_test_whole(out)}; /* binding 2 is skipped */
    smt_vk_dispatch dispatch = {
        .kernel = kernel, .windows = windows, .n_windows = n_given, .buffers = buffers, .n_buffers = 3, .groups = {ITEMS, 1, 1}};
    SMT_ASSERT_OK(smt_vk_record_dispatch(recording, &dispatch, &err), &err);
    smt_vk_test_run(f, recording);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, out, 0, ITEMS * ITEM_WORDS * 4, &err), &err);
    const uint32_t *result = smt_vk_buffer_map(out);
    for (uint32_t i = 0; i < ITEMS * ITEM_WORDS; i++) assert_int_equal(result[i], i / ITEM_WORDS * 1000 + i % ITEM_WORDS + 1);

    smt_vk_kernel_destroy(f->device, kernel);
    smt_vk_buffer_destroy(f->device, slabs[0]);
    smt_vk_buffer_destroy(f->device, slabs[1]);
    smt_vk_buffer_destroy(f->device, table);
    smt_vk_buffer_destroy(f->device, out);
}

static void test_one(void **state) { gather(*state, 1, 1); }
static void test_four(void **state) { gather(*state, 4, 4); }
static void test_sixteen(void **state) { gather(*state, 16, 16); }
static void test_unused_slots(void **state) { gather(*state, 4, 3), gather(*state, 16, 5); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_four),
        cmocka_unit_test(test_sixteen),
        cmocka_unit_test(test_unused_slots),
    };
    return cmocka_run_group_tests(tests, smt_vk_test_setup, smt_vk_test_teardown);
}
