/* The comparison of keys: right, and in a time that does not say how much of a guess was right. */
#include "serve_internal.h"
#include "support.h"

#include <string.h>

#define LENGTH 4096

static bool same(const char *key, const char *given) { return serve_same_key(key, given, strlen(given)); }

static void test_keys(void **state) {
    (void)state;
    assert_true(same("secret", "secret"));
    static const char *const wrong[] = {"", "s", "secre", "secreT", "Secret", "secrets", "secretsecret", "tercesterces"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(same("secret", wrong[i]));
    assert_false(same("aa", "a"));
    assert_false(same("a", "aa"));
}

/* The least of many tries, which other programs disturb least. */
static double seconds(const char *key, const char *given) {
    double least = 1e9;
    for (int try = 0; try < 200; try++) {
        double begun = serve_seconds();
        for (int i = 0; i < 10; i++) assert_false(serve_same_key(key, given, LENGTH));
        double took = serve_seconds() - begun;
        if (took < least) least = took;
    }
    return least;
}

static void test_a_guess_takes_its_time(void **state) {
    (void)state;
    char key[LENGTH + 1], early[LENGTH + 1], late[LENGTH + 1];
    memset(key, 'k', LENGTH);
    key[LENGTH] = 0;
    memcpy(early, key, sizeof key);
    memcpy(late, key, sizeof key);
    early[0] = late[LENGTH - 1] = 'x';
    double ratio = seconds(key, late) / seconds(key, early);
    assert_true(ratio > 0.5 && ratio < 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys), cmocka_unit_test(test_a_guess_takes_its_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
