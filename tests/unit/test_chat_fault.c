/* test_chat_fault.c: damaged templates and failing allocations: an error each, nothing lost, nothing read or written beyond its place
 * (run under the sanitizers to see the latter). */
#include "test_token_fixture.h"

#include "chat/chat.h"

#include <time.h>

/* Something of everything the language has. */
static const char everything[] =
    "{# note #}{%- set ns = namespace(n=0, s='') -%}{% macro show(m, end='.') %}[{{ m.role | upper }}{{ end }}]{% endmacro %}"
    "{{ bos_token }}{% for m in messages if m.role != 'none' %}{% if loop.first and m is mapping %}{{ show(m) }}"
    "{% elif m['content'] is string and 'x' not in m.content %}{{ show(m, end=m.content[1:-1] ~ loop.index) }}{% else %}"
    "{% continue %}{% endif %}{% set ns.n = ns.n + 2 * loop.index0 %}{% set ns.s = ns.s + m.content.split('a')[0].strip() %}"
    "{% endfor %}{{ ns.n }}{{ ns.s | trim | replace('H', 'J') }}{% set block %}{{ [1, 2.5, none, {'k': 'v'}] | tojson(indent=2) "
    "}}"
    "{% endset %}{{ block | indent }}{{ messages | map(attribute='role') | join(', ') }}{% for k, v in messages[0].items() %}"
    "{{ k }}={{ v }}{% endfor %}{{ tools[0].function.name if tools else 'no' }}{{ range(3) | list }}{{ 7 // 2 % 3 - 1 }}"
    "{{ messages[-1].fields_are.here | default('none') }}{% if add_generation_prompt %}<end>{% endif %}";

static const smt_chat_message talk[] = {{"system", "Be kind", NULL},
                                        {"user", " Hi you ", "{\"name\": \"A\", \"fields_are\": {}}"},
                                        {"assistant", "Hex", NULL},
                                        {"user", "Hallo", "{\"fields_are\": {\"here\": [1, \"\\u00e9\"]}}"}};
static const smt_chat_request request = {.struct_size = sizeof request,
                                         .messages = talk,
                                         .n_messages = SMT_COUNT(talk),
                                         .tools = "[{\"function\": {\"name\": \"f\"}}]",
                                         .variables = "{\"a\": 1}"};

static void damaged(void **state) {
    (void)state;
    smt_test_random random = {3};
    size_t n_good = 0;
    char source[sizeof everything];
    clock_t start = clock();
    for (int round = 0; round < 6000; round++) {
        size_t bytes = sizeof everything - 1;
        memcpy(source, everything, sizeof everything);
        if (round % 3 == 0) bytes = smt_test_next(&random) % sizeof everything; /* cut off */
        for (uint64_t i = 0; round % 3 && i < 1 + smt_test_next(&random) % 3; i++) {
            char *at = source + smt_test_next(&random) % bytes;
            if (round % 3 == 1)
                *at = (char)(*at ^ 1 << smt_test_next(&random) % 8);
            else
                *at = everything[smt_test_next(&random) % bytes];
        }
        char *own = smt_strndup(source, bytes), *text = NULL; /* of its own size, so that a reader beyond the end is seen */
        smt_chat *chat = NULL;
        smt_error err = {0};
        size_t n;
        smt_status status = smt_chat_create(own, bytes, NULL, &chat, &err);
        if (status == SMT_OK) status = smt_chat_text_of(chat, &request, &text, &n, &err);
        if (status != SMT_OK && !strstr(err.message, "chat template")) fail_msg("%.*s: %s", (int)bytes, own, err.message);
        n_good += status == SMT_OK;
        smt_free(text);
        smt_chat_free(chat);
        smt_free(own);
    }
    assert_true(n_good > 100);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 20) fail_msg("6000 damaged templates took %.1f s", seconds);
}

static smt_status make_and_use(const smt_vocab *vocab, char **out_text, smt_error *err) {
    smt_chat *chat;
    size_t bytes, count;
    int32_t *ids;
    *out_text = NULL;
    SMT_TRY(smt_chat_create(everything, sizeof everything - 1, vocab, &chat, err));
    smt_status status = smt_chat_text_of(chat, &request, out_text, &bytes, err);
    if (status == SMT_OK) status = smt_chat_encode(chat, &request, &ids, &count, err);
    if (status == SMT_OK) {
        assert_true(count > 100);
        smt_free(ids);
        status = smt_token_fim(vocab, &(smt_fim){.prefix = "ab c", .prefix_bytes = 4, .suffix = "x", .suffix_bytes = 1}, &ids,
                               &count, err);
    }
    if (status == SMT_OK) smt_free(ids);
    smt_chat_free(chat);
    return status;
}

static void each_allocation_fails(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    spec_add(&spec, "<｜fim▁begin｜>", 3, 0);
    spec_add(&spec, "<｜fim▁hole｜>", 3, 0);
    spec_add(&spec, "<｜fim▁end｜>", 3, 0);
    smt_vocab *vocab = spec_vocab(&spec);
    smt_error err = {0};
    char *wanted, *text;
    SMT_ASSERT_OK(make_and_use(vocab, &wanted, &err), &err);
    uint64_t n = 0, failures = 0;
    for (bool waits = false; !waits;) {
        assert_true(++n < 5000);
        smt_mem_fail_after(n);
        smt_status status = make_and_use(vocab, &text, &err);
        waits = smt_test_hook_waits(n);
        if (status != SMT_OK) assert_int_equal(status, SMT_MEMORY);
        if (status == SMT_OK) assert_string_equal(text, wanted);
        failures += status == SMT_MEMORY;
        smt_free(text);
    }
    assert_true(failures > 30);
    smt_free(wanted);
    smt_vocab_free(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(damaged), cmocka_unit_test(each_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
