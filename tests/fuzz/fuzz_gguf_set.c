/* fuzz_gguf_set.c: any bytes as the parts of a set: a part begins wherever "GGUF" stands. Each must parse by itself; those that do are
 * joined, and what the set points to is touched.
 *
 * Seed: tests/data/split-set.bin, three parts of a set, one after another. */
#include "corpus.h"
#include "gguf/gguf.h"

#include <string.h>

#define MAX_PARTS 8

/* The results land here, so that no compiler drops the reads. */
static volatile unsigned sink;

/* Where the next part begins, after the first byte; `size`: nowhere. */
static size_t part_end(const uint8_t *data, size_t size) {
    for (size_t i = 1; i + 4 <= size; i++)
        if (memcmp(data + i, "GGUF", 4) == 0) return i;
    return size;
}

static void touch(const smt_gguf *set) {
    for (uint64_t i = 0; i < smt_gguf_tensor_count(set); i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(set, i);
        uint8_t last;
        smt_error err;
        if (smt_gguf_tensor_read(tensor, tensor->bytes - 1, &last, 1, &err) == SMT_OK) sink = last;
        sink = smt_gguf_find_tensor(set, tensor->name) == tensor && smt_gguf_part_path(set, tensor->part);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_gguf *parts[MAX_PARTS], *set;
    uint32_t n = 0;
    smt_error err = {0};
    while (size > 0 && n < MAX_PARTS) {
        size_t bytes = part_end(data, size);
        n += smt_gguf_parse(data, bytes, "fuzz", &parts[n], &err) == SMT_OK;
        data += bytes;
        size -= bytes;
    }
    if (n == 0 || smt_gguf_join(parts, n, &set, &err) != SMT_OK) return 0;
    touch(set);
    smt_gguf_free(set);
    return 0;
}
