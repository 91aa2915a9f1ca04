/* gguf_get.c: questions to a parsed file: look-up by name, and values of keys in the type that the caller wants.
 *
 * Writers are not of one mind about integer types (u32, u64, i32), so a value is accepted from any integer type that holds it.
 * Values are copied out: in the arena they lie as in the file, where nothing is aligned. */
#include "gguf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bytes;
} kinds[] = {
    [SMT_GGUF_U8] = {"u8", 1},       [SMT_GGUF_I8] = {"i8", 1},     [SMT_GGUF_U16] = {"u16", 2},
    [SMT_GGUF_I16] = {"i16", 2},     [SMT_GGUF_U32] = {"u32", 4},   [SMT_GGUF_I32] = {"i32", 4},
    [SMT_GGUF_F32] = {"f32", 4},     [SMT_GGUF_BOOL] = {"bool", 1}, [SMT_GGUF_STRING] = {"string", 0},
    [SMT_GGUF_ARRAY] = {"array", 0}, [SMT_GGUF_U64] = {"u64", 8},   [SMT_GGUF_I64] = {"i64", 8},
    [SMT_GGUF_F64] = {"f64", 8},
};

const char *smt_gguf_kind_name(smt_gguf_kind kind) { return (unsigned)kind < SMT_COUNT(kinds) ? kinds[kind].name : "unknown"; }

uint32_t smt_gguf_kind_bytes(uint32_t kind) { return kind < SMT_COUNT(kinds) ? kinds[kind].bytes : 0; }

/* ---- the directory ---- */

uint32_t smt_gguf_part_count(const smt_gguf *gguf) { return gguf->n_parts; }

static const smt_gguf *part_at(const smt_gguf *gguf, uint32_t part) {
    if (part >= gguf->n_parts) return NULL;
    return part == 0 ? gguf : gguf->others[part - 1];
}

const char *smt_gguf_part_path(const smt_gguf *gguf, uint32_t part) {
    const smt_gguf *one = part_at(gguf, part);
    return one ? one->path : NULL;
}

uint64_t smt_gguf_part_bytes(const smt_gguf *gguf, uint32_t part) {
    const smt_gguf *one = part_at(gguf, part);
    return one ? one->n_bytes : 0;
}

uint64_t smt_gguf_key_count(const smt_gguf *gguf) { return gguf->n_keys; }

const smt_gguf_key *smt_gguf_key_at(const smt_gguf *gguf, uint64_t index) {
    return index < gguf->n_keys ? &gguf->keys[index] : NULL;
}

uint64_t smt_gguf_tensor_count(const smt_gguf *gguf) { return gguf->n_tensors; }

const smt_gguf_tensor *smt_gguf_tensor_at(const smt_gguf *gguf, uint64_t index) {
    return index < gguf->n_tensors ? &gguf->tensors[index] : NULL;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const smt_gguf_name *)a)->name, ((const smt_gguf_name *)b)->name);
}

const smt_gguf_name *smt_gguf_sort_names(smt_gguf_name *names, size_t n) {
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1].name, names[i].name) == 0) return &names[i - 1];
    return NULL;
}

static const smt_gguf_name *bisect(const smt_gguf_name *names, size_t n, const char *name) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(names[middle].name, name);
        if (order == 0) return &names[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const smt_gguf_key *smt_gguf_find(const smt_gguf *gguf, const char *name) {
    const smt_gguf_name *found = bisect(gguf->key_names, gguf->n_keys, name);
    return found ? &gguf->keys[found->index] : NULL;
}

const smt_gguf_tensor *smt_gguf_find_tensor(const smt_gguf *gguf, const char *name) {
    const smt_gguf_name *found = bisect(gguf->tensor_names, gguf->n_tensors, name);
    return found ? &gguf->tensors[found->index] : NULL;
}

/* ---- values ---- */

/* Element i of an integer or boolean key. A u64 beyond INT64_MAX sets *huge. False: not an integer type. */
static bool load_int(const smt_gguf_key *key, uint64_t i, int64_t *out, bool *huge) {
    const uint8_t *at = key->data + i * smt_gguf_kind_bytes((uint32_t)key->element_kind);
    union {
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } v;
    *huge = false;
    switch (key->element_kind) {
    case SMT_GGUF_U8:
    case SMT_GGUF_BOOL:
        *out = *at;
        return true;
    case SMT_GGUF_I8:
        memcpy(&v.i8, at, 1);
        *out = v.i8;
        return true;
    case SMT_GGUF_U16:
        memcpy(&v.u16, at, 2);
        *out = v.u16;
        return true;
    case SMT_GGUF_I16:
        memcpy(&v.i16, at, 2);
        *out = v.i16;
        return true;
    case SMT_GGUF_U32:
        memcpy(&v.u32, at, 4);
        *out = v.u32;
        return true;
    case SMT_GGUF_I32:
        memcpy(&v.i32, at, 4);
        *out = v.i32;
        return true;
    case SMT_GGUF_I64:
        memcpy(&v.i64, at, 8);
        *out = v.i64;
        return true;
    case SMT_GGUF_U64:
        memcpy(&v.u64, at, 8);
        *huge = v.u64 > INT64_MAX;
        *out = *huge ? INT64_MAX : (int64_t)v.u64;
        return true;
    case SMT_GGUF_F32:
    case SMT_GGUF_F64:
    case SMT_GGUF_STRING:
    case SMT_GGUF_ARRAY:
        return false;
    }
    return false;
}

static bool load_float(const smt_gguf_key *key, uint64_t i, double *out) {
    float single;
    if (key->element_kind == SMT_GGUF_F32) {
        memcpy(&single, key->data + i * 4, 4);
        *out = single;
        return true;
    }
    if (key->element_kind == SMT_GGUF_F64) {
        memcpy(out, key->data + i * 8, 8);
        return true;
    }
    return false;
}

static smt_status wrong_type(const smt_gguf_key *key, const char *wanted, smt_error *err) {
    bool array = key->kind == SMT_GGUF_ARRAY;
    return SMT_FAIL(err, SMT_FORMAT, "key %.100s is %s%s, %s is wanted", key->name, array ? "an array of " : "of type ",
                    smt_gguf_kind_name(key->element_kind), wanted);
}

/* The key, or NULL with *found = false. */
static const smt_gguf_key *look_up(const smt_gguf *gguf, const char *name, bool *found) {
    const smt_gguf_key *key = smt_gguf_find(gguf, name);
    if (found) *found = key != NULL;
    return key;
}

smt_status smt_gguf_u32(const smt_gguf *gguf, const char *name, uint32_t *out, bool *found, smt_error *err) {
    const smt_gguf_key *key = look_up(gguf, name, found);
    if (!key) return SMT_OK;
    int64_t value;
    bool huge;
    if (key->kind == SMT_GGUF_ARRAY || key->kind == SMT_GGUF_BOOL || !load_int(key, 0, &value, &huge))
        return wrong_type(key, "an integer", err);
    if (huge) return SMT_FAIL(err, SMT_FORMAT, "key %s exceeds 2^63, 0 to 4294967295 is allowed", name);
    if (value < 0 || value > UINT32_MAX)
        return SMT_FAIL(err, SMT_FORMAT, "key %s is %" PRId64 ", 0 to 4294967295 is allowed", name, value);
    *out = (uint32_t)value;
    return SMT_OK;
}

smt_status smt_gguf_f32(const smt_gguf *gguf, const char *name, float *out, bool *found, smt_error *err) {
    const smt_gguf_key *key = look_up(gguf, name, found);
    if (!key) return SMT_OK;
    double value;
    if (key->kind == SMT_GGUF_ARRAY || !load_float(key, 0, &value)) return wrong_type(key, "a floating-point number", err);
    *out = (float)value;
    return SMT_OK;
}

smt_status smt_gguf_bool(const smt_gguf *gguf, const char *name, bool *out, bool *found, smt_error *err) {
    const smt_gguf_key *key = look_up(gguf, name, found);
    if (!key) return SMT_OK;
    if (key->kind != SMT_GGUF_BOOL) return wrong_type(key, "a boolean", err);
    *out = key->data[0] != 0;
    return SMT_OK;
}

smt_status smt_gguf_text(const smt_gguf *gguf, const char *name, smt_gguf_string *out, bool *found, smt_error *err) {
    const smt_gguf_key *key = look_up(gguf, name, found);
    if (!key) return SMT_OK;
    if (key->kind != SMT_GGUF_STRING) return wrong_type(key, "a string", err);
    *out = key->strings[0];
    return SMT_OK;
}

float smt_gguf_array_f32(const smt_gguf_key *key, uint64_t i) {
    double value = 0;
    return load_float(key, i, &value) ? (float)value : (float)smt_gguf_array_int(key, i);
}

int64_t smt_gguf_array_int(const smt_gguf_key *key, uint64_t i) {
    int64_t value = 0;
    bool huge;
    return load_int(key, i, &value, &huge) ? value : 0;
}
