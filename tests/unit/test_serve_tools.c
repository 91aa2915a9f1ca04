/* Functions that a model may call: which definitions are refused, how a conversation with calls becomes a prompt, what an answer may
 * look like, and how one is read, wherever its pieces begin and end. */
#include "serve_tools.h"
#include "support.h"

#define TOOLS                                                                                                            \
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"add\", \"description\": \"adds\", \"parameters\": " \
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 9}}, "          \
    "\"required\": [\"a\"]}}}, {\"type\": \"function\", \"function\": {\"name\": \"stop\", \"strict\": true}}]"

static smt_file *file;
static smt_tokenizer *tokenizer;

static int open_model(void **state) {
    smt_error err = {0};
    (void)state;
    SMT_ASSERT_OK(smt_file_open(smt_test_data("g-v2.f16.gguf"), &file, &err), &err);
    SMT_ASSERT_OK(smt_tokenizer_create(file, &tokenizer, &err), &err);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    smt_tokenizer_free(tokenizer);
    smt_file_free(file);
    return 0;
}

static json_t *parse(const char *text) {
    json_error_t why;
    json_t *value = json_loads(text, 0, &why);
    if (!value) fail_msg("%s: %s", text, why.text);
    return value;
}

/* ---- reading ---- */

/* What was heard, as "T(text)N0(name)A0(arguments)": parts of one thing are one. */
typedef struct transcript {
    char text[2000];
    size_t count;
    char last[16];
    bool called; /* and the last call is whole */
} transcript;

static bool note(void *user, const serve_heard *heard) {
    transcript *t = user;
    char head[16] = "T";
    if (heard->kind != SERVE_HEARD_TEXT)
        snprintf(head, sizeof head, "%c%u", heard->kind == SERVE_HEARD_NAME ? 'N' : 'A', heard->call);
    bool goes_on = heard->kind != SERVE_HEARD_NAME && !strcmp(head, t->last);
    assert_true(heard->count > 0);
    assert_true(t->count + heard->count + 32 < sizeof t->text);
    if (goes_on) t->count--;
    t->count += (size_t)snprintf(t->text + t->count, sizeof t->text - t->count, "%s%s%.*s)", goes_on ? "" : head,
                                 goes_on ? "" : "(", (int)heard->count, heard->bytes);
    strcpy(t->last, head);
    return true;
}

/* In pieces that end at the cuts, which are ascending. */
static transcript read_cut(const serve_dialect *dialect, const char *answer, size_t bytes, size_t a, size_t b) {
    transcript t = {0};
    serve_reader reader = {.dialect = dialect};
    assert_true(serve_reader_feed(&reader, answer, a, note, &t));
    assert_true(serve_reader_feed(&reader, answer + a, b - a, note, &t));
    assert_true(serve_reader_feed(&reader, answer + b, bytes - b, note, &t));
    assert_true(serve_reader_end(&reader, note, &t));
    t.called = serve_reader_has_called(&reader);
    serve_reader_free(&reader);
    return t;
}

static void assert_reads(const serve_dialect *dialect, const char *answer, const char *want) {
    size_t bytes = strlen(answer);
    for (size_t a = 0; a <= bytes; a++)
        for (size_t b = a; b <= bytes; b += 1 + b % 3) assert_string_equal(read_cut(dialect, answer, bytes, a, b).text, want);
    transcript t = {0};
    serve_reader reader = {.dialect = dialect};
    for (size_t i = 0; i < bytes; i++) assert_true(serve_reader_feed(&reader, answer + i, 1, note, &t));
    assert_true(serve_reader_end(&reader, note, &t));
    serve_reader_free(&reader);
    assert_string_equal(t.text, want);
}

#define ARGS1 "{\"a\": \"}]\\\"{\\\\\", \"b\": [{\"c\": 1}]}"
#define ARGS2 "{}"

static void build(const serve_dialect *d, char *out, size_t room) {
    snprintf(out, room, "Well <tool.\n\n%s%sadd%s" ARGS1 "%sstop%s" ARGS2 "%s", d->trigger, d->open, d->middle, d->between,
             d->middle, d->end);
}

static void calls_are_read_at_every_cut(void **state) {
    char answer[600];
    (void)state;
    for (size_t i = 0; serve_dialect_row(i); i++) {
        build(serve_dialect_row(i), answer, sizeof answer);
        assert_reads(serve_dialect_row(i), answer, "T(Well <tool.)N0(add)A0(" ARGS1 ")N1(stop)A1(" ARGS2 ")");
    }
    assert_true(serve_dialect_row(2) != NULL);
}

static void texts_that_look_like_calls(void **state) {
    static const char *const texts[] = {
        "a < b", " <tool_call", "<<tool_cal l>", "\n\n", "x<tool_<tool_", "1 <｜tool▁calls▁begi ｜", "größe<｜"};
    char want[100];
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        snprintf(want, sizeof want, "T(%s)", texts[i]);
        assert_reads(serve_dialect_row(0), texts[i], want);
        assert_reads(serve_dialect_row(1), texts[i], want);
        assert_reads(NULL, texts[i], want);
    }
    assert_reads(NULL, "<tool_call>\n{", "T(<tool_call>\n{)");
}

/* An answer that was cut off: what was told stays true. */
static void answers_that_stop_anywhere(void **state) {
    char answer[600];
    (void)state;
    for (size_t i = 0; serve_dialect_row(i); i++) {
        const serve_dialect *d = serve_dialect_row(i);
        build(d, answer, sizeof answer);
        size_t bytes = strlen(answer), trigger = (size_t)(strstr(answer, d->trigger) - answer);
        size_t name = trigger + strlen(d->trigger) + strlen(d->open) + strlen("add");
        for (size_t n = 0; n <= bytes; n++) {
            transcript t = read_cut(d, answer, n, 0, n);
            size_t first = name + strlen(d->middle) + strlen(ARGS1), second = first + strlen(d->between) + strlen("stop");
            assert_int_equal(strstr(t.text, "N0(add)") != NULL, n > name);
            if (n < first || n == second) assert_false(t.called);
            if (n == first || n == bytes) assert_true(t.called);
            if (n == trigger) assert_string_equal(t.text, "T(Well <tool.\n\n)");
            if (n == name + strlen(d->middle) + 5) assert_string_equal(t.text, "T(Well <tool.)N0(add)A0({\"a\":)");
        }
    }
}

/* ---- definitions ---- */

static void definitions_that_are_refused(void **state) {
    static const struct {
        const char *body, *words;
    } wrong[] = {
        {"{\"tools\": {}}", "not a list"},
        {"{\"tools\": [5]}", "entry 0 has no type"},
        {"{\"tools\": [{\"type\": \"web_search\"}]}", "web_search"},
        {"{\"tools\": [{\"type\": \"function\"}]}", "entry 0 has no \"function\""},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {}}]}", "its name"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a b\"}}]}", "its name"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"\"}}]}", "its name"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": "
         "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}]}",
         "its name"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}, {\"type\": \"function\", \"function\": "
         "{\"name\": \"f\"}}]}",
         "0 and 1"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": 5}}]}", "description"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": \"x\"}}]}", "parameters"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"strict\": \"yes\"}}]}", "strict"},
        {"{" TOOLS ", \"tool_choice\": \"any\"}", "\"any\""},
        {"{" TOOLS ", \"tool_choice\": {\"type\": \"allowed_tools\"}}", "tool_choice"},
        {"{" TOOLS ", \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"sub\"}}}", "\"sub\""},
        {"{" TOOLS ", \"parallel_tool_calls\": 1}", "parallel_tool_calls"},
        {"{\"tool_choice\": \"required\"}", "no \"tools\""},
    };
    serve_tools tools;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        serve_error error = {0};
        json_t *body = parse(wrong[i].body);
        if (serve_tools_read(body, &tools, &error)) fail_msg("taken: %s", wrong[i].body);
        assert_int_equal(error.code, 400);
        if (!strstr(error.message, wrong[i].words)) fail_msg("%s: %s", wrong[i].body, error.message);
        json_decref(body);
    }
}

static void choices(void **state) {
    static const struct {
        const char *body;
        serve_tool_choice choice;
        bool listed, parallel, named;
    } cases[] = {
        {"{}", SERVE_TOOLS_NONE, false, false, false},
        {"{\"tools\": [], \"tool_choice\": \"auto\"}", SERVE_TOOLS_NONE, false, false, false},
        {"{\"tools\": null, \"tool_choice\": null}", SERVE_TOOLS_NONE, false, false, false},
        {"{" TOOLS "}", SERVE_TOOLS_AUTO, true, true, false},
        {"{" TOOLS ", \"tool_choice\": \"none\"}", SERVE_TOOLS_NONE, false, false, false},
        {"{" TOOLS ", \"tool_choice\": \"required\", \"parallel_tool_calls\": false}", SERVE_TOOLS_REQUIRED, true, false, false},
        {"{" TOOLS ", \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"stop\"}}}", SERVE_TOOLS_REQUIRED, true,
         false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        serve_error error = {0};
        serve_tools tools;
        json_t *body = parse(cases[i].body);
        if (!serve_tools_read(body, &tools, &error)) fail_msg("%s: %s", cases[i].body, error.message);
        assert_int_equal(tools.choice, cases[i].choice);
        assert_int_equal(tools.list != NULL, cases[i].listed);
        assert_int_equal(tools.parallel, cases[i].parallel);
        assert_int_equal(tools.only != NULL, cases[i].named);
        json_decref(body);
    }
}

/* ---- grammars ---- */

/* What the grammar of the body's answers says of a text: 0 refused, 1 a beginning, 2 may end there. */
static int judge_body(const serve_dialect *d, const char *body_text, const char *answer_rules, const char *text) {
    char *grammar_text = NULL;
    size_t bytes = 0;
    serve_error error = {0};
    smt_error err = {0};
    serve_tools tools;
    smt_grammar *grammar;
    smt_grammar_state *state;
    json_t *body = parse(body_text);
    if (!serve_tools_read(body, &tools, &error) || !serve_tools_grammar(&tools, d, answer_rules, &grammar_text, &bytes, &error))
        fail_msg("%s", error.message);
    json_decref(body);
    SMT_ASSERT_OK(smt_grammar_create(tokenizer, grammar_text, bytes, &grammar, &err), &err);
    SMT_ASSERT_OK(smt_grammar_state_create(grammar, &state, &err), &err);
    smt_status status = smt_grammar_accept_text(state, text, strlen(text), &err);
    int verdict = status != SMT_OK ? 0 : smt_grammar_may_end(state) ? 2 : 1;
    smt_grammar_state_free(state);
    smt_grammar_free(grammar);
    free(grammar_text);
    return verdict;
}

static int judge(const serve_dialect *d, const char *members, const char *answer_rules, const char *text) {
    char body[2000];
    snprintf(body, sizeof body, "{" TOOLS "%s}", members);
    return judge_body(d, body, answer_rules, text);
}

/* Of the arguments of a function with these parameters. */
static int judge_arguments(const char *parameters, const char *arguments) {
    const serve_dialect *d = serve_dialect_row(0);
    char body[1000], text[400];
    bool whole = arguments[strlen(arguments) - 1] == '}' || arguments[strlen(arguments) - 1] == ']';
    snprintf(body, sizeof body, "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": %s}}]}",
             parameters);
    snprintf(text, sizeof text, "%s%sf%s%s%s", d->trigger, d->open, d->middle, arguments, whole ? d->end : "");
    return judge_body(d, body, NULL, text);
}

static void write_calls(const serve_dialect *d, const char *text, const char *first, const char *second, char *out, size_t room) {
    int n = snprintf(out, room, "%s%s%s%s%s{\"a\": 4}", text, d->trigger, d->open, first, d->middle);
    if (second) n += snprintf(out + n, room - (size_t)n, "%s%s%s{}", d->between, second, d->middle);
    snprintf(out + n, room - (size_t)n, "%s", d->end);
}

static void answers_that_grammars_allow(void **state) {
    static const char named[] = ", \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"add\"}}",
                      required[] = ", \"tool_choice\": \"required\"", single[] = ", \"parallel_tool_calls\": false";
    char one[600], two[600], after[600], wrong[600];
    (void)state;
    for (size_t i = 0; serve_dialect_row(i); i++) {
        const serve_dialect *d = serve_dialect_row(i);
        write_calls(d, "", "add", NULL, one, sizeof one);
        write_calls(d, "", "add", "stop", two, sizeof two);
        write_calls(d, "<< größe <tool <｜t\n", "add", NULL, after, sizeof after);
        write_calls(d, "<", "sub", NULL, wrong, sizeof wrong); /* a trigger that begins behind one which did not go on */
        assert_int_equal(judge(d, "", NULL, "any < text <tool_ <｜tool▁"), 2);
        assert_int_equal(judge(d, "", NULL, ""), 2);
        assert_int_equal(judge(d, "", NULL, one), 2);
        assert_int_equal(judge(d, "", NULL, two), 2);
        assert_int_equal(judge(d, "", NULL, after), 2);
        assert_int_equal(judge(d, "", NULL, d->trigger), 1);
        assert_int_equal(judge(d, "", NULL, wrong), 0);
        assert_int_equal(judge(d, "", NULL, wrong + 1), 0);
        strcat(one, "x");
        assert_int_equal(judge(d, "", NULL, one), 0);
        assert_int_equal(judge(d, single, NULL, two), 0);
        assert_int_equal(judge(d, required, NULL, two), 2);
        assert_int_equal(judge(d, required, NULL, after), 0);
        assert_int_equal(judge(d, named, NULL, two), 0);
        assert_int_equal(judge(d, "", "answer ::= \"yes\"\n", "yes"), 2);
        assert_int_equal(judge(d, "", "answer ::= \"yes\"\n", two), 2);
        assert_int_equal(judge(d, "", "answer ::= \"yes\"\n", "no"), 0);
        assert_int_equal(judge(d, required, "answer ::= \"yes\"\n", "yes"), 0);
    }
}

/* What is said of a function with these members; NULL: it is taken. */
static const char *complaint_about(const char *function, serve_error *error) {
    char text[600], *grammar = NULL;
    size_t bytes;
    serve_tools tools;
    snprintf(text, sizeof text, "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", %s}}]}", function);
    json_t *body = parse(text);
    *error = (serve_error){0};
    bool good =
        serve_tools_read(body, &tools, error) && serve_tools_grammar(&tools, serve_dialect_row(0), NULL, &grammar, &bytes, error);
    json_decref(body);
    assert_int_equal(good, grammar != NULL);
    free(grammar);
    return good ? NULL : error->message;
}

static void schemas_beyond_grammars(void **state) {
    static const char odd[] = "\"parameters\": {\"properties\": {\"a\": {\"unevaluatedItems\": false}}}";
    char strict[200], loose[200], unsaid[200];
    serve_error error;
    (void)state;
    snprintf(strict, sizeof strict, "\"strict\": true, %s", odd);
    snprintf(loose, sizeof loose, "\"strict\": false, %s", odd);
    snprintf(unsaid, sizeof unsaid, "\"strict\": null, %s", odd);
    assert_non_null(complaint_about(strict, &error));
    assert_non_null(strstr(error.message, "\"f\""));
    assert_non_null(strstr(error.message, "#/properties/a"));
    assert_non_null(strstr(error.message, "unevaluatedItems"));
    assert_int_equal(error.code, 400);
    assert_null(complaint_about(odd, &error));
    assert_null(complaint_about(loose, &error));
    assert_null(complaint_about(unsaid, &error));
    assert_non_null(complaint_about("\"parameters\": {\"type\": \"string\"}", &error));
    assert_non_null(strstr(error.message, "an object"));
    assert_null(complaint_about("\"parameters\": null", &error));
    assert_null(complaint_about("\"parameters\": {\"$ref\": \"#/$defs/x\", \"$defs\": {\"x\": {\"type\": \"object\"}}}", &error));
}

/* Of a schema that is beyond grammars, what is not still holds. */
static void schemas_partly_beyond_grammars(void **state) {
    static const char partly[] =
        "{\"type\": \"object\", \"required\": [\"n\", \"to\", \"list\"], \"$defs\": {\"d\": {\"enum\": [1, 2]}}, \"properties\": "
        "{\"n\": {\"$ref\": \"#/$defs/d\"}, \"to\": {\"type\": \"string\", \"format\": \"uri\"}, "
        "\"list\": {\"type\": \"array\", \"uniqueItems\": true, \"items\": {}}}}",
                      wholly[] = "{\"type\": \"object\", \"propertyNames\": {\"maxLength\": 2}, \"properties\": {\"n\": "
                                 "{\"const\": 1}}}";
    (void)state;
    assert_int_equal(judge_arguments(partly, "{\"n\": 2, \"to\": \"a:b\", \"list\": [1]}"), 2);
    assert_int_equal(judge_arguments(partly, "{\"n\": 1, \"to\": 5, \"list\": {}}"), 2);
    assert_int_equal(judge_arguments(partly, "{\"n\": 3"), 0);
    assert_int_equal(judge_arguments(partly, "{\"n\": 2}"), 0);
    assert_int_equal(judge_arguments(wholly, "{\"n\": 2, \"x\": []}"), 2);
    assert_int_equal(judge_arguments(wholly, "[]"), 0);
}

/* Each schema is small enough, and all of them are not. */
static void schemas_that_are_too_much(void **state) {
    static char word[400000];
    json_t *body = json_pack("{s:[]}", "tools");
    serve_error error = {0};
    serve_tools tools;
    char name[8], *grammar;
    size_t bytes;
    (void)state;
    memset(word, 'a', sizeof word - 1);
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "f%d", i);
        json_array_append_new(json_object_get(body, "tools"),
                              json_pack("{s:s, s:{s:s, s:{s:{s:{s:s}}}}}", "type", "function", "function", "name", name,
                                        "parameters", "properties", "a", "const", word));
    }
    assert_true(serve_tools_read(body, &tools, &error));
    assert_false(serve_tools_grammar(&tools, serve_dialect_row(0), NULL, &grammar, &bytes, &error));
    assert_int_equal(error.code, 400);
    assert_non_null(strstr(error.message, "larger than 4194304"));
    json_decref(body);
}

/* ---- conversations ---- */

static const char v31[] =
    "{% for m in messages %}{% if m.tool_calls %}{{ '<｜tool▁calls▁begin｜>' }}{% for c in m.tool_calls %}"
    "{{ '<｜tool▁call▁begin｜>' + c.function.name + '<｜tool▁sep｜>' + c.function.arguments + '<｜tool▁call▁end｜>' }}"
    "{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
static const char hermes[] =
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}"
    "{{ '<tool_call>\\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}{{ c.function.arguments | tojson }}"
    "{{ '}\\n</tool_call>' }}{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
static const char forgets[] = "{% for m in messages %}{{ m.content or '' }}{% endfor %}";
/* As DeepSeek-V3's is: calls of a message that has no text, and closing marks behind the second call only. */
static const char either[] =
    "{% for m in messages %}{% if m.role == 'assistant' and m.content is none %}{% for c in m.tool_calls %}"
    "{% if loop.first %}{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + c.type + '<｜tool▁sep｜>' + c.function.name + "
    "'\\n```json\\n' "
    "+ c.function.arguments + '\\n```<｜tool▁call▁end｜>' }}{% endif %}{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor "
    "%}";
static const char loses_results[] =
    "{% for m in messages if m.role != 'tool' %}{% if m.tool_calls %}{% for c in m.tool_calls %}"
    "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + c.function.name + '<｜tool▁sep｜>' + c.function.arguments }}{% endfor %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}";
static const char refuses[] =
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no') }}{% endif %}{% endfor %}";

static void habits_of_templates(void **state) {
    static const struct {
        const char *source;
        size_t dialect;
        bool writes, lists, objects, one;
    } cases[] = {{"deepseek2", 0, false, false, false, false}, {"deepseek3", 1, true, false, false, false},
                 {"llama2", 0, false, false, false, false},    {v31, 2, true, false, false, true},
                 {hermes, 0, true, true, true, true},          {forgets, 0, false, false, false, false},
                 {refuses, 0, false, false, false, false},     {loses_results, 0, false, false, false, false},
                 {either, 1, true, false, false, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        smt_error err = {0};
        smt_chat_template *chat;
        serve_habits habits;
        SMT_ASSERT_OK(smt_chat_template_create(file, tokenizer, cases[i].source, &chat, &err), &err);
        serve_learn_habits(chat, &habits);
        assert_ptr_equal(habits.dialect, serve_dialect_row(cases[i].dialect));
        assert_int_equal(habits.writes_calls, cases[i].writes);
        assert_int_equal(habits.lists_tools, cases[i].lists);
        assert_int_equal(habits.wants_objects, cases[i].objects);
        assert_int_equal(habits.one_of_both, cases[i].one);
        smt_chat_template_free(chat);
    }
}

/* Messages after the retelling, one line each: role, content, fields. */
static void retell(const serve_habits *habits, const char *body_text, char *out, size_t room) {
    serve_error error = {0};
    serve_tools tools;
    serve_messages messages = {0};
    json_t *body = parse(body_text);
    size_t n = 0;
    char message[200];
    bool good = serve_tools_read(body, &tools, &error);
    assert_true(good && serve_messages_read(json_object_get(body, "messages"), &messages, message, sizeof message));
    good = serve_tools_retell(&tools, habits, 4, &messages, &error);
    if (!good) snprintf(out, room, "%u %s", error.code, error.message);
    for (size_t i = 0; good && i < messages.count; i++) {
        const smt_chat_message *m = &messages.items[i];
        n += (size_t)snprintf(out + n, room - n, "%s|%s|%s\n", m->role, m->content ? m->content : "-",
                              m->fields ? m->fields : "-");
        assert_true(n < room);
    }
    serve_messages_free(&messages);
    json_decref(body);
}

#define CALL(arguments)                                                                                                \
    "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"i\", \"function\": {\"name\": \"add\", " \
    "\"arguments\": " arguments "}}]}"
#define RESULT "{\"role\": \"tool\", \"tool_call_id\": \"i\", \"content\": \"4\"}"

static void conversations_are_retold(void **state) {
    const serve_habits plain = {.dialect = serve_dialect_row(0)},
                       own = {.dialect = serve_dialect_row(1), .writes_calls = true, .lists_tools = true},
                       either_one = {.dialect = serve_dialect_row(1), .writes_calls = true, .one_of_both = true},
                       objects = {
                           .dialect = serve_dialect_row(0), .writes_calls = true, .lists_tools = true, .wants_objects = true};
    char got[3000];
    (void)state;
    retell(&plain,
           "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, " CALL(
               "\"{\\\"a\\\": 4}\"") ", " RESULT ", " RESULT
                                     ", {\"role\": \"user\", \"content\": \"r\"}, {\"role\": \"user\", \"content\": \"s\"}]}",
           got, sizeof got);
    assert_string_equal(got, "user|q|-\nassistant|<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 4}}\n</tool_call>|-\n"
                             "user|<tool_response>\n4\n</tool_response>\n<tool_response>\n4\n</tool_response>\nr|-\nuser|s|-\n");
    retell(&plain,
           "{\"messages\": [{\"role\": \"assistant\", \"reasoning_content\": \"hm\", \"tool_calls\": [{\"function\": {\"name\": "
           "\"add\", \"arguments\": \"{}\"}}]}]}",
           got, sizeof got);
    assert_non_null(
        strstr(got, "</tool_call>|{\"reasoning_content\":\"hm\"}\n")); /* calls became text, and nothing else is lost */
    retell(&own, "{\"messages\": [" CALL("\"{\\\"a\\\": 4}\"") ", " RESULT "], " TOOLS "}", got, sizeof got);
    assert_string_equal(
        got, "assistant|-|{\"tool_calls\":[{\"id\":\"i\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\": 4}\"},"
             "\"type\":\"function\"}]}\ntool|4|{\"tool_call_id\":\"i\"}\n");
    retell(&either_one,
           "{\"messages\": [{\"role\": \"assistant\", \"content\": \"I add.\", \"tool_calls\": [{\"function\": {\"name\": "
           "\"add\", \"arguments\": \"\"}}]}, {\"role\": \"assistant\", \"content\": \"4\"}]}",
           got, sizeof got);
    assert_string_equal(got,
                        "assistant|I add.|-\nassistant|-|{\"tool_calls\":[{\"function\":{\"name\":\"add\",\"arguments\":\"{}\"},"
                        "\"type\":\"function\"}]}\nassistant|4|-\n");
    retell(&objects, "{\"messages\": [" CALL("\"{\\\"a\\\": 4}\"") "]}", got, sizeof got);
    assert_non_null(strstr(got, "\"arguments\":{\"a\":4}"));
    retell(&objects, "{\"messages\": [" CALL("\"{\\\"a\\\": \"") "]}", got, sizeof got);
    assert_non_null(strstr(got, "400 message 0: the text of the arguments of call 0 is not JSON: line 1"));
    retell(&objects, "{\"messages\": [" CALL("\"[[[[[]]]]]\"") "]}", got, sizeof got);
    assert_string_equal(got, "400 message 0: the text of the arguments of call 0 nests 5 levels deep, and 4 are allowed");
    retell(&own, "{\"messages\": [" CALL("5") "]}", got, sizeof got);
    assert_string_equal(got, "400 message 0: the arguments of call 0 are no JSON text");
    retell(&own, "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{}]}]}", got, sizeof got);
    assert_string_equal(got, "400 message 0: call 0 has no function with a name");
}

static void functions_stand_in_the_system_message(void **state) {
    const serve_habits plain = {.dialect = serve_dialect_row(0)},
                       lists = {.dialect = serve_dialect_row(0), .writes_calls = true, .lists_tools = true};
    char got[3000], *at;
    (void)state;
    retell(&plain,
           "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"q\"}], " TOOLS
           "}",
           got, sizeof got);
    assert_int_equal(strncmp(got, "system|Be brief.\n\nYou can call", 30), 0);
    assert_non_null(at = strstr(got, "\n{\"name\": \"add\", \"description\": \"adds\""));
    assert_non_null(at = strstr(at, "\n{\"name\": \"stop\"}\n"));
    assert_non_null(at = strstr(at, "\n<tool_call>\n{\"name\": \"NAME\", \"arguments\": {...}}\n</tool_call>|-\nuser|q|-\n"));
    retell(&plain, "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}], " TOOLS "}", got, sizeof got);
    assert_int_equal(strncmp(got, "system|You can call", 19), 0);
    retell(&lists, "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}], " TOOLS "}", got, sizeof got);
    assert_string_equal(got, "user|q|-\n");
    retell(&plain, "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}], \"tool_choice\": \"none\", " TOOLS "}", got,
           sizeof got);
    assert_string_equal(got, "user|q|-\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_read_at_every_cut),
        cmocka_unit_test(texts_that_look_like_calls),
        cmocka_unit_test(answers_that_stop_anywhere),
        cmocka_unit_test(definitions_that_are_refused),
        cmocka_unit_test(choices),
        cmocka_unit_test(answers_that_grammars_allow),
        cmocka_unit_test(schemas_beyond_grammars),
        cmocka_unit_test(schemas_partly_beyond_grammars),
        cmocka_unit_test(schemas_that_are_too_much),
        cmocka_unit_test(habits_of_templates),
        cmocka_unit_test(conversations_are_retold),
        cmocka_unit_test(functions_stand_in_the_system_message),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
