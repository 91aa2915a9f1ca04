/* test_chat_render.c: what templates print: small ones against Jinja2's own results, the published formats to the byte, through a
 * template in the style of the model's file and through the one known by name alike. */
#include "chat/chat.h"
#include "support.h"

#include <jansson.h>

#define TALK(...) ((const smt_chat_message[]){__VA_ARGS__})

static const smt_chat_message talk[] = {{"system", "You are a helpful assistant.", NULL},
                                        {"user", "Hi", NULL},
                                        {"assistant", "Hello!", NULL},
                                        {"user", "What is 2+2?", NULL}};

static smt_status render(const char *source, const smt_chat_request *request, char **out, smt_error *err) {
    smt_chat *chat;
    size_t bytes;
    *out = NULL;
    SMT_TRY(smt_chat_create(source, strlen(source), NULL, &chat, err));
    smt_status status = smt_chat_text_of(chat, request, out, &bytes, err);
    if (status == SMT_OK) assert_int_equal(strlen(*out), bytes);
    smt_chat_free(chat);
    return status;
}

static void assert_prints(const char *source, const smt_chat_request *request, const char *want) {
    smt_error err = {0};
    char *text;
    SMT_ASSERT_OK(render(source, request, &text, &err), &err);
    assert_string_equal(text, want);
    smt_free(text);
}

/* bos and eos as a vocabulary would give them. */
static smt_chat_request request_of(const smt_chat_message *messages, size_t count, const char *variables) {
    return (smt_chat_request){
        .struct_size = sizeof(smt_chat_request), .messages = messages, .n_messages = count, .variables = variables};
}

static void assert_refused(const char *source, const smt_chat_request *request, smt_status want, const char *words) {
    smt_error err = {0};
    char *text;
    smt_status status = render(source, request, &text, &err);
    if (status != want) fail_msg("%.80s: %s: %s", source, smt_status_name(status), err.message);
    if (!strstr(err.message, words)) fail_msg("%.80s: \"%s\" lacks \"%s\"", source, err.message, words);
}

/* ---- Jinja2's results ---- */

static void language(void **state) {
    (void)state;
    json_error_t problem;
    json_t *document = json_load_file(smt_test_data("chat-cases.json"), 0, &problem);
    if (!document) fail_msg("chat-cases.json:%d: %s", problem.line, problem.text);
    const json_t *cases = json_object_get(document, "cases"), *messages = json_object_get(document, "messages");
    smt_chat_message list[8];
    size_t n_messages = json_array_size(messages), i, n_refused = 0;
    assert_true(n_messages <= SMT_COUNT(list) && json_array_size(cases) > 200);
    for (i = 0; i < n_messages; i++) {
        const json_t *message = json_array_get(messages, i);
        list[i] = (smt_chat_message){json_string_value(json_object_get(message, "role")),
                                     json_string_value(json_object_get(message, "content")), NULL};
    }
    smt_chat_request request = request_of(list, n_messages, NULL);
    json_t *row;
    json_array_foreach(cases, i, row) {
        const char *source = json_string_value(json_object_get(row, "template")),
                   *want = json_string_value(json_object_get(row, "text"));
        smt_error err = {0};
        char *text;
        smt_status status = render(source, &request, &text, &err);
        n_refused += want == NULL;
        if (want ? status != SMT_OK || strcmp(text, want) : status == SMT_OK)
            fail_msg("%s\n  wanted: %s\n  got:    %s", source, want ? want : "(an error)", status == SMT_OK ? text : err.message);
        smt_free(text);
    }
    assert_true(n_refused > 20);
    json_decref(document);
}

/* ---- the formats ---- */

/* A format: the template as the model's files have it, the one known by that name, and what both print for `talk`. */
static const struct {
    const char *name, *variables, *published, *text;
} formats[] = {
    {"deepseek2", "{\"bos_token\": \"<｜begin▁of▁sentence｜>\", \"eos_token\": \"<｜end▁of▁sentence｜>\"}",
     "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
     "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}"
     "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}"
     "{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
     "<｜begin▁of▁sentence｜>You are a helpful assistant.\n\nUser: Hi\n\nAssistant: Hello!<｜end▁of▁sentence｜>"
     "User: What is 2+2?\n\nAssistant:"},
    {"deepseek3", "{\"bos_token\": \"<｜begin▁of▁sentence｜>\", \"eos_token\": \"<｜end▁of▁sentence｜>\"}",
     "{%- set ns = namespace(prompt='', first=true) %}{%- for message in messages %}{%- if message['role'] == 'system' %}"
     "{%- if ns.first %}{% set ns.prompt = ns.prompt + message['content'] %}{% set ns.first = false %}{%- else %}"
     "{% set ns.prompt = ns.prompt + '\n\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}"
     "{{bos_token}}{{ns.prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}"
     "{{'<｜User｜>' + message['content']}}{%- endif %}"
     "{%- if message['role'] == 'assistant' and message['content'] is not none %}"
     "{{'<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor -%}"
     "{% if add_generation_prompt %}{{'<｜Assistant｜>'}}{% endif %}",
     "<｜begin▁of▁sentence｜>You are a helpful assistant.<｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜>"
     "<｜User｜>What is 2+2?<｜Assistant｜>"},
    {"deepseek", "{\"bos_token\": \"<｜begin▁of▁sentence｜>\"}",
     "{%- set ns = namespace(found=false) -%}\n{%- for message in messages -%}\n    {%- if message['role'] == 'system' -%}\n"
     "        {%- set ns.found = true -%}\n    {%- endif -%}\n{%- endfor -%}\n{{ bos_token }}{%- if not ns.found -%}\n"
     "{{ 'You write code.\\n' }}\n{%- endif %}\n{%- for message in messages %}\n    {%- if message['role'] == 'system' %}\n"
     "{{ message['content'] }}\n    {%- elif message['role'] == 'user' %}\n"
     "{{ '### Instruction:\\n' + message['content'] + '\\n' }}\n    {%- else %}\n"
     "{{ '### Response:\\n' + message['content'] + '\\n<|EOT|>\\n' }}\n    {%- endif %}\n{%- endfor %}\n"
     "{% if add_generation_prompt %}\n{{ '### Response:' }}\n{% endif %}",
     NULL},
    {"llama2", "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}",
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
     "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
     "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
     "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
     "{{ raise_exception('roles must alternate, beginning with the user') }}{% endif %}"
     "{% if loop.index0 == 0 and system_message != false %}"
     "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
     "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
     "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
     "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
     "<s>[INST] <<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] What is 2+2? [/INST]"},
    {"llama3", "{\"bos_token\": \"<|begin_of_text|>\"}",
     "{% set loop_messages = messages %}{% for message in loop_messages %}"
     "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
     "'<|eot_id|>' %}"
     "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful assistant.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"chatml", NULL,
     "{%- for message in messages %}\n{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}\n"
     "{%- endfor %}\n{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}",
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
     "Hello!<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"},
    {"deepseek-vl2", "{\"bos_token\": \"<B>\", \"eos_token\": \"<E>\"}", NULL,
     "<B>You are a helpful assistant.\n\n<|User|>: Hi\n\n<|Assistant|>: Hello!<E><|User|>: What is 2+2?\n\n<|Assistant|>:"},
};

static void published_formats(void **state) {
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(formats); i++) {
        smt_chat_request request = request_of(talk, SMT_COUNT(talk), formats[i].variables);
        const char *const sources[] = {formats[i].name, formats[i].published};
        for (size_t k = 0; k < 2 && sources[k]; k++) {
            smt_error err = {0};
            smt_chat *chat;
            SMT_ASSERT_OK(smt_chat_create(sources[k], strlen(sources[k]), NULL, &chat, &err), &err);
            assert_string_equal(smt_chat_name(chat), formats[i].name);
            smt_chat_free(chat);
            if (formats[i].text) assert_prints(sources[k], &request, formats[i].text);
        }
    }
    for (uint32_t i = 0; smt_chat_known(i); i++) { /* each known template is in the table above */
        bool found = false;
        for (size_t k = 0; k < SMT_COUNT(formats); k++) found = found || !strcmp(smt_chat_known(i), formats[k].name);
        assert_true(found);
    }
}

static const char *published(const char *name) {
    for (size_t i = 0; i < SMT_COUNT(formats); i++)
        if (!strcmp(formats[i].name, name)) return formats[i].published;
    return NULL;
}

/* The first Coder: its own system text where the conversation brings none. */
static void coder(void **state) {
    (void)state;
    static const smt_chat_message with_system[] = {
        {"system", "You are an AI\n", NULL}, {"user", "Hi", NULL}, {"assistant", "Hello!", NULL}, {"user", "What is 2+2?", NULL}};
    static const char want[] = "<B>You are an AI\n### Instruction:\nHi\n### Response:\nHello!\n<|EOT|>\n"
                               "### Instruction:\nWhat is 2+2?\n### Response:\n";
    smt_chat_request request = request_of(with_system, 4, "{\"bos_token\": \"<B>\"}");
    assert_prints("deepseek", &request, want);
    assert_prints(published("deepseek"), &request, want);
    request = request_of(with_system + 1, 1, "{\"bos_token\": \"<B>\"}");
    assert_prints(published("deepseek"), &request, "<B>You write code.\n### Instruction:\nHi\n### Response:\n");
    assert_prints("deepseek", &request, "<B>### Instruction:\nHi\n### Response:\n");
}

static void without_generation_prompt(void **state) {
    (void)state;
    smt_chat_request request = request_of(talk + 1, 2, NULL);
    request.no_generation_prompt = true;
    assert_prints("deepseek2", &request, "User: Hi\n\nAssistant: Hello!");
    assert_prints("chatml", &request, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n");
    assert_prints(published("deepseek2"), &request, "User: Hi\n\nAssistant: Hello!");
}

/* Contents are used as they are, or trimmed where the format says so, of white space in any script. */
static void contents(void **state) {
    (void)state;
    static const smt_chat_message message[] = {{"user", " \n x\u3000", NULL}};
    smt_chat_request request = request_of(message, 1, NULL);
    assert_prints("deepseek2", &request, "User:  \n x\u3000\n\nAssistant:");
    assert_prints("llama2", &request, "[INST] x [/INST]");
    static const smt_chat_message two[] = {{"system", "A", NULL}, {"user", "x", NULL}, {"system", "B", NULL}};
    request = request_of(two, 3, NULL);
    assert_prints("deepseek2", &request, "A\n\nUser: x\n\nB\n\nAssistant:");
    assert_prints("deepseek3", &request, "A\n\nB<｜User｜>x<｜Assistant｜>");
    assert_prints(published("deepseek3"), &request, "A\n\nB<｜User｜>x<｜Assistant｜>");
}

/* Thoughts of earlier answers are cut; calls and their results follow one another without a new turn. */
static void thoughts_and_tools(void **state) {
    (void)state;
    static const char call_fields[] =
        "{\"tool_calls\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}},"
        "{\"type\": \"function\", \"function\": {\"name\": \"g\", \"arguments\": {\"a\": [1]}}}]}";
    static const smt_chat_message tools[] = {{"user", "go", NULL}, {"assistant", NULL, call_fields}, {"tool", "1", NULL},
                                             {"tool", "2", NULL},  {"assistant", "done", NULL},      {"user", "ok", NULL}};
    smt_chat_request request = request_of(tools, 6, "{\"eos_token\": \"<E>\"}");
    assert_prints(
        "deepseek3", &request,
        "<｜User｜>go<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```"
        "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{\"a\": [1]}\n```<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜><E><｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>1<｜tool▁output▁end｜>\n"
        "<｜tool▁output▁begin｜>2<｜tool▁output▁end｜><｜tool▁outputs▁end｜>done<E><｜User｜>ok<｜Assistant｜>");
    request.n_messages = 4;
    smt_error err = {0};
    char *text;
    SMT_ASSERT_OK(render("deepseek3", &request, &text, &err), &err);
    static const char tail[] = "<｜tool▁output▁end｜><｜tool▁outputs▁end｜>";
    assert_string_equal(text + strlen(text) - strlen(tail), tail);
    smt_free(text);
    static const smt_chat_message thinking[] = {
        {"user", "a", NULL}, {"assistant", "<think>no</think>\n\nyes", NULL}, {"user", "b", NULL}};
    request = request_of(thinking, 3, "{\"eos_token\": \"<E>\"}");
    assert_prints("deepseek3", &request, "<｜User｜>a<｜Assistant｜>\n\nyes<E><｜User｜>b<｜Assistant｜>");
}

static void tools_and_variables(void **state) {
    (void)state;
    smt_chat_request request = request_of(talk + 1, 1, "{\"thinking\": false, \"n\": 2}");
    request.tools = "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"é\": [1.0, null]}}]";
    assert_prints("{{ tools[0].function | tojson }}{{ thinking }}{{ n + 1 }}", &request,
                  "{\"name\": \"f\", \"é\": [1.0, null]}False3");
    request.tools = NULL;
    assert_prints("{{ tools is none }}{{ messages[0].content }}", &request, "TrueHi");
    static const smt_chat_message fields[] = {
        {"user", NULL, "{\"name\": \"Ann\", \"content\": [{\"type\": \"text\", \"text\": \"t\"}]}"}};
    request = request_of(fields, 1, NULL);
    assert_prints("{{ messages[0].name }}:{{ messages[0].content[0].text }}", &request, "Ann:t");
}

/* ---- refusals ---- */

static void unsupported(void **state) {
    (void)state;
    static const struct {
        const char *source, *words;
    } cases[] = {
        {"a\n{% include 'x' %}", "line 2: the tag {% include %}"},
        {"{% raw %}{% endraw %}", "{% raw %}"},
        {"\n\n{{ x | sort }}", "line 3: the filter \"sort\""},
        {"{{ x is sameas y }}", "the test \"sameas\""},
        {"{{ x.append(1) }}", "the method \"append\""},
        {"{{ 2 ** 3 }}", "**"},
        {"{% for x in y recursive %}{% endfor %}", "recursive"},
        {"{{ f(*a) }}", "*"},
        {"{% for a in [1] %}{% macro m() %}{% endmacro %}{% endfor %}", "a macro inside"},
        {"{{ 99999999999999999999 }}", "the number"},
        {"{{ {1: 2} }}", "the key of a dictionary"},
        {"{{ [1] | map('upper') | list }}", "map without attribute="},
        {"{{ 'a' | replace('', 'x') }}", "replace"},
        {"{{ 'x' | upper(1) }}", "upper does not take"},
        {"{% set x = namespace() %}{{ [x] }}", "a namespace inside of another value"},
        {"{% for a in [1] %}{{ [loop] }}{% endfor %}", "a loop inside of another value"},
        {"{{ range }}", "a function cannot be printed"},
    };
    smt_chat_request request = request_of(talk, 1, NULL);
    for (size_t i = 0; i < SMT_COUNT(cases); i++) assert_refused(cases[i].source, &request, SMT_UNSUPPORTED, cases[i].words);
}

static void wrong(void **state) {
    (void)state;
    static const struct {
        const char *source;
        smt_status status;
        const char *words;
    } cases[] = {
        {"\n{{ 'abc }}", SMT_FORMAT, "line 2: a string without its closing '"},
        {"{{ 1", SMT_FORMAT, "not closed by }}"},
        {"{% if x %}", SMT_FORMAT, "{% endif %}"},
        {"{% for x in y %}{% else %}", SMT_FORMAT, "{% endfor %}"},
        {"{# x", SMT_FORMAT, "#}"},
        {"{{ 1 2 }}", SMT_FORMAT, "\"2\""},
        {"{{ }}", SMT_FORMAT, "an expression"},
        {"{% break %}", SMT_FORMAT, "outside of any loop"},
        {"{{ 1 ; 2 }}", SMT_FORMAT, "0x3B"},
        {"\n\n{{ nobody.role }}", SMT_INVALID, "line 3: \"nobody\" is undefined"},
        {"{{ messages[0].nothing + 'x' }}", SMT_INVALID, "\"nothing\" is undefined"},
        {"{{ raise_exception('only users here') }}", SMT_INVALID, "only users here"},
        {"{{ 'a' + 1 }}", SMT_INVALID, "a string + a whole number"},
        {"{{ 1 // 0 }}", SMT_INVALID, "divides by zero"},
        {"{{ 9223372036854775807 + 1 }}", SMT_INVALID, "overflows"},
        {"{% set x.y = 1 %}", SMT_INVALID, "x.y"},
        {"{{ 'a' is odd }}", SMT_INVALID, "a string"},
    };
    smt_chat_request request = request_of(talk, 1, NULL);
    for (size_t i = 0; i < SMT_COUNT(cases); i++) assert_refused(cases[i].source, &request, cases[i].status, cases[i].words);
    request = request_of(TALK({"assistant", "x", NULL}), 1, NULL);
    assert_refused("llama2", &request, SMT_INVALID, "roles must alternate");
    request = request_of(TALK({NULL, "x", NULL}), 1, NULL);
    assert_refused("x", &request, SMT_INVALID, "message 0 has no role");
    request = request_of(TALK({"user", "x", "[1]"}), 1, NULL);
    assert_refused("x", &request, SMT_INVALID, "not a JSON object");
    request.n_messages = 0;
    request.tools = "[1,";
    assert_refused("x", &request, SMT_INVALID, "tools: line 1");
}

/* ---- bounds ---- */

/* `count` times `part` between the two ends. */
static char *repeated(const char *first, const char *part, const char *last, size_t count) {
    smt_str text = {0};
    SMT_ASSERT_OK(smt_str_append(&text, first, strlen(first), NULL), &(smt_error){0});
    for (size_t i = 0; i < count; i++) SMT_ASSERT_OK(smt_str_append(&text, part, strlen(part), NULL), &(smt_error){0});
    SMT_ASSERT_OK(smt_str_append(&text, last, strlen(last), NULL), &(smt_error){0});
    return text.text;
}

static void bounds(void **state) {
    (void)state;
    static const struct {
        const char *first, *part, *last;
        size_t count;
        const char *words;
    } cases[] = {
        {"{{ 1", " + 1", " }}", 60000, "levels of nesting"},
        {"{{ ", "not ", "1 }}", 60000, "levels of nesting"},
        {"{{ ", "-", "1 }}", 60000, "levels of nesting"},
        {"{{ x", ".y", " }}", 60000, "levels of nesting"},
        {"{{ x", "|trim", " }}", 50000, "levels of nesting"},
        {"{{ 1", " if 1 else 1", " }}", 20000, "levels of nesting"},
        {"", "{% if 1 %}", "", 26000, "levels of nesting"},
        {"", "aaaaaaaaaa", "", 30000, "at most 262144 are accepted"},
        {"{% for a in range(1000) %}{% for b in range(1000) %}", "{% for c in range(1000) %}{{ c }}{% endfor %}",
         "{% endfor %}{% endfor %}", 1, "more than"},
        {"{% set n = namespace(s='aaaaaaaa') %}", "{% for i in range(100) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "", 1,
         "more than"},
        {"{% set n = namespace(s=[1]) %}", "{% for i in range(200) %}{% set n.s = [n.s] %}{% endfor %}", "", 1,
         "nested more than"},
        {"{% macro m(x) %}", "{{ m(x) }}", "{% endmacro %}{{ m(1) }}", 1, "inside of one another"},
        {"{{ range(2000000000) | list }}", "", "", 1, "bytes"},
        {"{{ 'a' * 2000000000 }}", "", "", 1, "more than"},
        {"{{ 'x' | indent(", "9", ") }}", 3, "indent"},
        {"{{ {} | tojson(indent=", "9", ") }}", 9, "indent"},
    };
    smt_chat_request request = request_of(talk, 1, NULL);
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        char *source = repeated(cases[i].first, cases[i].part, cases[i].last, cases[i].count);
        assert_refused(source, &request, SMT_UNSUPPORTED, cases[i].words);
        smt_free(source);
    }
    static const char *const brackets[][2] = {{"(", ")"}, {"[", "]"}, {"{'a':", "}"}};
    for (size_t i = 0; i < SMT_COUNT(brackets); i++) {
        char *closing = repeated("1", brackets[i][1], " }}", 10000), *source = repeated("{{ ", brackets[i][0], closing, 10000);
        assert_refused(source, &request, SMT_UNSUPPORTED, "levels of nesting");
        smt_free(source);
        smt_free(closing);
    }
    char *deep = repeated("", "[", "]", 300);
    request.tools = deep;
    assert_refused("x", &request, SMT_INVALID, "tools");
    smt_free(deep);
}

/* A long conversation stays far inside of the bounds. */
static void long_conversation(void **state) {
    (void)state;
    enum { N = 4000 };
    smt_chat_message *list = calloc(N, sizeof *list);
    for (size_t i = 0; i < N; i++)
        list[i] = (smt_chat_message){i % 2 ? "assistant" : "user", "some words of a talk, repeated", NULL};
    char *big = repeated("", "0123456789", "", 300000);
    list[0].content = big;
    for (size_t i = 0; i < SMT_COUNT(formats); i++) {
        smt_chat_request request = request_of(list, N, formats[i].variables);
        smt_error err = {0};
        char *text;
        SMT_ASSERT_OK(render(formats[i].name, &request, &text, &err), &err);
        assert_true(strlen(text) > 3000000 + N * 30);
        smt_free(text);
    }
    smt_free(big);
    free(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language),
        cmocka_unit_test(published_formats),
        cmocka_unit_test(coder),
        cmocka_unit_test(without_generation_prompt),
        cmocka_unit_test(contents),
        cmocka_unit_test(thoughts_and_tools),
        cmocka_unit_test(tools_and_variables),
        cmocka_unit_test(unsupported),
        cmocka_unit_test(wrong),
        cmocka_unit_test(bounds),
        cmocka_unit_test(long_conversation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
