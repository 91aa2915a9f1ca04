/* Thoughts in front of answers: read wherever pieces begin and end; and the way of a slot's tokens to a client, in which stop strings,
 * calls and grammars are about the answer alone. */
#include "serve_tools.h"
#include "support.h"

#include <stdlib.h>

static smt_file *file;
static serve_server server;

/* A vocabulary that spells the marks in several tokens. */
static int open_model(void **state) {
    smt_error err = {0};
    (void)state;
    SMT_ASSERT_OK(smt_file_open(smt_test_data("../../assets/seamount-coder.gguf"), &file, &err), &err);
    SMT_ASSERT_OK(smt_tokenizer_create(file, &server.tokenizer, &err), &err);
    SMT_ASSERT_OK(smt_chat_template_create(file, server.tokenizer, "deepseek3", &server.chat, &err), &err);
    SMT_ASSERT_OK(serve_find_think(server.tokenizer, &server.think, &err), &err);
    assert_int_equal(server.think, -1);
    server.model.n_vocab = smt_tokenizer_size(server.tokenizer);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    smt_chat_template_free(server.chat);
    smt_tokenizer_free(server.tokenizer);
    smt_file_free(file);
    return 0;
}

/* ---- reading ---- */

typedef struct notes {
    char thought[300], answer[300];
} notes;

static bool note(void *user, bool thought, const char *bytes, size_t count) {
    notes *n = user;
    assert_true(count > 0);
    assert_true(!thought || !n->answer[0]); /* never behind the answer */
    strncat(thought ? n->thought : n->answer, bytes, count);
    return true;
}

/* In pieces that end at the cuts, which are ascending. */
static void read_cut(serve_thoughts t, const char *text, size_t a, size_t b, notes *out) {
    *out = (notes){0};
    assert_true(serve_thoughts_feed(&t, text, a, note, out));
    assert_true(serve_thoughts_feed(&t, text + a, b - a, note, out));
    assert_true(serve_thoughts_feed(&t, text + b, strlen(text) - b, note, out));
    assert_true(serve_thoughts_end(&t, note, out));
}

static void thoughts_are_read_at_every_cut(void **state) {
#define BLANKS "                                                                      "
    static const struct {
        serve_thinking place;
        const char *text, *thought, *answer;
    } cases[] = {
        {SERVE_MAY_THINK, "<think>\nIt is\n\n4 < 5.\n</think>\n\n4", "It is\n\n4 < 5.", "4"},
        {SERVE_MAY_THINK, "\n <think></think>4", "", "4"},
        {SERVE_MAY_THINK, "  4 <think>x</think>", "", "  4 <think>x</think>"},
        {SERVE_MAY_THINK, "<thin>", "", "<thin>"},
        {SERVE_MAY_THINK, " <th", "", " <th"},
        {SERVE_MAY_THINK, "<<think>", "", "<<think>"},
        {SERVE_MAY_THINK, BLANKS "<think>", "", BLANKS "<think>"},
        {SERVE_THINKS, "\n\na <</think> </think>b", "a <", "</think>b"},
        {SERVE_THINKS, "a" BLANKS "b</think> c", "a" BLANKS "b", "c"},
        {SERVE_THINKS, "<think>a</think>\n\n", "<think>a", ""},
        {SERVE_THINKS, "a </thi", "a </thi", ""},
        {SERVE_THINKS, "a \n", "a", ""},
        {SERVE_THINKS, "größer</ think></think>größe", "größer</ think>", "größe"},
        {SERVE_ANSWERS, "<think>a</think>", "", "<think>a</think>"},
    };
    char all[600];
    notes got;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes = strlen(cases[i].text);
        for (size_t a = 0; a <= bytes; a++)
            for (size_t b = a; b <= bytes; b++) {
                read_cut((serve_thoughts){.place = cases[i].place}, cases[i].text, a, b, &got);
                assert_string_equal(got.thought, cases[i].thought);
                assert_string_equal(got.answer, cases[i].answer);
                read_cut((serve_thoughts){.place = cases[i].place, .raw = true}, cases[i].text, a, b, &got);
                assert_string_equal(got.answer, cases[i].answer);
                snprintf(all, sizeof all, "%s%s", got.thought, got.answer);
                assert_string_equal(all, cases[i].text);
            }
    }
#undef BLANKS
}

/* More of them than are held back: those are told, and the mark is seen. */
static void a_mark_behind_blanks(void **state) {
    char text[300];
    notes got;
    (void)state;
    for (int n = 0; n <= 200; n++) {
        snprintf(text, sizeof text, "a%*s</think>b", n, "");
        read_cut((serve_thoughts){.place = SERVE_THINKS}, text, 1, 1, &got);
        assert_string_equal(got.answer, "b");
        assert_int_equal(strspn(got.thought + 1, " ") + 1, strlen(got.thought));
        assert_true(n > 50 || !strcmp(got.thought, "a"));
    }
}

static void prompts_that_lead_into_thoughts(void **state) {
    static const struct {
        const char *text;
        serve_thinking place;
    } cases[] = {{"User: a\n\nAssistant:<think>\n", SERVE_THINKS},
                 {"Assistant:</think>", SERVE_ANSWERS},
                 {"<think>\n\n</think>\n\n", SERVE_ANSWERS},
                 {"<think>a", SERVE_MAY_THINK},
                 {"think>", SERVE_MAY_THINK},
                 {"", SERVE_MAY_THINK}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        serve_thinking place;
        smt_error err = {0};
        int32_t *tokens;
        size_t n;
        SMT_ASSERT_OK(smt_tokenize(server.tokenizer, cases[i].text, strlen(cases[i].text), 0, &tokens, &n, &err), &err);
        SMT_ASSERT_OK(serve_thinking_after(server.tokenizer, tokens, n, &place, &err), &err);
        assert_int_equal(place, cases[i].place);
        smt_free(tokens);
    }
}

static void templates_that_know_thoughts(void **state) {
    static const struct {
        const char *source;
        bool thinks;
    } cases[] = {{"deepseek2", false},
                 {"deepseek3", true}, /* leaves out earlier ones */
                 {"{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>\\n' }}", true},
                 {"{% for m in messages %}{{ m.content }}{% endfor %}{% if not thinking %}{{ '</think>' }}{% endif %}", true},
                 {"{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        smt_error err = {0};
        smt_chat_template *chat;
        serve_habits habits;
        SMT_ASSERT_OK(smt_chat_template_create(file, server.tokenizer, cases[i].source, &chat, &err), &err);
        serve_learn_habits(chat, &habits);
        assert_int_equal(habits.thinks, cases[i].thinks);
        smt_chat_template_free(chat);
    }
}

/* Thoughts are told apart where the prompt leads into one, though neither the template at its usual nor the vocabulary knows any. */
static void prompts_that_say_what_is_told_apart(void **state) {
    static const struct {
        const char *more;
        bool thoughts;
    } cases[] = {{"{}", false},
                 {"{\"thinking\": true}", true},
                 {"{\"enable_thinking\": true}", true},
                 {"{\"thinking\": true, \"format\": \"none\"}", false}};
    static const char source[] = "{% for m in messages %}{{ m.content }}{% endfor %}{% if thinking %}{{ '<think>' }}{% endif %}";
    serve_server chat = server;
    smt_error err = {0};
    (void)state;
    chat.n_ctx = 100;
    SMT_ASSERT_OK(smt_chat_template_create(file, server.tokenizer, source, &chat.chat, &err), &err);
    serve_learn_habits(chat.chat, &chat.habits);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        serve_error error = {0};
        json_t *more = json_loads(cases[i].more, 0, NULL), *format = json_object_get(more, "format");
        json_t *body = json_pack("{s:[{s:s, s:s}], s:o, s:O*}", "messages", "role", "user", "content", "2 + 2",
                                 "chat_template_kwargs", more, "reasoning_format", format);
        serve_request *request = serve_read_chat(&chat, body, &error);
        assert_non_null(request);
        assert_int_equal(request->params.thoughts, cases[i].thoughts);
        serve_request_free(request);
        json_decref(body);
    }
    smt_chat_template_free(chat.chat);
}

/* ---- a slot ---- */

/* A slot whose job answers a prompt of no tokens. */
typedef struct bench {
    serve_request request;
    serve_job job;
    serve_slot slot;
} bench;

static void begin(bench *b, const char *stop, const serve_dialect *calls, serve_thinking place, const char *grammar) {
    smt_error err = {0};
    *b = (bench){.request.params = {.format = SERVE_CHAT, .calls = calls, .thoughts = true, .thinking = place}};
    b->job.request = &b->request;
    b->slot.job = &b->job;
    if (stop) assert_true(serve_add_stop(&b->request.params, stop));
    if (grammar)
        SMT_ASSERT_OK(smt_grammar_create(server.tokenizer, grammar, strlen(grammar), &b->request.params.grammar, &err), &err);
    SMT_ASSERT_OK(serve_say_begin(&server, &b->slot, &err), &err);
    SMT_ASSERT_OK(serve_bound_begin(&server, &b->slot, b->request.params.grammar, &err), &err);
}

/* In a thought that is not told apart. */
static void begin_raw(bench *b, const char *stop, const serve_dialect *calls) {
    smt_error err = {0};
    begin(b, stop, calls, SERVE_THINKS, NULL);
    serve_say_end(&b->slot);
    b->request.params.thoughts = false;
    SMT_ASSERT_OK(serve_say_begin(&server, &b->slot, &err), &err);
}

static void end(bench *b) {
    serve_say_end(&b->slot);
    serve_bound_end(&b->slot);
    serve_params_end(&b->request.params);
}

/* What is said, as "thought|answer", of a text in tokens up to a stop string. */
static void say(bench *b, const char *text, char *out) {
    serve_said said = {0};
    smt_error err = {0};
    int32_t *tokens;
    size_t n;
    SMT_ASSERT_OK(smt_tokenize(server.tokenizer, text, strlen(text), 0, &tokens, &n, &err), &err);
    for (size_t i = 0; i < n && serve_say_stop(&b->slot) < 0; i++)
        assert_int_equal(serve_say(&b->slot, tokens[i], &said), SMT_OK);
    assert_int_equal(serve_say_rest(&b->slot, &said), SMT_OK);
    snprintf(out, 300, "%.*s|%.*s", (int)said.n_thought, said.text.at ? said.text.at : "",
             (int)(said.text.bytes - said.n_thought), said.text.at ? said.text.at + said.n_thought : "");
    free(said.text.at);
    smt_free(tokens);
}

static void stops_end_answers_and_not_thoughts(void **state) {
    static const struct {
        const char *stop, *text, *want;
        int32_t hit;
    } cases[] = {{"\n\n", "<think>a\n\nb</think>\n\nc\n\nd", "a\n\nb|c", 0},
                 {"<", "<think>a <b</think>c<d", "a <b|c", 0},
                 {">>", "<think>a</think>>>b", "a|", 0},
                 {"cd", "<think>a</think>cc", "a|cc", -1},
                 {"abc", "  ababcd", "|ab", 0}};
    char got[300];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        begin(&b, cases[i].stop, NULL, SERVE_MAY_THINK, NULL);
        say(&b, cases[i].text, got);
        assert_string_equal(got, cases[i].want);
        assert_int_equal(serve_say_stop(&b.slot), cases[i].hit);
        end(&b);
    }
}

static void what_is_not_told_apart(void **state) {
    static const struct {
        const char *stop, *text, *want;
        bool calls;
        int32_t hit;
    } cases[] = {{"never", "a</think> b", "a</think> |b", false, -1},
                 {"</think>", "a</think> b", "a|", false, 0},
                 {">>", "a</think>>b", "a</think|", false, 0}, /* all is content */
                 {"x", "a <tool_call> b</think>\n<tool_call>>x", "a <tool_call> b</think>\n|<tool_call>>x", true, -1},
                 {"b", "a <tool_call> b</think><tool_call>", "a <tool_call> |", true, 0},
                 {">x", "a</think>>b", "a</think>|>b", true, -1},
                 {"<tool_call>\n", "a <tool_call>", "a <tool_call>|", true, -1}};
    char got[300];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        begin_raw(&b, cases[i].stop, cases[i].calls ? serve_dialect_row(0) : NULL);
        say(&b, cases[i].text, got);
        assert_string_equal(got, cases[i].want);
        assert_int_equal(serve_say_stop(&b.slot), cases[i].hit);
        end(&b);
    }
}

static void calls_follow_thoughts(void **state) {
    static const char call[] = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    char text[300], want[300], got[300];
    bench b;
    (void)state;
    snprintf(text, sizeof text, "a %s b</think>%s", call, call);
    snprintf(want, sizeof want, "a %s b|%s", call, call);
    begin(&b, "name", serve_dialect_row(0), SERVE_THINKS, NULL); /* which ends neither */
    say(&b, text, got);
    assert_string_equal(got, want);
    assert_int_equal(serve_say_stop(&b.slot), -1);
    end(&b);
    begin(&b, NULL, serve_dialect_row(0), SERVE_THINKS, NULL); /* tokens that end one thing and begin the next */
    say(&b, "a</think>>b<tool_call>>c", got);
    assert_string_equal(got, "a|>b<tool_call>>c");
    end(&b);
}

/* ---- grammars ---- */

static int32_t token_of(const char *text) {
    smt_error err = {0};
    int32_t *tokens, token;
    size_t n;
    SMT_ASSERT_OK(smt_tokenize(server.tokenizer, text, strlen(text), SMT_TOKENIZE_SPECIAL, &tokens, &n, &err), &err);
    assert_int_equal(n, 1);
    token = tokens[0];
    smt_free(tokens);
    return token;
}

static bool allows(bench *b, const char *text) {
    int32_t token = token_of(text);
    assert_int_equal(serve_bound_mask(&server, &b->slot), SMT_OK);
    return b->slot.mask[token / 32] >> token % 32 & 1;
}

/* As the engine does with a token that was drawn. */
static bool take(bench *b, int32_t token) {
    bool fits;
    serve_said said = {0};
    assert_int_equal(serve_bound_take(&server, &b->slot, token, &fits), SMT_OK);
    if (!fits) return false;
    assert_int_equal(serve_say(&b->slot, token, &said), SMT_OK);
    free(said.text.at);
    b->slot.n_tokens++;
    return true;
}

static void take_text(bench *b, const char *text) {
    for (; *text; text++) assert_true(take(b, token_of((char[]){*text, 0})));
}

static void grammars_begin_behind_thoughts(void **state) {
    static const char eos[] = "<｜end▁of▁sentence｜>";
    bench b;
    (void)state;
    begin(&b, NULL, NULL, SERVE_THINKS, "root ::= \"7\" \">\"?");
    take_text(&b, "8</think");
    assert_true(allows(&b, "x"));
    assert_false(allows(&b, eos)); /* the answer would be missing */
    int32_t both = token_of(">>");
    assert_true(allows(&b, ">>"));
    assert_false(take(&b, both)); /* ends the thought, and begins no such answer */
    assert_false(b.slot.mask[both / 32] >> both % 32 & 1);
    assert_false(b.slot.bound);
    take_text(&b, ">");
    assert_false(allows(&b, "x"));
    assert_true(allows(&b, "7"));
    take_text(&b, "7");
    assert_true(allows(&b, eos));
    end(&b);
    begin(&b, NULL, NULL, SERVE_THINKS, "root ::= \">\"? \"7\"?");
    assert_true(allows(&b, eos)); /* the answer may be empty */
    take_text(&b, "8</think");
    assert_true(take(&b, both));
    assert_false(allows(&b, ">"));
    assert_true(allows(&b, "7"));
    end(&b);
    begin(&b, NULL, NULL, SERVE_ANSWERS, "root ::= \"7\"");
    assert_false(allows(&b, "8"));
    end(&b);
}

/* Where a model may think: the mark as one token of the vocabulary is possible, at the beginning. */
static void a_mark_in_front_of_a_grammar(void **state) {
    bench b;
    (void)state;
    server.think = token_of("<｜User｜>"); /* has no text: as good as any, since what it says is not looked at */
    begin(&b, NULL, NULL, SERVE_MAY_THINK, "root ::= \"78\"");
    assert_true(allows(&b, "7") && allows(&b, "<｜User｜>") && !allows(&b, "8"));
    take_text(&b, "7");
    assert_true(allows(&b, "8") && !allows(&b, "<｜User｜>"));
    end(&b);
    begin(&b, NULL, NULL, SERVE_MAY_THINK, "root ::= \"78\"");
    assert_true(take(&b, server.think));
    assert_false(b.slot.bound);
    assert_true(allows(&b, "8"));
    end(&b);
    begin(&b, NULL, NULL, SERVE_ANSWERS, "root ::= \"78\"");
    assert_false(allows(&b, "<｜User｜>"));
    end(&b);
    server.think = -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thoughts_are_read_at_every_cut),  cmocka_unit_test(a_mark_behind_blanks),
        cmocka_unit_test(prompts_that_lead_into_thoughts), cmocka_unit_test(prompts_that_say_what_is_told_apart),
        cmocka_unit_test(templates_that_know_thoughts),    cmocka_unit_test(stops_end_answers_and_not_thoughts),
        cmocka_unit_test(what_is_not_told_apart),          cmocka_unit_test(calls_follow_thoughts),
        cmocka_unit_test(grammars_begin_behind_thoughts),  cmocka_unit_test(a_mark_in_front_of_a_grammar),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
