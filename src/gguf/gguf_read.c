/* gguf_read.c: from bytes to the directory of keys and tensors of one file.
 *
 *   "GGUF" | version | n_tensors | n_keys | keys ... | tensor infos ... | padding | tensor data
 *
 * Invariants
 *   1. All reading goes through take() and skip(): nothing is touched that the file does not hold, and no sum can wrap because
 *      every comparison is against what remains.
 *   2. A window moves over the header and never over tensor data, so opening costs the same whatever the size of the file.
 *   3. Memory grows with what was parsed, never with what a count claims: a count in a damaged header costs nothing.
 *   4. The first broken rule ends the parse; smt_gguf_free takes the half-built object. */
#include "gguf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files and tensors are used in place: little-endian hosts only");

#define MAX_HEADER_BYTES (1ull << 30) /* a real one has 5 to 15 MB, nearly all of it vocabulary */
/* The least a key (length, one name byte, kind, value) and a tensor info (length, dimensions, type, offset) can take. */
#define MIN_KEY_BYTES    13
#define MIN_TENSOR_BYTES 24
#define WINDOW_BYTES     ((size_t)256 << 10)

typedef struct reader {
    smt_gguf *gguf;
    uint64_t at;
    const uint8_t *window; /* bytes [window_at, window_at + window_bytes) of the file */
    uint64_t window_at, window_bytes;
    uint8_t *buffer; /* owned: what a window over a file is read into; NULL: the window is the caller's memory, all of it */
    smt_error *err;
} reader;

/* The path is cut so that it cannot push the numbers out of the message. */
#define READER_FAIL(r, code, format, ...) SMT_FAIL((r)->err, (code), "%.200s: " format, (r)->gguf->path, __VA_ARGS__)

static uint64_t remaining(const reader *r) { return r->gguf->n_bytes - r->at; }

static smt_status check_room(const reader *r, uint64_t n, const char *what) {
    if (n > remaining(r))
        return READER_FAIL(r, SMT_FORMAT,
                           "the file ends inside %.100s: %" PRIu64 " bytes needed at offset %" PRIu64 ", %" PRIu64 " are left",
                           what, n, r->at, remaining(r));
    if (n > MAX_HEADER_BYTES - r->at)
        return READER_FAIL(r, SMT_FORMAT, "keys and tensor infos exceed 2^30 bytes inside %.100s", what);
    return SMT_OK;
}

static smt_status skip(reader *r, uint64_t n, const char *what) {
    SMT_TRY(check_room(r, n, what));
    r->at += n;
    return SMT_OK;
}

static smt_status take(reader *r, void *out, uint64_t n, const char *what) {
    SMT_TRY(check_room(r, n, what));
    for (uint8_t *to = out; n > 0;) {
        if (r->at < r->window_at || r->at - r->window_at >= r->window_bytes) {
            uint64_t bytes = smt_min_u64(WINDOW_BYTES, remaining(r));
            SMT_TRY(smt_gguf_source_read(r->gguf, r->at, r->buffer, bytes, r->err));
            r->window_at = r->at;
            r->window_bytes = bytes;
        }
        uint64_t within = r->at - r->window_at, here = smt_min_u64(n, r->window_bytes - within);
        memcpy(to, r->window + within, (size_t)here);
        to += here;
        n -= here;
        r->at += here;
    }
    return SMT_OK;
}

static smt_status take_u32(reader *r, uint32_t *out, const char *what) { return take(r, out, sizeof *out, what); }

static smt_status take_u64(reader *r, uint64_t *out, const char *what) { return take(r, out, sizeof *out, what); }

/* The length of a string, whose bytes are there. */
static smt_status take_length(reader *r, uint64_t *out, const char *what) {
    SMT_TRY(take_u64(r, out, what));
    if (*out > SMT_GGUF_MAX_STRING_BYTES)
        return READER_FAIL(r, SMT_FORMAT, "a string of %" PRIu64 " bytes in %s at offset %" PRIu64 "; at most 2^30 are allowed",
                           *out, what, r->at - 8);
    return check_room(r, *out, what);
}

/* A key or tensor name, copied and terminated. Only printable ASCII: names go into messages, tables and JSON as they are. */
static smt_status take_name(reader *r, size_t limit, const char *what, uint64_t index, const char **out) {
    uint64_t length;
    SMT_TRY(take_length(r, &length, what));
    if (length == 0 || length > limit)
        return READER_FAIL(r, SMT_FORMAT, "%s %" PRIu64 " is %" PRIu64 " bytes long; 1 to %zu are allowed", what, index, length,
                           limit);
    char *name = smt_arena_alloc(&r->gguf->arena, (size_t)length + 1, 1);
    if (!name) return READER_FAIL(r, SMT_MEMORY, "out of memory for %s %" PRIu64, what, index);
    SMT_TRY(take(r, name, length, what));
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || (unsigned char)name[i] > 0x7e)
            return READER_FAIL(r, SMT_FORMAT, "%s %" PRIu64 " holds byte 0x%02x, which is not printable ASCII", what, index,
                               (unsigned char)name[i]);
    *out = name;
    return SMT_OK;
}

/* ---- names ---- */

/* Which numbers two equal names have, *a < *b. */
static void number_pair(const smt_gguf_name *twice, uint64_t *a, uint64_t *b) {
    *a = smt_min_u64(twice[0].index, twice[1].index);
    *b = twice[0].index == *a ? twice[1].index : twice[0].index;
}

static smt_status index_keys(reader *r) {
    smt_gguf *gguf = r->gguf;
    uint64_t a, b;
    gguf->key_names = smt_alloc(gguf->n_keys, sizeof *gguf->key_names);
    if (!gguf->key_names) return READER_FAIL(r, SMT_MEMORY, "out of memory for the index of %zu keys", gguf->n_keys);
    for (size_t i = 0; i < gguf->n_keys; i++) gguf->key_names[i] = (smt_gguf_name){gguf->keys[i].name, i};
    const smt_gguf_name *twice = smt_gguf_sort_names(gguf->key_names, gguf->n_keys);
    if (!twice) return SMT_OK;
    number_pair(twice, &a, &b);
    return READER_FAIL(r, SMT_FORMAT, "key \"%.100s\" occurs twice (numbers %" PRIu64 " and %" PRIu64 ")", twice->name, a, b);
}

smt_status smt_gguf_index_tensors(smt_gguf *gguf, smt_error *err) {
    uint64_t a, b;
    smt_free(gguf->tensor_names);
    gguf->tensor_names = smt_alloc(gguf->n_tensors, sizeof *gguf->tensor_names);
    if (!gguf->tensor_names)
        return SMT_FAIL(err, SMT_MEMORY, "%.200s: out of memory for the index of %zu tensors", gguf->path, gguf->n_tensors);
    for (size_t i = 0; i < gguf->n_tensors; i++) gguf->tensor_names[i] = (smt_gguf_name){gguf->tensors[i].name, i};
    const smt_gguf_name *twice = smt_gguf_sort_names(gguf->tensor_names, gguf->n_tensors);
    if (!twice) return SMT_OK;
    number_pair(twice, &a, &b);
    if (gguf->n_parts > 1)
        return SMT_FAIL(err, SMT_FORMAT, "%.200s: tensor \"%s\" occurs twice, in part %u and in part %u", gguf->path,
                        gguf->tensors[a].name, gguf->tensors[a].part + 1, gguf->tensors[b].part + 1);
    return SMT_FAIL(err, SMT_FORMAT, "%.200s: tensor \"%s\" occurs twice (numbers %" PRIu64 " and %" PRIu64 ")", gguf->path,
                    gguf->tensors[a].name, a, b);
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
    /* Walk the lengths first, so that memory is taken only for strings that are there. */
    uint64_t start = r->at, length;
    for (uint64_t i = 0; i < key->count; i++) {
        SMT_TRY(take_length(r, &length, key->name));
        SMT_TRY(skip(r, length, key->name));
    }
    uint64_t bytes = r->at - start;
    smt_gguf_string *strings = smt_arena_alloc(&r->gguf->arena, (size_t)key->count, sizeof *strings);
    uint8_t *data = smt_arena_alloc(&r->gguf->arena, (size_t)bytes, 1);
    if (!strings || !data)
        return READER_FAIL(r, SMT_MEMORY, "out of memory for the %" PRIu64 " strings of %.100s", key->count, key->name);
    r->at = start;
    SMT_TRY(take(r, data, bytes, key->name));
    key->data = data;
    key->strings = strings;
    for (uint64_t i = 0; i < key->count; i++) {
        memcpy(&length, data, sizeof length);
        strings[i] = (smt_gguf_string){(const char *)data + sizeof length, (size_t)length};
        data += sizeof length;
        bytes -= sizeof length;
        if (length > bytes || bytes - length < (key->count - 1 - i) * sizeof length)
            return READER_FAIL(r, SMT_IO, "key %.100s changed while it was read", key->name);
        data += length;
        bytes -= length;
    }
    return SMT_OK;
}

/* The values of a key whose element kind and count are known. */
static smt_status read_elements(reader *r, smt_gguf_key *key) {
    if (key->element_kind == SMT_GGUF_STRING) return read_strings(r, key);
    uint32_t size = smt_gguf_kind_bytes((uint32_t)key->element_kind);
    if (key->count > remaining(r) / size)
        return READER_FAIL(r, SMT_FORMAT, "key %.100s: %" PRIu64 " elements of %u bytes exceed the %" PRIu64 " bytes left",
                           key->name, key->count, size, remaining(r));
    SMT_TRY(check_room(r, key->count * size, key->name));
    uint8_t *data = smt_arena_alloc(&r->gguf->arena, (size_t)key->count, size);
    if (!data) return READER_FAIL(r, SMT_MEMORY, "out of memory for the %" PRIu64 " elements of %.100s", key->count, key->name);
    SMT_TRY(take(r, data, key->count * size, key->name));
    key->data = data;
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
    return index_keys(r);
}

/* The key that decides how the rest of the file is read. */
static smt_status read_alignment(reader *r) {
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
        tensor->source = gguf;
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
    SMT_TRY(smt_gguf_index_tensors(gguf, r->err));
    return place_tensors(r);
}

/* ---- the whole ---- */

static smt_status read_version(reader *r) {
    uint8_t magic[4];
    uint32_t version;
    SMT_TRY(take(r, magic, sizeof magic, "the magic number"));
    if (memcmp(magic, "GGUF", 4) != 0)
        return READER_FAIL(r, SMT_FORMAT, "not a GGUF file: it begins with bytes %02x %02x %02x %02x", magic[0], magic[1],
                           magic[2], magic[3]);
    r->gguf->magic = true;
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
    SMT_TRY(read_alignment(r));
    return read_tensors(r, n_tensors);
}

smt_status smt_gguf_read_header(smt_gguf *gguf, smt_error *err) {
    reader r = {.gguf = gguf, .window = gguf->bytes, .window_bytes = gguf->n_bytes, .err = err};
    if (!gguf->bytes) {
        r.buffer = smt_alloc(WINDOW_BYTES, 1);
        if (!r.buffer) return READER_FAIL(&r, SMT_MEMORY, "out of memory for a window of %zu bytes", WINDOW_BYTES);
        r.window = r.buffer;
        r.window_bytes = 0;
    }
    smt_status status = read_all(&r);
    smt_free(r.buffer);
    return status;
}
