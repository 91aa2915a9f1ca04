/* fuzz_safetensors.c: any bytes as a shard of a checkpoint: the length word, the header, the directory made of it.
 *
 * Seeds: nothing special; a shard begins with the length of its header as eight bytes, then JSON. */
#include "convert/convert_internal.h"
#include "corpus.h"

/* The results land here, so that no compiler drops the reads. */
static volatile uint64_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_error err = {0};
    smt_st st = {0};
    uint64_t header_bytes;
    if (size < 8 || smt_st_header_bytes("fuzz", data, size, &header_bytes, &err) != SMT_OK) return 0;
    smt_status status = smt_st_add(&st, "fuzz", (const char *)data + 8, (size_t)header_bytes, size, &err);
    if (status == SMT_OK) status = smt_st_finish(&st, &err);
    for (size_t i = 0; i < st.n_tensors && status == SMT_OK; i++) {
        const smt_st_tensor *tensor = smt_st_find(&st, st.tensors[i].name);
        if (tensor->bytes) sink = data[tensor->offset] + data[tensor->offset + tensor->bytes - 1];
    }
    smt_st_close(&st);
    return 0;
}
