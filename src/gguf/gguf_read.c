/* gguf_read.c: from bytes to the directory of keys and tensors.
 *
 *   "GGUF" | version | n_tensors | n_keys | keys ... | tensor infos ... | padding | tensor data
 *
 * Invariants
 *   1. All reading goes through take(): nothing is touched that the file does not hold, and no sum can wrap because every
 *      comparison is against what remains.
 *   2. Memory grows with what was parsed, never with what a count claims: a count in a damaged header costs nothing.
 *   3. The header's values are not aligned: they are copied out, never read through a cast pointer.
 *   4. The first broken rule ends the parse; smt_gguf_free takes the half-built object. */
#include "gguf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files and tensors are used in place: little-endian hosts only");

/* The least a key (length, one name byte, kind, value) and a tensor info (length, dimensions, type, offset) can take. */
#define MIN_KEY_BYTES    13
#define MIN_TENSOR_BYTES 24

typedef struct reader {
    smt_gguf *gguf;
    uint64_t at;
    smt_error *err;
} reader;

/* The path is cut so that it cannot push the numbers out of the message. */
#define READER_FAIL(r, code, format, ...) SMT_FAIL((r)->err, (code), "%.200s: " format, (r)->gguf->path, __VA_ARGS__)

static uint64_t remaining(const reader *r) { return r->gguf->n_bytes - r->at; }

static smt_status take(reader *r, uint64_t n, const uint8_t **out, const char *what) {
    if (n > remaining(r))
        return READER_FAIL(r, SMT_FORMAT,
                           "the file ends inside %.100s: %" PRIu64 " bytes needed at offset %" PRIu64 ", %" PRIu64 " are left",
                           what, n, r->at, remaining(r));
    *out = r->gguf->bytes + r->at;
    r->at += n;
    return SMT_OK;
}

static smt_status take_u32(reader *r, uint32_t *out, const char *what) {
    const uint8_t *bytes;
    SMT_TRY(take(r, sizeof *out, &bytes, what));
    memcpy(out, bytes, sizeof *out);
    return SMT_OK;
}

static smt_status take_u64(reader *r, uint64_t *out, const char *what) {
    const uint8_t *bytes;
    SMT_TRY(take(r, sizeof *out, &bytes, what));
    memcpy(out, bytes, sizeof *out);
    return SMT_OK;
}

static smt_status take_string(reader *r, smt_gguf_string *out, const char *what) {
    uint64_t length;
    const uint8_t *bytes;
    SMT_TRY(take_u64(r, &length, what));
    if (length > SMT_GGUF_MAX_STRING_BYTES)
        return READER_FAIL(r, SMT_FORMAT, "a string of %" PRIu64 " bytes in %s at offset %" PRIu64 "; at most 2^30 are allowed",
                           length, what, r->at - 8);
    SMT_TRY(take(r, length, &bytes, what));
    *out = (smt_gguf_string){(const char *)bytes, (size_t)length};
    return SMT_OK;
}

/* A key or tensor name, copied and terminated. Only printable ASCII: names go into messages, tables and JSON as they are. */
static smt_status take_name(reader *r, size_t limit, const char *what, uint64_t index, const char **out) {
    smt_gguf_string text;
    SMT_TRY(take_string(r, &text, what));
    if (text.bytes == 0 || text.bytes > limit)
        return READER_FAIL(r, SMT_FORMAT, "%s %" PRIu64 " is %zu bytes long; 1 to %zu are allowed", what, index, text.bytes,
                           limit);
    for (size_t i = 0; i < text.bytes; i++)
        if ((unsigned char)text.text[i] < 0x20 || (unsigned char)text.text[i] > 0x7e)
            return READER_FAIL(r, SMT_FORMAT, "%s %" PRIu64 " holds byte 0x%02x, which is not printable ASCII", what, index,
                               (unsigned char)text.text[i]);
    *out = smt_arena_strndup(&r->gguf->arena, text.text, text.bytes);
    return *out ? SMT_OK : READER_FAIL(r, SMT_MEMORY, "out of memory for %s %" PRIu64, what, index);
}

/* ---- names ---- */

/* Sorts names[n] and refuses duplicates. */
static smt_status index_names(reader *r, smt_gguf_name *names, size_t n, const char *what) {
    const smt_gguf_name *twice = smt_gguf_sort_names(names, n);
    if (!twice) return SMT_OK;
    return READER_FAIL(r, SMT_FORMAT, "%s \"%.100s\" occurs twice (numbers %" PRIu64 " and %" PRIu64 ")", what, twice->name,
                       smt_min_u64(twice[0].index, twice[1].index),
                       twice[0].index > twice[1].index ? twice[0].index : twice[1].index);
}

/* ---- keys ---- */

static smt_status check_bools(reader *r, const smt_gguf_key *key) {
    for (uint64_t i = 0; i < key->count; i++)
        if (key->data[i] > 1)
            return READER_FAIL(r, SMT_FORMAT, "key %.100s: boolean %" PRIu64 " has the value %u", key->name, i, key->data[i]);
    return SMT_OK;
}

static smt_status read_strings(reader *r, smt_gguf_key *key) {
    if (key->count > remaining(r) / 8)
        return READER_FAIL(r, SMT_FORMAT, "key %.100s: %" PRIu64 " strings cannot fit into the %" PRIu64 " bytes left", key->name,
                           key->count, remaining(r));
    /* Walk the lengths first, so that the table is made only for strings that are there. */
    uint64_t start = r->at;
    smt_gguf_string text;
    for (uint64_t i = 0; i < key->count; i++) SMT_TRY(take_string(r, &text, key->name));
    uint64_t end = r->at;
    key->strings = smt_arena_alloc(&r->gguf->arena, (size_t)key->count, sizeof *key->strings);
    if (!key->strings)
        return READER_FAIL(r, SMT_MEMORY, "out of memory for the %" PRIu64 " strings of %.100s", key->count, key->name);
    r->at = start;
    for (uint64_t i = 0; i < key->count; i++) SMT_TRY(take_string(r, &key->strings[i], key->name));
    r->at = end;
    return SMT_OK;
}

/* The values of a key whose element kind and count are known. */
static smt_status read_elements(reader *r, smt_gguf_key *key) {
    key->data = r->gguf->bytes + r->at;
    if (key->element_kind == SMT_GGUF_STRING) return read_strings(r, key);
    uint32_t size = smt_gguf_kind_bytes((uint32_t)key->element_kind);
    if (key->count > remaining(r) / size)
        return READER_FAIL(r, SMT_FORMAT, "key %.100s: %" PRIu64 " elements of %u bytes exceed the %" PRIu64 " bytes left",
                           key->name, key->count, size, remaining(r));
    r->at += key->count * size;
    return key->element_kind == SMT_GGUF_BOOL ? check_bools(r, key) : SMT_OK;
}

static smt_status read_key(reader *r, uint64_t index, smt_gguf_key *key) {
    uint32_t kind;
    *key = (smt_gguf_key){.count = 1};
    SMT_TRY(take_name(r, SMT_GGUF_MAX_KEY_BYTES, "key", index, &key->name));
    SMT_TRY(take_u32(r, &kind, key->name));
    if (kind > SMT_GGUF_F64) return READER_FAIL(r, SMT_FORMAT, "key %.100s has value type %u; 0 to 12 exist", key->name, kind);
    key->kind = key->element_kind = (smt_gguf_kind)kind;
    if (key->kind == SMT_GGUF_ARRAY) {
        SMT_TRY(take_u32(r, &kind, key->name));
        SMT_TRY(take_u64(r, &key->count, key->name));
        if (kind > SMT_GGUF_F64 || kind == SMT_GGUF_ARRAY)
            return READER_FAIL(r, SMT_FORMAT, "key %.100s is an array of type %u; 0 to 12 except 9 are allowed", key->name, kind);
        if (key->count > SMT_GGUF_MAX_ELEMENTS)
            return READER_FAIL(r, SMT_FORMAT, "key %.100s claims %" PRIu64 " elements; at most 2^30 are allowed", key->name,
                               key->count);
        key->element_kind = (smt_gguf_kind)kind;
    }
    return read_elements(r, key);
}

static smt_status read_keys(reader *r, uint64_t count) {
    smt_gguf *gguf = r->gguf;
    if (count > remaining(r) / MIN_KEY_BYTES)
        return READER_FAIL(r, SMT_FORMAT, "the header claims %" PRIu64 " keys, but only %" PRIu64 " bytes follow", count,
                           remaining(r));
    for (uint64_t i = 0; i < count; i++) {
        SMT_TRY(smt_grow((void **)&gguf->keys, &gguf->key_capacity, gguf->n_keys + 1, sizeof *gguf->keys, r->err));
        SMT_TRY(read_key(r, i, &gguf->keys[gguf->n_keys]));
        gguf->n_keys++;
    }
    gguf->key_names = smt_alloc(gguf->n_keys, sizeof *gguf->key_names);
    if (!gguf->key_names) return READER_FAIL(r, SMT_MEMORY, "out of memory for the index of %zu keys", gguf->n_keys);
    for (size_t i = 0; i < gguf->n_keys; i++) gguf->key_names[i] = (smt_gguf_name){gguf->keys[i].name, i};
    return index_names(r, gguf->key_names, gguf->n_keys, "key");
}

/* The keys that decide how the rest of the file is read. */
static smt_status apply_keys(reader *r) {
    smt_gguf *gguf = r->gguf;
    gguf->alignment = SMT_GGUF_DEFAULT_ALIGNMENT;
    const smt_gguf_key *key = smt_gguf_find(gguf, "general.alignment");
    if (key) {
        if (key->kind != SMT_GGUF_U32)
            return READER_FAIL(r, SMT_FORMAT, "key general.alignment is of type %s, u32 is wanted",
                               smt_gguf_kind_name(key->kind));
        uint32_t value;
        memcpy(&value, key->data, sizeof value);
        if (value == 0 || (value & (value - 1)))
            return READER_FAIL(r, SMT_FORMAT, "key general.alignment is %u, a power of two is wanted", value);
        gguf->alignment = value;
    }
    uint32_t n_parts = 1;
    SMT_TRY(smt_gguf_u32(gguf, "split.count", &n_parts, NULL, r->err));
    if (n_parts > 1) return READER_FAIL(r, SMT_UNSUPPORTED, "split.count %u: split files are not supported yet", n_parts);
    return SMT_OK;
}

/* ---- tensors ---- */

static smt_status read_shape(reader *r, smt_gguf_tensor *tensor) {
    SMT_TRY(take_u32(r, &tensor->n_dims, tensor->name));
    if (tensor->n_dims > 4)
        return READER_FAIL(r, SMT_FORMAT, "tensor %s has %u dimensions; at most 4 are allowed", tensor->name, tensor->n_dims);
    uint64_t elements = 1;
    for (uint32_t d = 0; d < 4; d++) {
        tensor->ne[d] = 1;
        if (d < tensor->n_dims) SMT_TRY(take_u64(r, &tensor->ne[d], tensor->name));
        if (tensor->ne[d] == 0) return READER_FAIL(r, SMT_FORMAT, "tensor %s: dimension %u is 0", tensor->name, d);
        if (!smt_mul_u64(elements, tensor->ne[d], &elements) || elements > INT64_MAX)
            return READER_FAIL(r, SMT_FORMAT,
                               "tensor %s: the product of its dimensions exceeds 2^63 at dimension %u (%" PRIu64 ")",
                               tensor->name, d, tensor->ne[d]);
    }
    return SMT_OK;
}

/* Name, shape, type and offset; the offset is still relative to the data section. */
static smt_status read_tensor(reader *r, uint64_t index, smt_gguf_tensor *tensor) {
    char words[64];
    uint32_t type;
    *tensor = (smt_gguf_tensor){0};
    SMT_TRY(take_name(r, SMT_GGUF_MAX_TENSOR_NAME_BYTES, "tensor name", index, &tensor->name));
    SMT_TRY(read_shape(r, tensor));
    SMT_TRY(take_u32(r, &type, tensor->name));
    SMT_TRY(take_u64(r, &tensor->offset, tensor->name));
    const smt_dtype_info *info = smt_dtype_get(type);
    if (!info)
        return READER_FAIL(r, SMT_UNSUPPORTED, "tensor %s is of %s (id %u)", tensor->name,
                           smt_dtype_words(type, words, sizeof words), type);
    tensor->type = (smt_dtype)type;
    if (tensor->ne[0] % info->elems)
        return READER_FAIL(r, SMT_FORMAT, "tensor %s: rows of %" PRIu64 " elements are no whole number of %s blocks (%u)",
                           tensor->name, tensor->ne[0], info->name, info->elems);
    uint64_t rows = tensor->ne[1] * tensor->ne[2] * tensor->ne[3]; /* at most 2^63: checked with the shape */
    if (!smt_mul_u64(tensor->ne[0] / info->elems * rows, info->bytes, &tensor->bytes))
        return READER_FAIL(r, SMT_FORMAT, "tensor %s: its size in bytes exceeds 2^64", tensor->name);
    if (tensor->offset % r->gguf->alignment)
        return READER_FAIL(r, SMT_FORMAT, "tensor %s: offset %" PRIu64 " is no multiple of the alignment %" PRIu64, tensor->name,
                           tensor->offset, r->gguf->alignment);
    return SMT_OK;
}

static int compare_offsets(const void *a, const void *b) {
    uint64_t left = (*(smt_gguf_tensor *const *)a)->offset, right = (*(smt_gguf_tensor *const *)b)->offset;
    return (left > right) - (left < right);
}

/* Any order and any gaps are accepted, overlaps are not. */
static smt_status check_overlaps(reader *r) {
    smt_gguf *gguf = r->gguf;
    smt_gguf_tensor **order = smt_alloc(gguf->n_tensors, sizeof *order);
    if (!order) return READER_FAIL(r, SMT_MEMORY, "out of memory for the order of %zu tensors", gguf->n_tensors);
    for (size_t i = 0; i < gguf->n_tensors; i++) order[i] = &gguf->tensors[i];
    qsort(order, gguf->n_tensors, sizeof *order, compare_offsets);
    smt_status status = SMT_OK;
    for (size_t i = 1; i < gguf->n_tensors && status == SMT_OK; i++)
        if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes)
            status = READER_FAIL(r, SMT_FORMAT, "tensors %s and %s overlap at offset %" PRIu64, order[i - 1]->name,
                                 order[i]->name, order[i]->offset);
    smt_free(order);
    return status;
}

/* Turns relative offsets into absolute ones; the end of every tensor must be inside the file, or it was cut short. */
static smt_status place_tensors(reader *r) {
    smt_gguf *gguf = r->gguf;
    uint64_t start = smt_align_up(r->at, gguf->alignment);
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        smt_gguf_tensor *tensor = &gguf->tensors[i];
        if (start > gguf->n_bytes || tensor->offset > gguf->n_bytes - start ||
            tensor->bytes > gguf->n_bytes - start - tensor->offset)
            return READER_FAIL(r, SMT_FORMAT,
                               "tensor %s: %" PRIu64 " bytes at %" PRIu64 " + %" PRIu64 " lie beyond the file's %" PRIu64
                               " bytes; is the file cut short?",
                               tensor->name, tensor->bytes, start, tensor->offset, gguf->n_bytes);
        tensor->offset += start;
        tensor->data = gguf->bytes + tensor->offset;
    }
    return check_overlaps(r);
}

static smt_status read_tensors(reader *r, uint64_t count) {
    smt_gguf *gguf = r->gguf;
    if (count > remaining(r) / MIN_TENSOR_BYTES)
        return READER_FAIL(r, SMT_FORMAT, "the header claims %" PRIu64 " tensors, but only %" PRIu64 " bytes follow the keys",
                           count, remaining(r));
    for (uint64_t i = 0; i < count; i++) {
        SMT_TRY(smt_grow((void **)&gguf->tensors, &gguf->tensor_capacity, gguf->n_tensors + 1, sizeof *gguf->tensors, r->err));
        SMT_TRY(read_tensor(r, i, &gguf->tensors[gguf->n_tensors]));
        gguf->n_tensors++;
    }
    gguf->tensor_names = smt_alloc(gguf->n_tensors, sizeof *gguf->tensor_names);
    if (!gguf->tensor_names) return READER_FAIL(r, SMT_MEMORY, "out of memory for the index of %zu tensors", gguf->n_tensors);
    for (size_t i = 0; i < gguf->n_tensors; i++) gguf->tensor_names[i] = (smt_gguf_name){gguf->tensors[i].name, i};
    SMT_TRY(index_names(r, gguf->tensor_names, gguf->n_tensors, "tensor"));
    return place_tensors(r);
}

/* ---- the whole ---- */

static smt_status read_version(reader *r) {
    const uint8_t *magic;
    uint32_t version;
    SMT_TRY(take(r, 4, &magic, "the magic number"));
    if (memcmp(magic, "GGUF", 4) != 0)
        return READER_FAIL(r, SMT_FORMAT, "not a GGUF file: it begins with bytes %02x %02x %02x %02x", magic[0], magic[1],
                           magic[2], magic[3]);
    SMT_TRY(take_u32(r, &version, "the version"));
    if (version && (version & 0xffff) == 0)
        return READER_FAIL(r, SMT_UNSUPPORTED, "a big-endian file (version word 0x%08x); only little-endian files are read",
                           version);
    if (version == 1)
        return READER_FAIL(r, SMT_UNSUPPORTED, "GGUF version %u, which nobody writes since 2023; 2 and 3 are read", version);
    if (version != 2 && version != 3) return READER_FAIL(r, SMT_UNSUPPORTED, "GGUF version %u; 2 and 3 are read", version);
    return SMT_OK;
}

static smt_status read_all(reader *r) {
    uint64_t n_tensors, n_keys;
    SMT_TRY(read_version(r));
    SMT_TRY(take_u64(r, &n_tensors, "the tensor count"));
    SMT_TRY(take_u64(r, &n_keys, "the key count"));
    SMT_TRY(read_keys(r, n_keys));
    SMT_TRY(apply_keys(r));
    return read_tensors(r, n_tensors);
}

/* Takes over *map, which is empty for memory of the caller. */
static smt_status parse(const uint8_t *bytes, uint64_t n_bytes, smt_os_map *map, const char *path, smt_gguf **out,
                        smt_error *err) {
    smt_gguf *gguf = smt_alloc(1, sizeof *gguf);
    if (!gguf) {
        smt_os_unmap(map);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory opening %s", path);
    }
    gguf->map = *map;
    gguf->bytes = bytes;
    gguf->n_bytes = n_bytes;
    gguf->path = smt_strdup(path);
    reader r = {.gguf = gguf, .err = err};
    smt_status status = gguf->path ? read_all(&r) : SMT_FAIL(err, SMT_MEMORY, "out of memory opening %s", path);
    if (status != SMT_OK) {
        smt_gguf_free(gguf);
        return status;
    }
    *out = gguf;
    return SMT_OK;
}

smt_status smt_gguf_open(const char *path, smt_gguf **out, smt_error *err) {
    *out = NULL;
    smt_os_map map;
    SMT_TRY(smt_os_map_file(path, &map, err));
    return parse(map.bytes, map.n_bytes, &map, path, out, err);
}

smt_status smt_gguf_parse(const void *bytes, size_t n_bytes, const char *label, smt_gguf **out, smt_error *err) {
    *out = NULL;
    smt_os_map none = {0};
    return parse(bytes, n_bytes, &none, label, out, err);
}

void smt_gguf_free(smt_gguf *gguf) {
    if (!gguf) return;
    smt_free(gguf->keys);
    smt_free(gguf->key_names);
    smt_free(gguf->tensors);
    smt_free(gguf->tensor_names);
    smt_free(gguf->path);
    smt_arena_free(&gguf->arena);
    smt_os_unmap(&gguf->map);
    smt_free(gguf);
}
