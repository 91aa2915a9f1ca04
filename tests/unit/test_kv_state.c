/* test_kv_state.c: the head of a saved session: what was written is read back, and every other number is refused by name. */
#include "support.h"

#include "kv/kv.h"

static const smt_kv_state model = {.model = 0x1122334455667788, .n_layers = 27, .row_bytes = 1152, .f16 = true};

static void refuse(const uint8_t *head, uint64_t n_bytes, smt_status status, const char *word) {
    smt_error err = {0};
    smt_kv_state state = model;
    assert_int_equal(smt_kv_state_check(head, n_bytes, &state, &err), status);
    assert_int_equal(state.length, 0);
    if (!strstr(err.message, word)) fail_msg("\"%s\" does not say \"%s\"", err.message, word);
}

static void test_round(void **state) {
    (void)state;
    const uint32_t lengths[] = {0, 1, 4096, UINT32_MAX};
    for (size_t i = 0; i < SMT_COUNT(lengths); i++) {
        smt_error err;
        smt_kv_state written = model, read = model;
        uint8_t head[SMT_KV_STATE_HEAD];
        written.length = lengths[i];
        uint64_t bytes = smt_kv_state_bytes(&written);
        assert_true(bytes == 48 + lengths[i] * (uint64_t)(4 + 27 * 1152));
        smt_kv_state_head(&written, head);
        SMT_ASSERT_OK(smt_kv_state_check(head, bytes, &read, &err), &err);
        assert_int_equal(read.length, lengths[i]);
        refuse(head, bytes + 1, SMT_FORMAT, "takes");
        refuse(head, bytes - 1, SMT_FORMAT, "takes");
    }
}

static void test_every_field(void **state) {
    (void)state;
    static const struct {
        size_t at; /* of the lowest byte of a number */
        smt_status status;
        const char *word;
    } fields[] = {{0, SMT_FORMAT, "no saved session"},
                  {7, SMT_FORMAT, "no saved session"},
                  {8, SMT_UNSUPPORTED, "version 3"},
                  {12, SMT_INVALID, "cache of F32"},
                  {16, SMT_INVALID, "112233445566778a"},
                  {24, SMT_FORMAT, "25 layers"},
                  {28, SMT_FORMAT, "1154"},
                  {32, SMT_FORMAT, "5 tokens"},
                  {36, SMT_FORMAT, ""}};
    smt_kv_state written = model;
    written.length = 7;
    for (size_t i = 0; i < SMT_COUNT(fields); i++) {
        uint8_t head[SMT_KV_STATE_HEAD];
        smt_kv_state_head(&written, head);
        head[fields[i].at] ^= 2;
        refuse(head, smt_kv_state_bytes(&written), fields[i].status, fields[i].word);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round), cmocka_unit_test(test_every_field)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
