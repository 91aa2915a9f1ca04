/* serve_embed.c: /v1/embeddings and /embedding: of each text the mean of its tokens' states behind the last norm, at length one.
 *
 * A job of this kind has a slot as others do and goes through the same rounds, in pieces of SERVE_EMBED_ROWS tokens; it draws nothing,
 * and reuses nothing, since the states of all tokens are wanted. Models that were not trained for it give vectors that tell texts
 * apart, and little more. */
#include "serve_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the engine's side ---- */

static void add_states(const serve_server *server, serve_slot *slot) {
    size_t width = server->model.n_embd;
    const float *last = slot->hidden + (server->model.n_layers + 1) * (size_t)slot->n_next * width;
    for (uint32_t r = 0; r < slot->n_next; r++)
        for (size_t i = 0; i < width; i++) slot->job->embedding[i] += last[r * width + i];
}

static void normalize(float *vector, size_t width) {
    double sum = 0;
    for (size_t i = 0; i < width; i++) sum += (double)vector[i] * (double)vector[i];
    for (size_t i = 0; i < width && sum > 0; i++) vector[i] = (float)(vector[i] / sqrt(sum));
}

void serve_slot_embed(serve_server *server, serve_slot *slot) {
    add_states(server, slot);
    if (smt_session_length(slot->session) < slot->n_tokens) return;
    slot->job->result.timing.prompt_s = serve_seconds() - slot->begun_s;
    normalize(slot->job->embedding, server->model.n_embd);
    serve_slot_end(server, slot, SERVE_END_EOS, NULL);
}

/* ---- requests ---- */

serve_request *serve_read_embed(serve_server *server, const json_t *body, serve_error *error) {
    const json_t *input = json_object_get(body, "input");
    int64_t width = server->model.n_embd, norm = 2;
    if (!input) input = json_object_get(body, "content"); /* llama.cpp's */
    if (!input) return serve_fail(error, 400, "\"input\" is missing"), NULL;
    if (!serve_get_integer(body, "dimensions", width, width, &width, error) ||
        !serve_get_integer(body, "embd_normalize", 2, 2, &norm, error))
        return NULL;
    serve_params params = {.format = SERVE_EMBED, .n_choices = 1, .slot = -1, .created = time(NULL)};
    return serve_open_with_prompts(server, &params, input, error);
}

/* Floats of four bytes, the lowest first, in base 64: what clients ask for by themselves. */
static json_t *encode(const float *vector, size_t width) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t count = width * 4, used = 0;
    unsigned char *bytes = malloc(count + 2);
    char *text = malloc((count + 2) / 3 * 4 + 1);
    for (size_t i = 0; bytes && i < width; i++) {
        uint32_t word;
        memcpy(&word, &vector[i], sizeof word);
        for (int k = 0; k < 4; k++) bytes[i * 4 + k] = (unsigned char)(word >> 8 * k);
    }
    if (bytes) bytes[count] = bytes[count + 1] = 0;
    for (size_t i = 0; bytes && text && i < count; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
        for (size_t k = 0; k < 4; k++) text[used++] = i + k <= count ? digits[three >> (18 - 6 * k) & 63] : '=';
    }
    json_t *encoded = bytes && text ? json_stringn(text, used) : NULL;
    free(bytes);
    free(text);
    return encoded;
}

static json_t *list_of(const float *vector, size_t width) {
    json_t *list = json_array();
    for (size_t i = 0; i < width; i++) json_array_append_new(list, json_real((double)vector[i]));
    return list;
}

static json_t *native_document(const serve_request *request) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < request->n_jobs; i++)
        json_array_append_new(list, json_pack("{s:i, s:[o]}", "index", (int)i, "embedding",
                                              list_of(request->jobs[i].embedding, request->server->model.n_embd)));
    return list;
}

static json_t *open_document(const serve_request *request, bool base64) {
    json_t *data = json_array();
    size_t width = request->server->model.n_embd, n_tokens = 0;
    for (uint32_t i = 0; i < request->n_jobs; i++) {
        const float *vector = request->jobs[i].embedding;
        n_tokens += request->jobs[i].n_prompt;
        json_array_append_new(data, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index", (int)i, "embedding",
                                              base64 ? encode(vector, width) : list_of(vector, width)));
    }
    return json_pack("{s:s, s:o, s:s, s:{s:I, s:I}}", "object", "list", "data", data, "model", request->server->options.alias,
                     "usage", "prompt_tokens", (json_int_t)n_tokens, "total_tokens", (json_int_t)n_tokens);
}

json_t *serve_collect_embeddings(serve_request *request, MHD_socket client, serve_embed_form form, serve_error *error) {
    if (!serve_request_submit(request, client, error)) return serve_request_free(request), NULL;
    json_t *document = NULL;
    if (serve_take_pieces(request, NULL, NULL, error))
        document = form == SERVE_EMBED_NATIVE ? native_document(request) : open_document(request, form == SERVE_EMBED_BASE64);
    serve_request_leave(request);
    return document;
}
