/* split_model.c: see split_model.h. */
#include "split_model.h"
#include "gguf_write.h"

#include <stdio.h>
#include <string.h>

const char *smt_split_path(const char *prefix, uint32_t number, uint32_t n_parts, char path[1024]) {
    snprintf(path, 1024, "%s-%05u-of-%05u.gguf", prefix, number, n_parts);
    return path;
}

void smt_split_remove(const char *prefix, uint32_t n_parts) {
    char path[1024];
    for (uint32_t i = 1; i <= n_parts; i++) remove(smt_split_path(prefix, i, n_parts, path));
}

static void write_split_keys(smt_gguf_writer *w, uint32_t index, uint32_t n_parts, uint64_t n_tensors) {
    smt_gguf_write_key(w, "split.no", SMT_GGUF_U16, &(uint16_t){(uint16_t)index}, 2);
    smt_gguf_write_key(w, "split.count", SMT_GGUF_U16, &(uint16_t){(uint16_t)n_parts}, 2);
    smt_gguf_write_key(w, "split.tensors.count", SMT_GGUF_I32, &(int32_t){(int32_t)n_tensors}, 4);
}

static void write_keys(smt_gguf_writer *w, const smt_gguf *from) {
    for (uint64_t i = 0; i < smt_gguf_key_count(from); i++) {
        const smt_gguf_key *key = smt_gguf_key_at(from, i);
        if (strcmp(key->name, "general.alignment") != 0) smt_gguf_write_copy(w, key); /* the writer adds its own */
    }
}

static smt_status write_tensor(smt_gguf_writer *w, const smt_gguf_tensor *tensor, smt_error *err) {
    void *data = smt_alloc((size_t)tensor->bytes, 1);
    if (!data) return SMT_FAIL(err, SMT_MEMORY, "out of memory splitting tensor %s", tensor->name);
    smt_status status = smt_gguf_tensor_read(tensor, 0, data, tensor->bytes, err);
    if (status == SMT_OK) smt_gguf_write_tensor(w, tensor->name, (uint32_t)tensor->type, tensor->ne, data);
    smt_free(data);
    return status;
}

smt_status smt_split_model(const smt_gguf *from, const char *prefix, uint32_t n_parts, bool bare_first, smt_error *err) {
    static const uint32_t alignments[] = {0, 4096, 64, 65536};
    uint64_t n_tensors = smt_gguf_tensor_count(from), next = 0;
    uint32_t n_full = n_parts - bare_first;
    smt_status status = SMT_OK;
    for (uint32_t i = 0; status == SMT_OK && i < n_parts; i++) {
        smt_gguf_writer w = {.alignment = alignments[i % SMT_COUNT(alignments)]};
        char path[1024];
        uint64_t end = n_tensors * (i + 1 - bare_first) / n_full;
        if (i == 0) write_keys(&w, from);
        write_split_keys(&w, i, n_parts, n_tensors);
        for (; status == SMT_OK && next < end; next++) status = write_tensor(&w, smt_gguf_tensor_at(from, next), err);
        if (status == SMT_OK) status = smt_gguf_write_file(&w, smt_split_path(prefix, i + 1, n_parts, path), err);
        smt_gguf_write_free(&w);
    }
    return status;
}
