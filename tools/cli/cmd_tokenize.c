/* cmd_tokenize.c: `tokenize` and `detokenize`: one JSON value per line of stdin, one per line of stdout, each answered before the
 * next is read, so that another program can talk to it over pipes. Needs neither tensors nor Vulkan. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* What one line becomes; prints its own message on failure. */
typedef bool (*line_fn)(const cli_args *args, const smt_tokenizer *tokenizer, json_t *value, size_t number);

static bool answer_line(const cli_args *args, const smt_tokenizer *tokenizer, const char *line, size_t bytes, size_t number,
                        line_fn answer) {
    json_error_t problem;
    json_t *value = json_loadb(line, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    if (!value) {
        cli_fail(CLI_FAILED, "line %zu of standard input is not JSON: %s", number, problem.text);
        return false;
    }
    bool good = answer(args, tokenizer, value, number);
    json_decref(value);
    return good && cli_write("\n", 1) && cli_flush();
}

static int answer_lines(const cli_args *args, const smt_tokenizer *tokenizer, line_fn answer) {
    char *line = NULL;
    size_t capacity = 0, number = 0, bytes;
    int status = CLI_DONE;
    while (status == CLI_DONE && cli_read_line(&line, &capacity, &bytes))
        if (!answer_line(args, tokenizer, line, bytes, ++number, answer)) status = CLI_FAILED;
    if (status == CLI_DONE && !feof(stdin)) status = CLI_FAILED; /* which was said */
    free(line);
    return status;
}

static int with_tokenizer(const cli_args *args, line_fn answer) {
    if (!cli_need_model(args)) return CLI_WRONG;
    smt_error err = {0};
    smt_file *file = NULL;
    smt_tokenizer *tokenizer = NULL;
    smt_status made = smt_file_open(cli_model(args), &file, &err);
    if (made == SMT_OK) made = smt_tokenizer_create(file, &tokenizer, &err);
    if (made == SMT_OK) cli_notice_vocabulary(file);
    int status = made == SMT_OK ? answer_lines(args, tokenizer, answer) : cli_fail_library(made, &err);
    smt_tokenizer_free(tokenizer);
    smt_file_free(file);
    return status;
}

static bool text_to_ids(const cli_args *args, const smt_tokenizer *tokenizer, json_t *value, size_t number) {
    if (!json_is_string(value)) {
        cli_fail(CLI_FAILED, "line %zu of standard input is not a JSON string", number);
        return false;
    }
    uint32_t flags =
        (cli_flag(args, OPT_BOS) ? SMT_TOKENIZE_BOS : 0u) | (cli_flag(args, OPT_SPECIAL) ? SMT_TOKENIZE_SPECIAL : 0u);
    int32_t *tokens;
    size_t count;
    smt_error err = {0};
    smt_status status =
        smt_tokenize(tokenizer, json_string_value(value), json_string_length(value), flags, &tokens, &count, &err);
    if (status != SMT_OK) {
        cli_fail_library(status, &err);
        return false;
    }
    cli_print("[");
    for (size_t i = 0; i < count; i++) cli_print(i ? ",%d" : "%d", tokens[i]);
    smt_free(tokens);
    return cli_print("]");
}

/* The whole array through a text stream, which makes the bytes valid UTF-8. */
static smt_status stream_text(smt_text_stream *stream, json_t *ids, char **text, size_t *used, smt_error *err) {
    size_t capacity = 0, count = json_array_size(ids);
    for (size_t i = 0; i <= count; i++) {
        const char *piece;
        size_t bytes;
        if (i == count) {
            smt_text_stream_flush(stream, &piece, &bytes);
        } else {
            json_int_t id = json_integer_value(json_array_get(ids, i));
            smt_status status =
                smt_text_stream_push(stream, id < INT32_MIN || id > INT32_MAX ? -1 : (int32_t)id, &piece, &bytes, err);
            if (status != SMT_OK) return status;
        }
        if (*used + bytes + 1 > capacity) {
            capacity = (*used + bytes + 1) * 2;
            char *grown = realloc(*text, capacity);
            if (!grown) return SMT_MEMORY;
            *text = grown;
        }
        memcpy(*text + *used, piece, bytes);
        *used += bytes;
    }
    return SMT_OK;
}

static bool ids_to_text(const cli_args *args, const smt_tokenizer *tokenizer, json_t *value, size_t number) {
    (void)args;
    bool is_list = json_is_array(value);
    for (size_t i = 0; is_list && i < json_array_size(value); i++) is_list = json_is_integer(json_array_get(value, i));
    if (!is_list) {
        cli_fail(CLI_FAILED, "line %zu of standard input is not a JSON array of token ids", number);
        return false;
    }
    smt_error err = {0};
    smt_text_stream *stream = NULL;
    char *text = NULL;
    size_t bytes = 0;
    smt_status status = smt_text_stream_create(tokenizer, &stream, &err);
    if (status == SMT_OK) status = stream_text(stream, value, &text, &bytes, &err);
    json_t *string = status == SMT_OK ? json_stringn(text, bytes) : NULL;
    char *line = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    json_decref(string);
    smt_text_stream_free(stream);
    free(text);
    if (status == SMT_OK && !line) status = SMT_MEMORY;
    if (status != SMT_OK)
        cli_fail(CLI_FAILED, "line %zu of standard input: %s", number, err.message[0] ? err.message : smt_status_text(status));
    bool written = line && cli_write(line, strlen(line));
    free(line);
    return written;
}

int cmd_tokenize(const cli_args *args) { return with_tokenizer(args, text_to_ids); }
int cmd_detokenize(const cli_args *args) { return with_tokenizer(args, ids_to_text); }
