/* gguf_write.c: collects keys and tensor infos as they will stand in the file, and puts the parts together at the end. */
#include "gguf_write.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

static uint64_t alignment(const smt_gguf_writer *w) { return w->alignment ? w->alignment : 32; }

static void append(smt_gguf_writer *w, smt_str *to, const void *data, size_t bytes) {
    if (w->status == SMT_OK) w->status = smt_str_append(to, data, bytes, &w->err);
}

static void append_u32(smt_gguf_writer *w, smt_str *to, uint32_t value) { append(w, to, &value, sizeof value); }

static void append_u64(smt_gguf_writer *w, smt_str *to, uint64_t value) { append(w, to, &value, sizeof value); }

static void append_text(smt_gguf_writer *w, smt_str *to, const char *text, size_t bytes) {
    append_u64(w, to, bytes);
    append(w, to, text, bytes);
}

/* ---- keys ---- */

static void begin_key(smt_gguf_writer *w, const char *key, smt_gguf_kind kind) {
    append_text(w, &w->keys, key, strlen(key));
    append_u32(w, &w->keys, (uint32_t)kind);
    w->n_keys++;
}

void smt_gguf_write_key(smt_gguf_writer *w, const char *key, smt_gguf_kind kind, const void *data, size_t bytes) {
    begin_key(w, key, kind);
    if (kind == SMT_GGUF_STRING) append_u64(w, &w->keys, bytes);
    append(w, &w->keys, data, bytes);
}

void smt_gguf_write_array(smt_gguf_writer *w, const char *key, smt_gguf_kind kind, uint64_t count, const void *data,
                          size_t bytes) {
    begin_key(w, key, SMT_GGUF_ARRAY);
    append_u32(w, &w->keys, (uint32_t)kind);
    append_u64(w, &w->keys, count);
    append(w, &w->keys, data, bytes);
}

void smt_gguf_write_u32(smt_gguf_writer *w, const char *key, uint32_t value) {
    smt_gguf_write_key(w, key, SMT_GGUF_U32, &value, sizeof value);
}

void smt_gguf_write_f32(smt_gguf_writer *w, const char *key, float value) {
    smt_gguf_write_key(w, key, SMT_GGUF_F32, &value, sizeof value);
}

void smt_gguf_write_bool(smt_gguf_writer *w, const char *key, bool value) {
    uint8_t byte = value;
    smt_gguf_write_key(w, key, SMT_GGUF_BOOL, &byte, 1);
}

void smt_gguf_write_text(smt_gguf_writer *w, const char *key, const char *text) {
    smt_gguf_write_key(w, key, SMT_GGUF_STRING, text, strlen(text));
}

void smt_gguf_write_texts(smt_gguf_writer *w, const char *key, const char *const *texts, uint64_t count) {
    smt_gguf_write_array(w, key, SMT_GGUF_STRING, count, NULL, 0);
    for (uint64_t i = 0; i < count; i++) append_text(w, &w->keys, texts[i], strlen(texts[i]));
}

/* Strings lie in the file as they are written: lengths and texts one after another. */
static size_t raw_bytes(const smt_gguf_key *key) {
    static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    size_t bytes = (size_t)key->count * sizes[key->element_kind];
    for (uint64_t i = 0; key->strings && i < key->count; i++) bytes += 8 + key->strings[i].bytes;
    return bytes;
}

void smt_gguf_write_copy(smt_gguf_writer *w, const smt_gguf_key *key) {
    if (key->kind == SMT_GGUF_ARRAY)
        smt_gguf_write_array(w, key->name, key->element_kind, key->count, key->data, raw_bytes(key));
    else if (key->strings)
        smt_gguf_write_key(w, key->name, key->kind, key->strings[0].text, key->strings[0].bytes);
    else
        smt_gguf_write_key(w, key->name, key->kind, key->data, raw_bytes(key));
}

/* ---- tensors ---- */

static uint64_t tensor_bytes(uint32_t type, const uint64_t ne[4]) {
    if (!smt_dtype_get(type)) return 0;
    return smt_dtype_row_bytes((smt_dtype)type, ne[0]) * ne[1] * ne[2] * ne[3];
}

void smt_gguf_write_tensor(smt_gguf_writer *w, const char *name, uint32_t type, const uint64_t ne[4], const void *data) {
    uint32_t n_dims = 4;
    while (n_dims > 1 && ne[n_dims - 1] == 1) n_dims--;
    append_text(w, &w->infos, name, strlen(name));
    append_u32(w, &w->infos, n_dims);
    append(w, &w->infos, ne, n_dims * sizeof *ne);
    append_u32(w, &w->infos, type);
    append_u64(w, &w->infos, w->data_bytes);

    smt_gguf_blob blob = {.offset = w->data_bytes, .bytes = tensor_bytes(type, ne)};
    if (w->status == SMT_OK)
        w->status = smt_grow((void **)&w->blobs, &w->blob_capacity, (size_t)w->n_tensors + 1, sizeof *w->blobs, &w->err);
    if (w->status != SMT_OK) return;
    if (data && blob.bytes) {
        blob.data = smt_alloc((size_t)blob.bytes, 1);
        if (!blob.data) {
            w->status = SMT_FAIL(&w->err, SMT_MEMORY, "out of memory writing tensor %s", name);
            return;
        }
        memcpy(blob.data, data, (size_t)blob.bytes);
    }
    w->blobs[w->n_tensors++] = blob;
    w->data_bytes = smt_align_up(w->data_bytes + blob.bytes, alignment(w));
}

/* ---- the file ---- */

/* All before the tensor data, padding included. */
static smt_status make_header(smt_gguf_writer *w, smt_str *out, smt_error *err) {
    if (w->alignment && w->status == SMT_OK) smt_gguf_write_u32(w, "general.alignment", w->alignment);
    append(w, out, "GGUF", 4);
    append_u32(w, out, w->version ? w->version : 3);
    append_u64(w, out, w->n_tensors);
    append_u64(w, out, w->n_keys);
    append(w, out, w->keys.text, w->keys.bytes);
    append(w, out, w->infos.text, w->infos.bytes);
    while (w->status == SMT_OK && w->n_tensors && out->bytes % alignment(w)) append(w, out, "", 1);
    if (w->status != SMT_OK && err) *err = w->err;
    return w->status;
}

smt_status smt_gguf_write_memory(smt_gguf_writer *w, uint8_t **out, size_t *out_bytes, smt_error *err) {
    smt_str header = {0};
    *out = NULL;
    *out_bytes = 0;
    smt_status status = make_header(w, &header, err);
    size_t total = header.bytes + (size_t)w->data_bytes;
    uint8_t *bytes = status == SMT_OK ? smt_alloc(total, 1) : NULL;
    if (status == SMT_OK && !bytes) status = SMT_FAIL(err, SMT_MEMORY, "out of memory for a file of %zu bytes", total);
    if (status == SMT_OK) {
        memcpy(bytes, header.text, header.bytes);
        for (uint64_t i = 0; i < w->n_tensors; i++)
            if (w->blobs[i].data) memcpy(bytes + header.bytes + w->blobs[i].offset, w->blobs[i].data, (size_t)w->blobs[i].bytes);
        *out = bytes;
        *out_bytes = total;
    }
    smt_str_free(&header);
    return status;
}

/* Seeks over what is not written, so that zeros become holes; a last byte gives the file its length. */
static bool write_parts(const smt_gguf_writer *w, const smt_str *header, FILE *file) {
    uint64_t end = 0;
    bool ok = fwrite(header->text, 1, header->bytes, file) == header->bytes;
    for (uint64_t i = 0; ok && i < w->n_tensors; i++) {
        const smt_gguf_blob *blob = &w->blobs[i];
        if (!blob->data) continue;
        ok = fseeko(file, (off_t)(header->bytes + blob->offset), SEEK_SET) == 0 &&
             fwrite(blob->data, 1, (size_t)blob->bytes, file) == blob->bytes;
        end = blob->offset + blob->bytes;
    }
    if (!ok || end == w->data_bytes) return ok;
    return fseeko(file, (off_t)(header->bytes + w->data_bytes - 1), SEEK_SET) == 0 && fputc(0, file) != EOF;
}

smt_status smt_gguf_write_file(smt_gguf_writer *w, const char *path, smt_error *err) {
    smt_str header = {0};
    smt_status status = make_header(w, &header, err);
    FILE *file = status == SMT_OK ? fopen(path, "wb") : NULL;
    if (status == SMT_OK && !file) status = SMT_FAIL(err, SMT_IO, "cannot create %s", path);
    if (file) {
        bool ok = write_parts(w, &header, file);
        if (fclose(file) != 0 || !ok) status = SMT_FAIL(err, SMT_IO, "cannot write %s", path);
    }
    smt_str_free(&header);
    return status;
}

void smt_gguf_write_free(smt_gguf_writer *w) {
    for (uint64_t i = 0; i < w->n_tensors; i++) smt_free(w->blobs[i].data);
    smt_free(w->blobs);
    smt_str_free(&w->keys);
    smt_str_free(&w->infos);
    *w = (smt_gguf_writer){0};
}
