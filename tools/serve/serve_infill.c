/* serve_infill.c: /infill, as editors ask: what stands before the cursor ("input_prefix", and "prompt" of the present line), behind it
 * ("input_suffix"), and pieces of other files ("input_extra"), which stand in front of all, each under the name of its file as a
 * comment, the way these models were trained on repositories.
 *
 * Editors send as much as they have. What the context has no room for goes, farthest from the cursor first: the first pieces of other
 * files, then the beginning of what is before the cursor or the end of what is behind it, whichever is longer. */
#include "serve_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct gap {
    const json_t *extra; /* list, or NULL */
    size_t first_extra;  /* those before it are left out */
    const char *prefix, *line, *suffix;
    size_t prefix_bytes, line_bytes, suffix_bytes;
} gap;

static bool read_gap(const json_t *body, gap *g, serve_error *error) {
    *g = (gap){.prefix = "", .line = "", .suffix = ""};
    if (!serve_get_text(body, "input_prefix", &g->prefix, &g->prefix_bytes, error) ||
        !serve_get_text(body, "prompt", &g->line, &g->line_bytes, error) ||
        !serve_get_text(body, "input_suffix", &g->suffix, &g->suffix_bytes, error))
        return false;
    g->extra = json_object_get(body, "input_extra");
    if (json_is_null(g->extra)) g->extra = NULL;
    if (g->extra && !json_is_array(g->extra)) return serve_fail(error, 400, "\"input_extra\" is not a list");
    for (size_t i = 0; i < json_array_size(g->extra); i++) {
        const json_t *one = json_array_get(g->extra, i), *name = json_object_get(one, "filename");
        if (!json_is_string(json_object_get(one, "text")) || (name && !json_is_string(name)))
            return serve_fail(error, 400, "\"input_extra\": entry %zu is not {\"filename\", \"text\"}", i);
    }
    return true;
}

static bool append_json(serve_text *to, const json_t *text) {
    return serve_append(to, json_string_value(text), json_string_length(text));
}

static bool write_before(const gap *g, serve_text *out) {
    out->bytes = 0;
    bool good = serve_append(out, "", 0);
    for (size_t i = g->first_extra; good && i < json_array_size(g->extra); i++) {
        const json_t *one = json_array_get(g->extra, i), *name = json_object_get(one, "filename");
        good = serve_append(out, "#", 1) && (!name || append_json(out, name)) && serve_append(out, "\n", 1) &&
               append_json(out, json_object_get(one, "text")) && serve_append(out, "\n", 1);
    }
    return good && serve_append(out, g->prefix, g->prefix_bytes) && serve_append(out, g->line, g->line_bytes);
}

/* Whether bytes [at, ...) begin with a whole character. */
static bool is_border(const char *text, size_t at) { return ((unsigned char)text[at] & 0xC0) != 0x80; }

/* Leaves out the next piece. False: nothing is left. */
static bool shorten(gap *g) {
    if (g->first_extra < json_array_size(g->extra)) return g->first_extra++, true;
    if (g->prefix_bytes == 0 && g->suffix_bytes == 0) return false;
    if (g->prefix_bytes >= g->suffix_bytes) {
        size_t cut = (g->prefix_bytes + 1) / 2;
        while (cut < g->prefix_bytes && !is_border(g->prefix, cut)) cut++;
        g->prefix += cut;
        g->prefix_bytes -= cut;
    } else {
        g->suffix_bytes /= 2;
        while (g->suffix_bytes && !is_border(g->suffix, g->suffix_bytes)) g->suffix_bytes--;
    }
    return true;
}

/* The longest prompt that leaves room for the answer, or half of the context where that asks for more. */
static bool make_prompt(const serve_server *server, gap *g, int64_t n_predict, serve_tokens *out, serve_error *error) {
    size_t room = n_predict < 0 || (uint64_t)n_predict > server->n_ctx / 2 ? server->n_ctx / 2 : (size_t)n_predict;
    serve_text before = {0};
    bool good;
    do {
        out->count = 0;
        if (!write_before(g, &before)) {
            good = serve_fail_memory(error);
            break;
        }
        smt_fim fim = {.struct_size = sizeof fim,
                       .prefix = before.at,
                       .prefix_bytes = before.bytes,
                       .suffix = g->suffix,
                       .suffix_bytes = g->suffix_bytes};
        int32_t *given;
        size_t count;
        smt_error err = {0};
        smt_status status = smt_fim_prompt(server->tokenizer, &fim, &given, &count, &err);
        good = serve_take_tokens(out, status, &err, given, count, error);
    } while (good && out->count > server->n_ctx - room && shorten(g));
    free(before.at);
    return good;
}

serve_request *serve_read_infill(serve_server *server, const json_t *body, serve_error *error) {
    gap g;
    serve_params params = {0};
    serve_tokens prompt = {0};
    serve_request *request = NULL;
    if (!read_gap(body, &g, error)) return NULL;
    bool good = serve_read_params(server, body, SERVE_NATIVE, &params, error) &&
                make_prompt(server, &g, params.n_predict, &prompt, error);
    if (!good)
        serve_params_end(&params);
    else
        request = serve_open_request(server, &params, 1, error);
    if (request && !serve_give_prompt(request, 0, &prompt, error)) {
        serve_request_free(request);
        request = NULL;
    }
    free(prompt.at);
    return request;
}
