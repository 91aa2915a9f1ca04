/* golden.c: the index with jansson, the arrays in one aligned block that the results point into. */
#include "golden.h"

#include <jansson.h>

struct smt_golden {
    json_t *index;
    uint8_t *bytes; /* owned by aligned_alloc */
    size_t n_bytes;
};

/* The file that the index names, in the index's folder. */
static void read_arrays(smt_golden *golden, const char *json_path) {
    const char *name = json_string_value(json_object_get(golden->index, "golden")), *slash = strrchr(json_path, '/');
    char path[1024];
    if (!name) fail_msg("%s: no \"golden\"", json_path);
    snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash - json_path + 1) : 0, json_path, name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s: cannot be opened", path);
    fseek(file, 0, SEEK_END);
    golden->n_bytes = (size_t)ftell(file);
    rewind(file);
    golden->bytes = malloc(golden->n_bytes);
    assert_non_null(golden->bytes);
    assert_int_equal(fread(golden->bytes, 1, golden->n_bytes, file), golden->n_bytes);
    fclose(file);
}

smt_golden *smt_golden_open(const char *json_path) {
    smt_golden *golden = calloc(1, sizeof *golden);
    assert_non_null(golden);
    json_error_t error;
    golden->index = json_load_file(json_path, 0, &error);
    if (!golden->index) fail_msg("%s: %s", json_path, error.text);
    read_arrays(golden, json_path);
    return golden;
}

void smt_golden_free(smt_golden *golden) {
    if (!golden) return;
    json_decref(golden->index);
    free(golden->bytes);
    free(golden);
}

static void read_entry(const smt_golden *golden, const char *name, const json_t *entry, smt_golden_array *out) {
    size_t count = 1, offset = (size_t)json_integer_value(json_object_get(entry, "offset")), i;
    json_t *shape = json_object_get(entry, "shape"), *dim;
    memset(out, 0, sizeof *out);
    out->n_dims = (uint32_t)json_array_size(shape);
    assert_in_range(out->n_dims, 1, SMT_COUNT(out->dims));
    for (i = 0; i < SMT_COUNT(out->dims); i++) out->dims[i] = 1;
    json_array_foreach(shape, i, dim) count *= out->dims[i] = (size_t)json_integer_value(dim);
    if (offset % 64 || offset > golden->n_bytes || count > (golden->n_bytes - offset) / 4)
        fail_msg("%s: %zu elements at %zu are not in the file", name, count, offset);
    const void *data = golden->bytes + offset;
    if (!strcmp(json_string_value(json_object_get(entry, "dtype")), "i32"))
        out->i32 = data;
    else
        out->f32 = data;
}

bool smt_golden_find(const smt_golden *golden, const char *sequence, const char *name, smt_golden_array *out) {
    char full[256];
    snprintf(full, sizeof full, "%s/%s", sequence, name);
    json_t *arrays = json_object_get(golden->index, "arrays"), *entry;
    size_t i;
    json_array_foreach(arrays, i, entry) {
        if (strcmp(json_string_value(json_object_get(entry, "name")), full)) continue;
        read_entry(golden, full, entry, out);
        return true;
    }
    return false;
}

smt_golden_array smt_golden_f32(const smt_golden *golden, const char *sequence, const char *name) {
    smt_golden_array array;
    if (!smt_golden_find(golden, sequence, name, &array) || !array.f32) fail_msg("no float array %s/%s", sequence, name);
    return array;
}

smt_golden_array smt_golden_i32(const smt_golden *golden, const char *sequence, const char *name) {
    smt_golden_array array;
    if (!smt_golden_find(golden, sequence, name, &array) || !array.i32) fail_msg("no integer array %s/%s", sequence, name);
    return array;
}
