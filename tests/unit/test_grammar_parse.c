/* test_grammar_parse.c: each feature of GBNF by texts that it allows and texts that it does not; and what is wrong with wrong
 * ones. */
#include "test_grammar_fixture.h"

/* ---- what grammars allow ---- */

typedef struct language {
    const char *grammar, *yes[8], *no[8]; /* up to the first NULL */
} language;

static const language languages[] = {
    {"root ::= \"abc\"", {"abc"}, {"", "ab", "abcd", "abd"}},
    {"root ::= \"\"", {""}, {"a"}},
    {"root ::=", {""}, {"a"}},
    {"root ::= \"a\" | \"bc\" | ", {"a", "bc", ""}, {"abc", "b"}},
    {"root ::= \"a\"\n  | \"b\" # one\n\n# two\n  |\n \"c\"\n", {"a", "b", "c"}, {"", "ab"}},
    {"root ::= a b\na ::= \"x\"\nb ::= a a", {"xxx"}, {"xx", "xxxx"}},
    {"x-1_b ::= \"y\"\r\nroot   ::=\n\n  x-1_b", {"y"}, {""}},
    {"root ::= \"a\"?", {"", "a"}, {"aa"}},
    {"root ::= \"ab\"*", {"", "ab", "abab"}, {"a", "aba"}},
    {"root ::= \"ab\"+", {"ab", "ababab"}, {"", "aba"}},
    {"root ::= [ab]{3}", {"aba", "bbb"}, {"", "ab", "abab"}},
    {"root ::= [ab]{2,}", {"ab", "babab"}, {"", "a"}},
    {"root ::= ( \"x\" \"y\" ){1,3}", {"xy", "xyxy", "xyxyxy"}, {"", "xyx", "xyxyxyxy"}},
    {"root ::= \"x\"{ 0 , 2 } \"z\"", {"z", "xz", "xxz"}, {"xxxz", "x"}},
    {"root ::= \"x\"{0} \"z\"{0,0} \"y\"{1}", {"y"}, {"", "xy", "yz"}},
    {"root ::= (\"a\"?)* \"b\"", {"b", "aaab"}, {"a", "ba"}},
    {"root ::= ((\"a\"? \"c\"?)+)* \"b\"", {"b", "acaab"}, {"ac"}},
    {"root ::= e{3,5} \"b\"\ne ::= \"\" | \"a\"", {"b", "aaaaab"}, {"aaaaaab"}},
    {"root ::= [a-cx]", {"a", "b", "c", "x"}, {"d", "-", ""}},
    {"root ::= [a-]", {"a", "-"}, {"b"}},
    {"root ::= [^a-c]", {"d", "\xc3\xa9", "\xf0\x9f\x98\x80", "\n"}, {"a", "c", "", "\xc3", "\x80"}},
    {"root ::= [\\]\\[^\\x2d]+", {"[]^-"}, {"\\", "x"}},
    {"root ::= .",
     {"a", "\n", "\xe4\xb8\xad", "\xf4\x8f\xbf\xbf"},
     {"", "ab", "\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80"}},
    {"root ::= [\xce\xb1-\xcf\x89]+", {"\xce\xb1\xce\xb2\xcf\x89"}, {"a", "\xcf\x8a", "\xce\xb0"}},
    {"root ::= [\\u07ff-\\u0800]", {"\xdf\xbf", "\xe0\xa0\x80"}, {"\xdf\xbe", "\xe0\xa0\x81"}},
    {"root ::= [\\ud7ff-\\ue000]", {"\xed\x9f\xbf", "\xee\x80\x80"}, {"\xed\xa0\x80", "\xed\xbf\xbf"}},
    {"root ::= [\\U00010FFF-\\U00050001]",
     {"\xf0\x90\xbf\xbf", "\xf1\x80\x80\x80", "\xf1\x90\x80\x81"},
     {"\xf0\x90\xbf\xbe", "\xf1\x90\x80\x82"}},
    {"root ::= \"\\x41\\u00e9\\U0001F600\\n\\t\\r\\\\\\\"\\[\\]\"", {"A\xc3\xa9\xf0\x9f\x98\x80\n\t\r\\\"[]"}, {"A"}},
    {"root ::= \"\\xe9\"", {"\xc3\xa9"}, {"\xe9"}},
    {"root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", "(()", "())", ")("}},
    {"root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"\"", {"", "abba", "aabbaa"}, {"ab", "aba"}},
    {"root ::= \"a\" root | \"b\"", {"b", "aaaaaaaaaaaab"}, {"a", "bb"}},
    {"root ::= \"a\" never | \"b\"\nnever ::= \"c\" never", {"b"}, {"a", "ac"}},
    {"root ::= s \"!\"\ns ::= \"if\" s (\"else\" s)? | \"x\"", {"x!", "ififxelsex!", "ififxelsexelsex!"}, {"if!", "xelsex!"}},
};

static void test_languages(void **state) {
    (void)state;
    grammar_fixture f;
    open_words(&f, bpe_vocab());
    for (size_t i = 0; i < SMT_COUNT(languages); i++) {
        const language *l = &languages[i];
        smt_error err = {0};
        SMT_ASSERT_OK(open_matcher(&f, l->grammar, strlen(l->grammar), &err), &err);
        for (size_t k = 0; k < SMT_COUNT(l->yes) && l->yes[k]; k++)
            if (!matches(&f, l->yes[k], strlen(l->yes[k]))) fail_msg("%s\ndoes not allow \"%s\"", l->grammar, l->yes[k]);
        for (size_t k = 0; k < SMT_COUNT(l->no) && l->no[k]; k++)
            if (matches(&f, l->no[k], strlen(l->no[k]))) fail_msg("%s\nallows \"%s\"", l->grammar, l->no[k]);
        close_matcher(&f);
    }
    close_fixture(&f);
}

/* A class allows exactly the characters whose code points it names, wherever the borders of UTF-8 lengths and bytes lie. */
static void test_every_character(void **state) {
    (void)state;
    static const uint32_t borders[] = {0x41,   0x7f,   0x80,   0xbf,    0x7ff,   0x800,   0xfff,   0x1000,
                                       0xd7ff, 0xe000, 0xffff, 0x10000, 0x3ffff, 0x40000, 0x10ffff};
    smt_test_random random = {11};
    grammar_fixture f;
    open_words(&f, bpe_vocab());
    for (int round = 0; round < 60; round++) {
        uint32_t low = borders[smt_test_next(&random) % SMT_COUNT(borders)],
                 high = borders[smt_test_next(&random) % SMT_COUNT(borders)];
        bool negated = round % 2;
        char grammar[64];
        smt_error err = {0};
        if (round % 3 == 0 && low > 0x90 && low < 0xd000) low -= (uint32_t)(smt_test_next(&random) % 70);
        if (low > high) continue;
        snprintf(grammar, sizeof grammar, "root ::= [%s\\U%08X-\\U%08X]", negated ? "^" : "", low, high);
        SMT_ASSERT_OK(open_matcher(&f, grammar, strlen(grammar), &err), &err);
        for (uint32_t c = 0; c < 0x110000;
             c += c < 0x3000 || (c > 0xd000 && c < 0x10100) ? 1 + (uint32_t)(smt_test_next(&random) % 3) : 397) {
            char text[4];
            size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
            text[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xf0u) | c >> 6 * (n - 1));
            for (size_t i = 1; i < n; i++) text[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 63));
            bool wanted = (c >= low && c <= high) != negated && !(c >= 0xd800 && c <= 0xdfff);
            if (matches(&f, text, n) != wanted) fail_msg("%s: U+%04X", grammar, c);
        }
        close_matcher(&f);
    }
    close_fixture(&f);
}

/* ---- what is wrong ---- */

typedef struct mistake {
    const char *grammar;
    smt_status status;
    const char *message; /* a part of it */
} mistake;

static const mistake mistakes[] = {
    {"", SMT_FORMAT, "none of its 0 rules is called \"root\""},
    {"a ::= \"x\"", SMT_FORMAT, "none of its 1 rules"},
    {"root ::= \"x", SMT_FORMAT, "line 1, column 10: the text that begins here"},
    {"root ::= \"x\n\"", SMT_FORMAT, "line 1, column 10: the text"},
    {"# \xc3\xa9\nroot ::= \"\xc3\xa9\" [a", SMT_FORMAT, "line 2, column 14: the class that begins here"},
    {"root ::= [z-a]", SMT_FORMAT, "column 11: a range"},
    {"root ::= []", SMT_FORMAT, "a class without characters"},
    {"root ::= [\\q]", SMT_FORMAT, "column 11: an unknown escape"},
    {"root ::= \"\\x4\"", SMT_FORMAT, "column 11: the escape needs 2 hexadecimal digits"},
    {"root ::= \"\\ud800\"", SMT_FORMAT, "U+D800 is no Unicode character"},
    {"root ::= \"\\U00110000\"", SMT_FORMAT, "U+110000"},
    {"root ::= \"\xff\"", SMT_FORMAT, "column 11: a byte that is not UTF-8"},
    {"root ::= \"a\" $", SMT_FORMAT, "column 14: the name of a rule is expected"},
    {"root = \"a\"", SMT_FORMAT, "column 6: \"::=\" is expected"},
    {"root ::= (\"a\"", SMT_FORMAT, "column 10: the parenthesis"},
    {"root ::= \"a\")", SMT_FORMAT, "column 13: a parenthesis that was not opened"},
    {"root ::= \"a\"{", SMT_FORMAT, "column 14: a number"},
    {"root ::= \"a\"{3,2}", SMT_FORMAT, "column 13: a repetition whose most"},
    {"root ::= \"a\"{3", SMT_FORMAT, "column 13: the brace"},
    {"root ::= *", SMT_FORMAT, "column 10: the name"},
    {"root ::= a\n\nb ::= c", SMT_FORMAT, "line 1, column 10: the rule \"a\" is not defined"},
    {"root ::= \"a\"\nroot ::= \"b\"", SMT_FORMAT, "line 2, column 1: the rule \"root\" is defined twice"},
    {"root ::= root \"a\" | \"b\"", SMT_FORMAT, "the rule \"root\" can begin with itself"},
    {"root ::= \"c\" | a\na ::= e (b)* \nb ::= e? a \"x\" | \"y\"\ne ::= \"\" | \"z\"", SMT_FORMAT, "can begin with itself"},
    {"root ::= (\"a\"? root){2} | \"b\"", SMT_FORMAT, "the rule \"root\" can begin with itself"},
    {"root ::= \"a\" root", SMT_FORMAT, "the rule \"root\" never ends"},
    {"root ::= <think>", SMT_UNSUPPORTED, "tokens as items"},
    {"root ::= \"a\"{1000000}", SMT_UNSUPPORTED, "a repetition of more than"},
    {"root ::= a{1000,2000}{300}\na ::= \"x\"", SMT_OK, ""},
    {"root ::= (a{500000}) (b{500000})\na ::= \"x\"\nb ::= \"y\"", SMT_UNSUPPORTED, "becomes too large"},
};

static void test_mistakes(void **state) {
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(mistakes); i++) {
        const mistake *m = &mistakes[i];
        smt_error err = {0};
        smt_automaton *automaton;
        char *own = smt_strndup(m->grammar, strlen(m->grammar));
        smt_status status = smt_automaton_create(own, strlen(own), &automaton, &err);
        if (status != m->status || (status != SMT_OK && !strstr(err.message, m->message)))
            fail_msg("%s\n%s: %s", m->grammar, smt_status_name(status), err.message);
        assert_true((automaton != NULL) == (status == SMT_OK));
        smt_automaton_free(automaton);
        smt_free(own);
    }
}

static smt_status create_repeated(const char *head, const char *unit, size_t count, const char *tail, smt_error *err) {
    smt_str text = {0};
    smt_automaton *automaton;
    assert_int_equal(smt_str_append(&text, head, strlen(head), NULL), SMT_OK);
    for (size_t i = 0; i < count; i++) assert_int_equal(smt_str_append(&text, unit, strlen(unit), NULL), SMT_OK);
    assert_int_equal(smt_str_append(&text, tail, strlen(tail), NULL), SMT_OK);
    smt_status status = smt_automaton_create(text.text, text.bytes, &automaton, err);
    smt_automaton_free(automaton);
    smt_str_free(&text);
    return status;
}

/* Sizes that would exhaust stack or memory are refused by name; large ones within the limits are taken. */
static void test_limits(void **state) {
    (void)state;
    smt_error err = {0};
    assert_int_equal(create_repeated("root ::= ", "(", 100000, "", &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "parentheses are nested"));
    assert_int_equal(create_repeated("root ::= \"a\"", "*", 100000, "", &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "repetitions are nested"));
    assert_int_equal(create_repeated("root ::= \"", "abcdefgh", 100000, "\"", &err), SMT_UNSUPPORTED);
    assert_int_equal(create_repeated("", "# comment comment comment comment\n", 200000, "", &err), SMT_UNSUPPORTED);
    SMT_ASSERT_OK(create_repeated("root ::= \"a\"", " | \"b\"", 100000, "", &err), &err);
    SMT_ASSERT_OK(create_repeated("root ::= [a", "\xe4\xb8\xad", 100000, "]", &err), &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_languages), cmocka_unit_test(test_every_character),
                                       cmocka_unit_test(test_mistakes), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
