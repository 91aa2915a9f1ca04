/* fuzz_imatrix.c: arbitrary bytes as an importance matrix, in whichever form they pass for; every value is read. */
#include "convert/quantize_internal.h"
#include "corpus.h"

static volatile float sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_error err = {0};
    smt_imatrix *imatrix;
    if (smt_imatrix_parse(data, size, "fuzz", &imatrix, &err) != SMT_OK) return 0;
    const smt_imatrix_entry *entry = smt_imatrix_find(imatrix, "blk.0.ffn_down.weight");
    for (uint64_t i = 0; entry && i < entry->n; i++) sink = entry->values[i];
    smt_imatrix_free(imatrix);
    return 0;
}
