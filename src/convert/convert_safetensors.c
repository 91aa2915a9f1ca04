/* convert_safetensors.c: the tensors of a checkpoint: one directory over all shards, and reads from them.
 *
 *     | u64 length of header | header: JSON, name -> {dtype, shape, [begin, end)} | data |      each shard
 *
 * Headers are hostile: the length must fit the file; every range must lie in the data, overlap no other, and have the size that
 * dtype and shape give; names are unique over all shards. The index file may name shards, never a path.
 * Data is read where it is wanted and not mapped, so that memory does not grow with the checkpoint; the shard read last stays
 * open. */
#include "convert_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAX_HEADER 100000000u /* the limit of the format's own reader */
#define MAX_INDEX  ((size_t)64 << 20)
#define MAX_SHARDS 4096u

static const struct {
    const char *name;
    smt_st_kind kind;
    uint32_t bytes;
} kinds[] = {
    {"F32", SMT_ST_F32, 4},       {"F16", SMT_ST_F16, 2},     {"BF16", SMT_ST_BF16, 2},    {"F8_E4M3", SMT_ST_F8_E4M3, 1},
    {"F8_E5M2", SMT_ST_OTHER, 1}, {"F64", SMT_ST_OTHER, 8},   {"I64", SMT_ST_INTEGER, 8},  {"U64", SMT_ST_INTEGER, 8},
    {"I32", SMT_ST_INTEGER, 4},   {"U32", SMT_ST_INTEGER, 4}, {"I16", SMT_ST_INTEGER, 2},  {"U16", SMT_ST_INTEGER, 2},
    {"I8", SMT_ST_INTEGER, 1},    {"U8", SMT_ST_INTEGER, 1},  {"BOOL", SMT_ST_INTEGER, 1},
};

uint32_t smt_st_value_bytes(const smt_st_tensor *tensor) { return kinds[tensor->row_of_kinds].bytes; }
const char *smt_st_kind_name(const smt_st_tensor *tensor) { return kinds[tensor->row_of_kinds].name; }

/* ---- one header ---- */

static smt_status read_kind(smt_st_tensor *tensor, const char *shard, const json_t *value, smt_error *err) {
    const char *name = json_string_value(value);
    for (size_t i = 0; i < SMT_COUNT(kinds); i++)
        if (smt_convert_is(name, kinds[i].name)) {
            tensor->kind = kinds[i].kind;
            tensor->row_of_kinds = (uint8_t)i;
            return SMT_OK;
        }
    return SMT_FAIL(err, name ? SMT_UNSUPPORTED : SMT_FORMAT, "%s: tensor %.200s has the unknown dtype \"%.40s\"", shard,
                    tensor->name, name ? name : "(not a text)");
}

/* The shape, and the bytes that it takes. */
static smt_status read_shape(smt_st_tensor *tensor, const char *shard, const json_t *value, uint64_t *out_bytes, smt_error *err) {
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n > SMT_COUNT(tensor->dims))
        return SMT_FAIL(err, SMT_FORMAT, "%s: tensor %.200s: \"shape\" is not a list of at most %zu numbers", shard, tensor->name,
                        SMT_COUNT(tensor->dims));
    tensor->n_dims = (uint32_t)n;
    *out_bytes = smt_st_value_bytes(tensor);
    for (size_t i = 0; i < n; i++)
        if (!smt_convert_u64_of(json_array_get(value, i), &tensor->dims[i]) ||
            !smt_mul_u64(*out_bytes, tensor->dims[i], out_bytes))
            return SMT_FAIL(err, SMT_FORMAT, "%s: tensor %.200s: number %zu of \"shape\" is no size", shard, tensor->name, i);
    return SMT_OK;
}

static smt_status read_entry(smt_st_tensor *tensor, const char *shard, const json_t *entry, uint64_t data_start,
                             uint64_t file_bytes, smt_error *err) {
    uint64_t wanted = 0, begin = 0, end = 0;
    SMT_TRY(read_kind(tensor, shard, json_object_get(entry, "dtype"), err));
    SMT_TRY(read_shape(tensor, shard, json_object_get(entry, "shape"), &wanted, err));
    const json_t *range = json_object_get(entry, "data_offsets");
    if (json_array_size(range) != 2 || !smt_convert_u64_of(json_array_get(range, 0), &begin) ||
        !smt_convert_u64_of(json_array_get(range, 1), &end) || begin > end)
        return SMT_FAIL(err, SMT_FORMAT, "%s: tensor %.200s: \"data_offsets\" is not a range", shard, tensor->name);
    if (end - begin != wanted)
        return SMT_FAIL(err, SMT_FORMAT, "%s: tensor %.200s has %llu bytes, its shape and dtype %s take %llu", shard,
                        tensor->name, (unsigned long long)(end - begin), smt_st_kind_name(tensor), (unsigned long long)wanted);
    if (end > file_bytes - data_start)
        return SMT_FAIL(err, SMT_FORMAT, "%s: tensor %.200s ends at byte %llu of %llu: the file is cut off", shard, tensor->name,
                        (unsigned long long)(data_start + end), (unsigned long long)file_bytes);
    tensor->offset = data_start + begin;
    tensor->bytes = wanted;
    return SMT_OK;
}

static int by_offset(const void *a, const void *b) {
    const smt_st_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones in front of what begins at the same byte */
}

/* `first`: the shard's first tensor in the directory. Leaves them in the order of the file. */
static smt_status check_overlaps(smt_st *st, size_t first, const char *shard, smt_error *err) {
    if (st->n_tensors > first) qsort(st->tensors + first, st->n_tensors - first, sizeof *st->tensors, by_offset);
    for (size_t i = first + 1; i < st->n_tensors; i++) {
        const smt_st_tensor *a = &st->tensors[i - 1], *b = &st->tensors[i];
        if (b->offset < a->offset + a->bytes)
            return SMT_FAIL(err, SMT_FORMAT, "%s: tensors %.100s and %.100s overlap at byte %llu", shard, a->name, b->name,
                            (unsigned long long)b->offset);
    }
    return SMT_OK;
}

static smt_status read_entries(smt_st *st, const char *shard, json_t *root, uint64_t data_start, uint64_t file_bytes,
                               smt_error *err) {
    const char *name;
    json_t *entry;
    size_t first = st->n_tensors;
    json_object_foreach(root, name, entry) {
        if (smt_convert_is(name, "__metadata__")) continue;
        SMT_TRY(smt_grow((void **)&st->tensors, &st->tensor_capacity, st->n_tensors + 1, sizeof *st->tensors, err));
        smt_st_tensor *tensor = &st->tensors[st->n_tensors];
        *tensor = (smt_st_tensor){.shard = (uint32_t)(st->n_shards - 1)};
        tensor->name = smt_arena_strndup(&st->arena, name, strlen(name));
        if (!tensor->name) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the name of tensor %.200s", name);
        SMT_TRY(read_entry(tensor, shard, entry, data_start, file_bytes, err));
        st->n_tensors++;
    }
    return check_overlaps(st, first, shard, err);
}

smt_status smt_st_header_bytes(const char *shard, const uint8_t *length, uint64_t file_bytes, uint64_t *out, smt_error *err) {
    *out = 0;
    for (int i = 7; i >= 0; i--) *out = *out << 8 | length[i];
    if (*out <= MAX_HEADER && *out <= file_bytes - 8) return SMT_OK;
    return SMT_FAIL(err, SMT_FORMAT, "%s: the header is said to have %llu bytes, the file has %llu and at most %u are accepted",
                    shard, (unsigned long long)*out, (unsigned long long)file_bytes, MAX_HEADER);
}

smt_status smt_st_add(smt_st *st, const char *shard, const char *header, size_t header_bytes, uint64_t file_bytes,
                      smt_error *err) {
    SMT_TRY(smt_grow((void **)&st->shards, &st->shard_capacity, st->n_shards + 1, sizeof *st->shards, err));
    char *name = smt_arena_strndup(&st->arena, shard, strlen(shard));
    if (!name) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the name of shard %.200s", shard);
    st->shards[st->n_shards++] = name;
    json_t *root;
    SMT_TRY(smt_convert_json_parse(shard, header, header_bytes, &root, err));
    smt_status status = read_entries(st, shard, root, 8 + header_bytes, file_bytes, err);
    json_decref(root);
    return status;
}

/* ---- the directory ---- */

static uint32_t *find_slot(const smt_st *st, const char *name) {
    for (uint64_t at = XXH3_64bits(name, strlen(name)) & st->slot_mask;; at = (at + 1) & st->slot_mask) {
        uint32_t *slot = &st->slots[at];
        if (*slot == 0 || strcmp(st->tensors[*slot - 1].name, name) == 0) return slot;
    }
}

smt_status smt_st_finish(smt_st *st, smt_error *err) {
    if (st->n_tensors > INT32_MAX) return SMT_FAIL(err, SMT_FORMAT, "%zu tensors are too many", st->n_tensors);
    uint64_t slots = 16;
    while (slots < 2 * (uint64_t)st->n_tensors) slots *= 2;
    st->slots = smt_alloc(slots, sizeof *st->slots);
    if (!st->slots) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a table of %zu tensors", st->n_tensors);
    st->slot_mask = slots - 1;
    for (size_t i = 0; i < st->n_tensors; i++) {
        uint32_t *slot = find_slot(st, st->tensors[i].name);
        if (*slot)
            return SMT_FAIL(err, SMT_FORMAT, "tensor %.200s is in %s and again in %s", st->tensors[i].name,
                            st->shards[st->tensors[*slot - 1].shard], st->shards[st->tensors[i].shard]);
        *slot = (uint32_t)i + 1;
    }
    return SMT_OK;
}

smt_st_tensor *smt_st_find(smt_st *st, const char *name) {
    uint32_t slot = *find_slot(st, name);
    return slot ? &st->tensors[slot - 1] : NULL;
}

/* ---- shards ---- */

static smt_status open_shard(smt_st *st, size_t shard, smt_error *err) {
    if (st->file.open && st->open_shard == shard) return SMT_OK;
    if (st->file.open) smt_os_file_close(&st->file);
    st->path.bytes = 0;
    SMT_TRY(smt_str_printf(&st->path, err, "%s/%s", st->folder, st->shards[shard]));
    st->open_shard = shard;
    return smt_os_file_open(st->path.text, &st->file, err);
}

smt_status smt_st_read(smt_st *st, const smt_st_tensor *tensor, uint64_t first_byte, void *out, size_t bytes, smt_error *err) {
    SMT_TRY(open_shard(st, tensor->shard, err));
    return smt_os_file_read(&st->file, st->path.text, tensor->offset + first_byte, out, bytes, err);
}

static smt_status read_header(smt_st *st, const smt_os_file *file, const char *path, const char *shard, smt_error *err) {
    uint8_t length[8];
    uint64_t bytes;
    if (file->n_bytes < sizeof length)
        return SMT_FAIL(err, SMT_FORMAT, "%s has %llu bytes: no safetensors file", path, (unsigned long long)file->n_bytes);
    SMT_TRY(smt_os_file_read(file, path, 0, length, sizeof length, err));
    SMT_TRY(smt_st_header_bytes(shard, length, file->n_bytes, &bytes, err));
    char *header = smt_alloc(bytes, 1);
    if (!header)
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for the header of %s: %llu bytes", path, (unsigned long long)bytes);
    smt_status status = smt_os_file_read(file, path, sizeof length, header, bytes, err);
    if (status == SMT_OK) status = smt_st_add(st, shard, header, bytes, file->n_bytes, err);
    smt_free(header);
    return status;
}

static smt_status load_header(smt_st *st, const char *shard, smt_error *err) {
    smt_str path = {0};
    smt_os_file file = {0};
    SMT_TRY(smt_str_printf(&path, err, "%s/%s", st->folder, shard));
    smt_status status = smt_os_file_open(path.text, &file, err);
    if (status == SMT_OK) {
        status = read_header(st, &file, path.text, shard, err);
        smt_os_file_close(&file);
    }
    smt_str_free(&path);
    return status;
}

/* ---- the index ---- */

static bool is_shard_name(const char *name) {
    size_t bytes = name ? strlen(name) : 0;
    return bytes > 12 && bytes < 256 && name[0] != '.' && !strpbrk(name, "/\\:") && !strstr(name, "..") &&
           strcmp(name + bytes - 12, ".safetensors") == 0;
}

/* The distinct shard names of the index, in order of appearance. */
static smt_status collect_shards(const json_t *map, const char **names, size_t *out_count, smt_error *err) {
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)map, tensor, value) {
        const char *name = json_string_value(value);
        if (!is_shard_name(name))
            return SMT_FAIL(err, SMT_FORMAT, SMT_ST_INDEX ": tensor %.100s: \"%.100s\" is not the name of a safetensors file",
                            tensor, name ? name : "(not a text)");
        size_t i = *out_count;
        while (i > 0 && strcmp(names[i - 1], name) != 0) i--;
        if (i > 0) continue;
        if (*out_count == MAX_SHARDS) return SMT_FAIL(err, SMT_FORMAT, SMT_ST_INDEX " names more than %u files", MAX_SHARDS);
        names[(*out_count)++] = name;
    }
    return SMT_OK;
}

static smt_status refuse_missing_shards(const smt_st *st, const char *const *names, size_t count, smt_error *err) {
    size_t missing = 0, first = 0;
    for (size_t i = count; i-- > 0;) {
        bool there;
        SMT_TRY(smt_convert_find_file(st->folder, names[i], &there, err));
        if (there) continue;
        missing++;
        first = i;
    }
    if (missing == 0) return SMT_OK;
    return SMT_FAIL(err, SMT_IO, "%s: %zu of the %zu shards that " SMT_ST_INDEX " names are missing, the first is %s", st->folder,
                    missing, count, names[first]);
}

/* Each tensor of the index lies in the shard that it names. */
static smt_status check_index(smt_st *st, const json_t *map, smt_error *err) {
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)map, tensor, value) {
        const smt_st_tensor *found = smt_st_find(st, tensor);
        const char *where = found ? st->shards[found->shard] : "no shard";
        if (!found || strcmp(where, json_string_value(value)) != 0)
            return SMT_FAIL(err, SMT_FORMAT, SMT_ST_INDEX " puts tensor %.200s into %s, it is in %s", tensor,
                            json_string_value(value), where);
    }
    return SMT_OK;
}

static smt_status load_indexed(smt_st *st, const json_t *index, smt_error *err) {
    const json_t *map = json_object_get(index, "weight_map");
    const char **names = smt_alloc(MAX_SHARDS, sizeof *names);
    size_t count = 0;
    smt_status status = SMT_OK;
    if (!names)
        status = SMT_FAIL(err, SMT_MEMORY, "out of memory reading " SMT_ST_INDEX);
    else if (json_object_size(map) == 0)
        status = SMT_FAIL(err, SMT_FORMAT, SMT_ST_INDEX ": \"weight_map\" is missing or empty");
    else
        status = collect_shards(map, names, &count, err);
    if (status == SMT_OK) status = refuse_missing_shards(st, names, count, err);
    for (size_t i = 0; i < count && status == SMT_OK; i++) status = load_header(st, names[i], err);
    if (status == SMT_OK) status = smt_st_finish(st, err);
    if (status == SMT_OK) status = check_index(st, map, err);
    smt_free(names);
    return status;
}

smt_status smt_st_open(smt_st *st, const char *folder, smt_error *err) {
    *st = (smt_st){.folder = folder};
    json_t *index;
    SMT_TRY(smt_convert_json_optional(folder, SMT_ST_INDEX, MAX_INDEX, &index, err));
    if (index) {
        smt_status status = load_indexed(st, index, err);
        json_decref(index);
        return status;
    }
    bool there;
    SMT_TRY(smt_convert_find_file(folder, SMT_ST_SINGLE, &there, err));
    if (!there) return SMT_FAIL(err, SMT_NOT_FOUND, "%s has neither " SMT_ST_INDEX " nor " SMT_ST_SINGLE, folder);
    SMT_TRY(load_header(st, SMT_ST_SINGLE, err));
    return smt_st_finish(st, err);
}

void smt_st_close(smt_st *st) {
    if (st->file.open) smt_os_file_close(&st->file);
    smt_str_free(&st->path);
    smt_free(st->slots);
    smt_free(st->tensors);
    smt_free(st->shards);
    smt_arena_free(&st->arena);
    *st = (smt_st){0};
}
