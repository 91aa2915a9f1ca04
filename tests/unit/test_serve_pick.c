/* Which slot of the server answers a prompt: the one that holds most of it, where that is worth something, else the one unused longest. */
#include "serve_internal.h"
#include "support.h"

#define HELD(tokens, when, taken) \
    { tokens, sizeof(tokens) / sizeof *(tokens), when, taken }

static const int32_t talk[] = {1, 5, 6, 7, 8, 9, 10, 11}, other[] = {1, 20, 21, 22, 23, 24}, prompt[] = {1, 5, 6, 7, 8, 30, 31};

static void test_common(void **state) {
    (void)state;
    assert_int_equal(serve_common(talk, 8, prompt, 7), 5);
    assert_int_equal(serve_common(talk, 3, prompt, 7), 3);
    assert_int_equal(serve_common(talk, 8, prompt, 0), 0);
    assert_int_equal(serve_common(other, 6, prompt, 7), 1);
}

static void test_longest_beginning(void **state) {
    (void)state;
    const serve_held slots[] = {HELD(other, 1, false), HELD(talk, 9, false), {NULL, 0, 0, false}};
    assert_int_equal(serve_pick(slots, 3, prompt, 7), 1);
}

static void test_busy_slots_are_not_chosen(void **state) {
    (void)state;
    const serve_held slots[] = {HELD(other, 3, false), HELD(talk, 1, true), HELD(other, 2, false)};
    assert_int_equal(serve_pick(slots, 3, prompt, 7), 2);
    const serve_held all[] = {HELD(other, 3, true), HELD(talk, 1, true)};
    assert_int_equal(serve_pick(all, 2, prompt, 7), 2);
}

/* The beginning token, or a tenth of the prompt, is no reason to take a slot from another conversation. */
static void test_little_in_common_is_nothing(void **state) {
    (void)state;
    const serve_held slots[] = {HELD(talk, 9, false), {NULL, 0, 4, false}};
    const int32_t begins[] = {1, 40, 41};
    assert_int_equal(serve_pick(slots, 2, begins, 3), 1);
    int32_t longer[100] = {1, 5, 6, 7, 8, 9, 10, 11};
    assert_int_equal(serve_pick(slots, 2, longer, 100), 1);
    assert_int_equal(serve_pick(slots, 2, longer, 60), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_common),
        cmocka_unit_test(test_longest_beginning),
        cmocka_unit_test(test_busy_slots_are_not_chosen),
        cmocka_unit_test(test_little_in_common_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
