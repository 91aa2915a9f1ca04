/* fuzz_kv_state.c: arbitrary bytes as a saved session, held against a model that they describe themselves, so that nothing is refused for
 * being of another: what passes has exactly the size that its length calls for. */
#include "corpus.h"
#include "kv/kv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_error err = {0};
    uint8_t head[SMT_KV_STATE_HEAD];
    smt_kv_state state = {0};
    if (size < sizeof head) return 0;
    memcpy(head, data, sizeof head);
    memcpy(&state.model, head + 16, sizeof state.model);
    memcpy(&state.n_layers, head + 24, sizeof state.n_layers);
    memcpy(&state.row_bytes, head + 28, sizeof state.row_bytes);
    state.n_layers %= 512;
    state.row_bytes %= 1u << 20;
    state.f16 = head[12] == 0;
    if (smt_kv_state_check(head, size, &state, &err) == SMT_OK && smt_kv_state_bytes(&state) != size) __builtin_trap();
    return 0;
}
