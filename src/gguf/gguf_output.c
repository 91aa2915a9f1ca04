/* gguf_output.c: the writer (see gguf_output.h for what it promises).
 *
 * Keys and infos are collected in the bytes that the file will hold; an info's offset is known when the tensor is announced,
 * except for the alignment, which a later key may set: therefore offsets are filled in when the file begins. */
#include "gguf_output.h"
#include "gguf_internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct announced {
    const char *name; /* in the arena */
    uint64_t bytes;   /* of data */
    size_t offset_at; /* where in `infos` its offset stands */
} announced;

struct smt_gguf_output {
    smt_arena arena;    /* names */
    smt_str keys;       /* owned: the keys as the file holds them */
    smt_str infos;      /* owned: the tensor infos */
    const char **names; /* owned: of keys, [n_keys] */
    size_t n_keys, key_capacity;
    announced *tensors; /* owned */
    size_t n_tensors, tensor_capacity;
    uint64_t alignment;

    smt_os_output *file; /* owned; NULL before begin */
    size_t current;      /* the tensor whose data comes next */
    uint64_t done;       /* bytes of it written */
};

smt_status smt_gguf_output_create(smt_gguf_output **out, smt_error *err) {
    *out = smt_alloc(1, sizeof **out);
    if (!*out) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a GGUF writer");
    (*out)->alignment = SMT_GGUF_DEFAULT_ALIGNMENT;
    return SMT_OK;
}

void smt_gguf_output_free(smt_gguf_output *output) {
    if (!output) return;
    smt_os_output_free(output->file);
    smt_arena_free(&output->arena);
    smt_str_free(&output->keys);
    smt_str_free(&output->infos);
    smt_free(output->names);
    smt_free(output->tensors);
    smt_free(output);
}

/* ---- pieces ---- */

static smt_status put_u32(smt_str *to, uint32_t value, smt_error *err) { return smt_str_append(to, &value, sizeof value, err); }

static smt_status put_u64(smt_str *to, uint64_t value, smt_error *err) { return smt_str_append(to, &value, sizeof value, err); }

static smt_status put_text(smt_str *to, const char *text, size_t bytes, const char *name, smt_error *err) {
    if (bytes > SMT_GGUF_MAX_STRING_BYTES)
        return SMT_FAIL(err, SMT_INVALID, "%.100s: a string of %zu bytes; at most 2^30 are allowed", name, bytes);
    SMT_TRY(put_u64(to, bytes, err));
    return smt_str_append(to, text, bytes, err);
}

/* Checks a name as the reader does, keeps a copy and writes it. */
static smt_status put_name(smt_gguf_output *output, smt_str *to, const char *name, size_t limit, const char *what,
                           const char **out_copy, smt_error *err) {
    size_t bytes = strlen(name);
    if (output->file) return SMT_FAIL(err, SMT_INVALID, "%s %.100s comes after the file's header was written", what, name);
    if (bytes == 0 || bytes > limit)
        return SMT_FAIL(err, SMT_INVALID, "%s name \"%.100s\" is %zu bytes long; 1 to %zu are allowed", what, name, bytes, limit);
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)name[i] < 0x20 || (unsigned char)name[i] > 0x7e)
            return SMT_FAIL(err, SMT_INVALID, "%s name \"%.100s\" holds byte 0x%02x, which is not printable ASCII", what, name,
                            (unsigned char)name[i]);
    *out_copy = smt_arena_strndup(&output->arena, name, bytes);
    if (!*out_copy) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %s %.100s", what, name);
    return put_text(to, name, bytes, name, err);
}

/* ---- keys ---- */

/* The one key that this room understands. `value` is NULL for what is no scalar. */
static smt_status set_alignment(smt_gguf_output *output, smt_gguf_kind kind, const void *value, smt_error *err) {
    uint32_t alignment = 0;
    if (kind == SMT_GGUF_U32) memcpy(&alignment, value, sizeof alignment);
    if (alignment == 0 || (alignment & (alignment - 1)))
        return SMT_FAIL(err, SMT_INVALID, "key general.alignment is %u (%s), a u32 power of two is wanted", alignment,
                        smt_gguf_kind_name(kind));
    output->alignment = alignment;
    return SMT_OK;
}

static smt_status begin_key(smt_gguf_output *output, const char *name, smt_gguf_kind kind, const void *value, smt_error *err) {
    if (!strcmp(name, "general.alignment")) SMT_TRY(set_alignment(output, kind, value, err));
    SMT_TRY(smt_grow((void **)&output->names, &output->key_capacity, output->n_keys + 1, sizeof *output->names, err));
    SMT_TRY(put_name(output, &output->keys, name, SMT_GGUF_MAX_KEY_BYTES, "key", &output->names[output->n_keys], err));
    output->n_keys++;
    return put_u32(&output->keys, (uint32_t)kind, err);
}

smt_status smt_gguf_output_scalar(smt_gguf_output *output, const char *name, smt_gguf_kind kind, const void *value,
                                  smt_error *err) {
    uint32_t bytes = smt_gguf_kind_bytes((uint32_t)kind);
    if (!bytes) return SMT_FAIL(err, SMT_INVALID, "key %.100s: a %s is no scalar", name, smt_gguf_kind_name(kind));
    SMT_TRY(begin_key(output, name, kind, value, err));
    return smt_str_append(&output->keys, value, bytes, err);
}

smt_status smt_gguf_output_u32(smt_gguf_output *output, const char *name, uint32_t value, smt_error *err) {
    return smt_gguf_output_scalar(output, name, SMT_GGUF_U32, &value, err);
}

smt_status smt_gguf_output_f32(smt_gguf_output *output, const char *name, float value, smt_error *err) {
    return smt_gguf_output_scalar(output, name, SMT_GGUF_F32, &value, err);
}

smt_status smt_gguf_output_bool(smt_gguf_output *output, const char *name, bool value, smt_error *err) {
    uint8_t byte = value;
    return smt_gguf_output_scalar(output, name, SMT_GGUF_BOOL, &byte, err);
}

static smt_status output_string(smt_gguf_output *output, const char *name, smt_gguf_string text, smt_error *err) {
    SMT_TRY(begin_key(output, name, SMT_GGUF_STRING, NULL, err));
    return put_text(&output->keys, text.text, text.bytes, name, err);
}

smt_status smt_gguf_output_text(smt_gguf_output *output, const char *name, const char *text, smt_error *err) {
    return output_string(output, name, (smt_gguf_string){text, strlen(text)}, err);
}

static smt_status begin_array(smt_gguf_output *output, const char *name, smt_gguf_kind kind, uint64_t count, smt_error *err) {
    if (count > SMT_GGUF_MAX_ELEMENTS)
        return SMT_FAIL(err, SMT_INVALID, "key %.100s: %" PRIu64 " elements; at most 2^30 are allowed", name, count);
    SMT_TRY(begin_key(output, name, SMT_GGUF_ARRAY, NULL, err));
    SMT_TRY(put_u32(&output->keys, (uint32_t)kind, err));
    return put_u64(&output->keys, count, err);
}

smt_status smt_gguf_output_array(smt_gguf_output *output, const char *name, smt_gguf_kind element_kind, uint64_t count,
                                 const void *data, smt_error *err) {
    uint32_t bytes = smt_gguf_kind_bytes((uint32_t)element_kind);
    if (!bytes) return SMT_FAIL(err, SMT_INVALID, "key %.100s: %s elements do not pack", name, smt_gguf_kind_name(element_kind));
    SMT_TRY(begin_array(output, name, element_kind, count, err));
    return smt_str_append(&output->keys, data, (size_t)count * bytes, err);
}

smt_status smt_gguf_output_texts(smt_gguf_output *output, const char *name, uint64_t count, const smt_gguf_string *texts,
                                 smt_error *err) {
    SMT_TRY(begin_array(output, name, SMT_GGUF_STRING, count, err));
    for (uint64_t i = 0; i < count; i++) SMT_TRY(put_text(&output->keys, texts[i].text, texts[i].bytes, name, err));
    return SMT_OK;
}

smt_status smt_gguf_output_copy_key(smt_gguf_output *output, const smt_gguf_key *key, smt_error *err) {
    if (key->kind == SMT_GGUF_STRING) return output_string(output, key->name, key->strings[0], err);
    if (key->kind != SMT_GGUF_ARRAY) return smt_gguf_output_scalar(output, key->name, key->kind, key->data, err);
    if (key->element_kind == SMT_GGUF_STRING) return smt_gguf_output_texts(output, key->name, key->count, key->strings, err);
    return smt_gguf_output_array(output, key->name, key->element_kind, key->count, key->data, err);
}

/* ---- tensors ---- */

/* Bytes of the tensor's data, every product checked. */
static smt_status measure(const char *name, smt_dtype type, uint32_t n_dims, const uint64_t *ne, uint64_t *out_bytes,
                          smt_error *err) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    if (!info) return SMT_FAIL(err, SMT_INVALID, "tensor %.100s: type id %d does not exist", name, (int)type);
    if (n_dims > 4) return SMT_FAIL(err, SMT_INVALID, "tensor %.100s has %u dimensions; at most 4 are allowed", name, n_dims);
    uint64_t elements = 1, row = n_dims ? ne[0] : 1;
    for (uint32_t d = 0; d < n_dims; d++)
        if (ne[d] == 0 || !smt_mul_u64(elements, ne[d], &elements) || elements > INT64_MAX)
            return SMT_FAIL(err, SMT_INVALID, "tensor %.100s: dimension %u is %" PRIu64 ", or the product exceeds 2^63", name, d,
                            ne[d]);
    if (row % info->elems)
        return SMT_FAIL(err, SMT_INVALID, "tensor %.100s: rows of %" PRIu64 " elements are no whole number of %s blocks (%u)",
                        name, row, info->name, info->elems);
    if (!smt_mul_u64(elements / info->elems, info->bytes, out_bytes) || *out_bytes > INT64_MAX)
        return SMT_FAIL(err, SMT_INVALID, "tensor %.100s: its size in bytes exceeds 2^63", name);
    return SMT_OK;
}

smt_status smt_gguf_output_tensor(smt_gguf_output *output, const char *name, smt_dtype type, uint32_t n_dims, const uint64_t *ne,
                                  smt_error *err) {
    announced tensor = {0};
    SMT_TRY(measure(name, type, n_dims, ne, &tensor.bytes, err));
    SMT_TRY(smt_grow((void **)&output->tensors, &output->tensor_capacity, output->n_tensors + 1, sizeof *output->tensors, err));
    SMT_TRY(put_name(output, &output->infos, name, SMT_GGUF_MAX_TENSOR_NAME_BYTES, "tensor", &tensor.name, err));
    SMT_TRY(put_u32(&output->infos, n_dims, err));
    SMT_TRY(smt_str_append(&output->infos, ne, n_dims * sizeof *ne, err));
    SMT_TRY(put_u32(&output->infos, (uint32_t)type, err));
    tensor.offset_at = output->infos.bytes;
    SMT_TRY(put_u64(&output->infos, 0, err));
    output->tensors[output->n_tensors++] = tensor;
    return SMT_OK;
}

/* ---- the file ---- */

/* Magic number, version and two counts come before keys and infos. */
#define FIXED_BYTES (4 + 4 + 8 + 8)

static uint64_t header_bytes(const smt_gguf_output *output) { return FIXED_BYTES + output->keys.bytes + output->infos.bytes; }

uint64_t smt_gguf_output_bytes(const smt_gguf_output *output) {
    uint64_t total = smt_align_up(header_bytes(output), output->alignment);
    for (size_t i = 0; i < output->n_tensors; i++) total = smt_align_up(total + output->tensors[i].bytes, output->alignment);
    return total;
}

static smt_status place_tensors(smt_gguf_output *output, smt_error *err) {
    uint64_t offset = 0;
    for (size_t i = 0; i < output->n_tensors; i++) {
        const announced *tensor = &output->tensors[i];
        memcpy(output->infos.text + tensor->offset_at, &offset, sizeof offset);
        if (tensor->bytes > INT64_MAX - offset - output->alignment)
            return SMT_FAIL(err, SMT_INVALID, "tensor %s: the file would exceed 2^63 bytes", tensor->name);
        offset = smt_align_up(offset + tensor->bytes, output->alignment);
    }
    return SMT_OK;
}

static smt_status refuse_duplicates(const smt_gguf_output *output, smt_error *err) {
    size_t n = output->n_keys > output->n_tensors ? output->n_keys : output->n_tensors;
    smt_gguf_name *names = smt_alloc(n, sizeof *names);
    if (!names) return SMT_FAIL(err, SMT_MEMORY, "out of memory for an index of %zu names", n);
    for (size_t i = 0; i < output->n_keys; i++) names[i] = (smt_gguf_name){output->names[i], i};
    const smt_gguf_name *key = smt_gguf_sort_names(names, output->n_keys), *tensor = NULL;
    const char *twice = key ? key->name : NULL;
    if (!twice) {
        for (size_t i = 0; i < output->n_tensors; i++) names[i] = (smt_gguf_name){output->tensors[i].name, i};
        tensor = smt_gguf_sort_names(names, output->n_tensors);
        twice = tensor ? tensor->name : NULL;
    }
    smt_free(names);
    if (!twice) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "%s \"%.100s\" is written twice", key ? "key" : "tensor", twice);
}

static smt_status write_zeros(smt_gguf_output *output, uint64_t count, smt_error *err) {
    static const uint8_t zeros[4096];
    while (count > 0) {
        uint64_t n = smt_min_u64(count, sizeof zeros);
        SMT_TRY(smt_os_output_write(output->file, zeros, n, err));
        count -= n;
    }
    return SMT_OK;
}

static uint64_t padding(const smt_gguf_output *output, uint64_t bytes) { return smt_align_up(bytes, output->alignment) - bytes; }

static smt_status write_header(smt_gguf_output *output, smt_error *err) {
    uint8_t fixed[FIXED_BYTES] = {'G', 'G', 'U', 'F', 3};
    uint64_t counts[2] = {output->n_tensors, output->n_keys};
    memcpy(fixed + 8, counts, sizeof counts);
    SMT_TRY(smt_os_output_write(output->file, fixed, sizeof fixed, err));
    SMT_TRY(smt_os_output_write(output->file, output->keys.text, output->keys.bytes, err));
    SMT_TRY(smt_os_output_write(output->file, output->infos.text, output->infos.bytes, err));
    return write_zeros(output, padding(output, header_bytes(output)), err);
}

smt_status smt_gguf_output_begin(smt_gguf_output *output, const char *path, smt_error *err) {
    SMT_TRY(refuse_duplicates(output, err));
    SMT_TRY(place_tensors(output, err));
    SMT_TRY(smt_os_output_create(path, &output->file, err));
    return write_header(output, err);
}

smt_status smt_gguf_output_data(smt_gguf_output *output, const void *bytes, uint64_t n_bytes, smt_error *err) {
    const uint8_t *at = bytes;
    while (n_bytes > 0) {
        if (output->current == output->n_tensors)
            return SMT_FAIL(err, SMT_INVALID, "%" PRIu64 " bytes of data beyond the last of %zu tensors", n_bytes,
                            output->n_tensors);
        uint64_t whole = output->tensors[output->current].bytes, n = smt_min_u64(n_bytes, whole - output->done);
        SMT_TRY(smt_os_output_write(output->file, at, n, err));
        at += n;
        n_bytes -= n;
        output->done += n;
        if (output->done < whole) break;
        SMT_TRY(write_zeros(output, padding(output, whole), err));
        output->current++;
        output->done = 0;
    }
    return SMT_OK;
}

smt_status smt_gguf_output_finish(smt_gguf_output *output, smt_error *err) {
    if (output->current < output->n_tensors)
        return SMT_FAIL(err, SMT_INVALID, "tensor %s has %" PRIu64 " of %" PRIu64 " bytes", output->tensors[output->current].name,
                        output->done, output->tensors[output->current].bytes);
    return smt_os_output_commit(output->file, err);
}
