/* kv_state.c: the head of a saved session. It may come from anywhere, so nothing in it is believed: every number must be the one that the
 * runner expects, and the length must be the one that the size of the whole calls for. */
#include "kv/kv.h"

#include <string.h>

#define MAGIC   "smtstate"
#define VERSION 1

typedef struct head {
    char magic[8];
    uint32_t version, cache_f32;
    uint64_t model;
    uint32_t n_layers, row_bytes, length, zero;
} head;
_Static_assert(sizeof(head) == SMT_KV_STATE_HEAD, "the head is written as it lies in memory");

uint64_t smt_kv_state_bytes(const smt_kv_state *state) {
    uint64_t per_token = sizeof(int32_t) + (uint64_t)state->n_layers * state->row_bytes;
    return SMT_KV_STATE_HEAD + per_token * state->length + SMT_KV_STATE_TAIL;
}

void smt_kv_state_head(const smt_kv_state *state, uint8_t out[SMT_KV_STATE_HEAD]) {
    head h = {.version = VERSION,
              .cache_f32 = !state->f16,
              .model = state->model,
              .n_layers = state->n_layers,
              .row_bytes = state->row_bytes,
              .length = state->length};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    memcpy(out, &h, sizeof h);
}

smt_status smt_kv_state_check(const uint8_t bytes[SMT_KV_STATE_HEAD], uint64_t n_bytes, smt_kv_state *state, smt_error *err) {
    head h;
    memcpy(&h, bytes, sizeof h);
    state->length = 0;
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0) return SMT_FAIL(err, SMT_FORMAT, "this is no saved session");
    if (h.version != VERSION)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "a saved session of version %u, this library reads version %u", h.version, VERSION);
    if (h.model != state->model)
        return SMT_FAIL(err, SMT_INVALID, "the session was saved with another model: identity %016llx, this one has %016llx",
                        (unsigned long long)h.model, (unsigned long long)state->model);
    if (h.cache_f32 != !state->f16)
        return SMT_FAIL(err, SMT_INVALID, "the session was saved from a cache of %s, this runner's is %s",
                        h.cache_f32 ? "F32" : "F16", state->f16 ? "F16" : "F32");
    if (h.n_layers != state->n_layers || h.row_bytes != state->row_bytes || h.zero)
        return SMT_FAIL(err, SMT_FORMAT, "a saved session of %u layers with rows of %u bytes, the model has %u with %u",
                        h.n_layers, h.row_bytes, state->n_layers, state->row_bytes);
    state->length = h.length;
    if (smt_kv_state_bytes(state) == n_bytes) return SMT_OK;
    uint64_t expected = smt_kv_state_bytes(state);
    state->length = 0;
    return SMT_FAIL(err, SMT_FORMAT, "a saved session of %u tokens takes %llu bytes, this one has %llu", h.length,
                    (unsigned long long)expected, (unsigned long long)n_bytes);
}
