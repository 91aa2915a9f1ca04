/* convert_json.c: JSON files of a checkpoint as jansson values, within limits, and typed reads from their objects.
 *
 * Limits come before the parser: a file is refused by its size before it is read, and by its nesting before it is parsed. All
 * numbers are read as doubles, since real files hold whole numbers beyond 64 bits ("model_max_length"); whole numbers that
 * matter here are far below 2^53, and a read checks that. A null counts as absent, as those who write these files mean it.
 * jansson takes its memory from the C library: changing its allocator would change it for the host program too. */
#include "convert_internal.h"
#include "os/os.h"

#include <math.h>
#include <string.h>

#define MAX_DEPTH 64 /* real files have 8 */

static bool too_deep(const char *text, size_t bytes) {
    unsigned depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\') i++;
            if (c == '"') quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH) return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

smt_status smt_convert_json_parse(const char *label, const char *text, size_t bytes, json_t **out, smt_error *err) {
    *out = NULL;
    if (too_deep(text, bytes)) return SMT_FAIL(err, SMT_FORMAT, "%s: brackets nest more than %d deep", label, MAX_DEPTH);
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (!root) {
        smt_status code = json_error_code(&error) == json_error_out_of_memory ? SMT_MEMORY : SMT_FORMAT;
        return SMT_FAIL(err, code, "%s: line %d, column %d: %s", label, error.line, error.column, error.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return SMT_FAIL(err, SMT_FORMAT, "%s: an object is wanted at the top", label);
    }
    *out = root;
    return SMT_OK;
}

smt_status smt_convert_find_file(const char *folder, const char *name, bool *out, smt_error *err) {
    smt_str path = {0};
    *out = false;
    SMT_TRY(smt_str_printf(&path, err, "%s/%s", folder, name));
    *out = smt_os_same_file(path.text, path.text); /* it exists */
    smt_str_free(&path);
    return SMT_OK;
}

/* All of an open file, NUL-terminated. */
static smt_status read_text(const smt_os_file *file, const char *path, size_t limit, smt_str *out, smt_error *err) {
    if (file->n_bytes > limit)
        return SMT_FAIL(err, SMT_FORMAT, "%s has %llu bytes, at most %zu are accepted", path, (unsigned long long)file->n_bytes,
                        limit);
    size_t bytes = (size_t)file->n_bytes;
    SMT_TRY(smt_grow((void **)&out->text, &out->capacity, bytes + 1, 1, err));
    SMT_TRY(smt_os_file_read(file, path, 0, out->text, bytes, err));
    out->bytes = bytes;
    out->text[bytes] = 0;
    return SMT_OK;
}

smt_status smt_convert_text_load(const char *folder, const char *name, size_t limit, smt_str *out, smt_error *err) {
    smt_str path = {0};
    smt_os_file file = {0};
    SMT_TRY(smt_str_printf(&path, err, "%s/%s", folder, name));
    smt_status status = smt_os_file_open(path.text, &file, err);
    if (status == SMT_OK) {
        status = read_text(&file, path.text, limit, out, err);
        smt_os_file_close(&file);
    }
    smt_str_free(&path);
    return status;
}

smt_status smt_convert_json_load(const char *folder, const char *name, size_t limit, json_t **out, smt_error *err) {
    smt_str text = {0};
    *out = NULL;
    smt_status status = smt_convert_text_load(folder, name, limit, &text, err);
    if (status == SMT_OK) status = smt_convert_json_parse(name, text.text, text.bytes, out, err);
    smt_str_free(&text);
    return status;
}

smt_status smt_convert_json_optional(const char *folder, const char *name, size_t limit, json_t **out, smt_error *err) {
    bool there;
    *out = NULL;
    SMT_TRY(smt_convert_find_file(folder, name, &there, err));
    return there ? smt_convert_json_load(folder, name, limit, out, err) : SMT_OK;
}

/* ---- typed reads ---- */

json_t *smt_convert_value(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static smt_status missing(const char *label, const char *key, smt_error *err) {
    return SMT_FAIL(err, SMT_FORMAT, "%s: \"%s\" is missing", label, key);
}

smt_status smt_convert_f64(const char *label, const json_t *object, const char *key, double low, double high, bool required,
                           double *out, smt_error *err) {
    const json_t *value = smt_convert_value(object, key);
    if (!value) return required ? missing(label, key, err) : SMT_OK;
    if (!json_is_number(value)) return SMT_FAIL(err, SMT_FORMAT, "%s: \"%s\" is not a number", label, key);
    double number = json_number_value(value);
    if (!(number >= low && number <= high))
        return SMT_FAIL(err, SMT_FORMAT, "%s: \"%s\" is %g, it must lie within %g and %g", label, key, number, low, high);
    *out = number;
    return SMT_OK;
}

smt_status smt_convert_u32(const char *label, const json_t *object, const char *key, uint32_t low, uint32_t high, bool required,
                           uint32_t *out, smt_error *err) {
    double number = *out;
    SMT_TRY(smt_convert_f64(label, object, key, low, high, required, &number, err));
    if (number != floor(number))
        return SMT_FAIL(err, SMT_FORMAT, "%s: \"%s\" is %g, a whole number is wanted", label, key, number);
    *out = (uint32_t)number;
    return SMT_OK;
}

bool smt_convert_u64_of(const json_t *value, uint64_t *out) {
    double number = json_is_number(value) ? json_number_value(value) : -1;
    if (!(number >= 0 && number <= 0x1p53) || number != floor(number)) return false;
    *out = (uint64_t)number;
    return true;
}

smt_status smt_convert_bool(const char *label, const json_t *object, const char *key, bool *out, bool *found, smt_error *err) {
    const json_t *value = smt_convert_value(object, key);
    if (found) *found = value != NULL;
    if (!value) return SMT_OK;
    if (!json_is_boolean(value)) return SMT_FAIL(err, SMT_FORMAT, "%s: \"%s\" is neither true nor false", label, key);
    *out = json_is_true(value);
    return SMT_OK;
}

smt_status smt_convert_text(const char *label, const json_t *object, const char *key, const char **out, smt_error *err) {
    const json_t *value = smt_convert_value(object, key);
    if (!value) return SMT_OK;
    if (!json_is_string(value)) return SMT_FAIL(err, SMT_FORMAT, "%s: \"%s\" is not a text", label, key);
    *out = json_string_value(value);
    return SMT_OK;
}

bool smt_convert_is(const char *text, const char *word) { return text && strcmp(text, word) == 0; }
