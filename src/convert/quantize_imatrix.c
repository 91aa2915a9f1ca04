/* quantize_imatrix.c: importance matrices: how much each input column of a matrix counted while a model read some text.
 *
 * Two forms exist, told apart by their first bytes, and both come to one list here: tensor name and one number per column,
 * plane after plane for expert tensors.
 *
 *   GGUF   per matrix NAME the tensors NAME.in_sum2 [columns, planes] (sums of squared inputs) and NAME.counts [1, planes];
 *          importance = sum / count. A plane that saw no input (count 0) counts evenly: 1.
 *   .dat   i32 n, then n times: i32 length, name, i32 calls, i32 values, f32 each; importance = value / calls.
 *          Behind them may stand i32 chunks and the name of the text.
 *
 * Invariants
 *   1. Nothing is read that the file does not hold; memory never exceeds what the file's size warrants.
 *   2. Every value kept is finite and not negative. */
#include "quantize_internal.h"
#include "os/os.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct smt_imatrix {
    smt_arena names;
    smt_imatrix_entry *entries; /* owned with their values; in the order of their names once read */
    size_t n, capacity;
    uint32_t n_chunks;
};

void smt_imatrix_free(smt_imatrix *imatrix) {
    if (!imatrix) return;
    for (size_t i = 0; i < imatrix->n; i++) smt_free(imatrix->entries[i].values);
    smt_free(imatrix->entries);
    smt_arena_free(&imatrix->names);
    smt_free(imatrix);
}

/* A new entry of n zeros; the name is cut out of memory that need not be terminated. NULL: failed. */
static smt_imatrix_entry *add_entry(smt_imatrix *imatrix, const char *label, const char *name, size_t name_bytes, uint64_t n,
                                    smt_error *err) {
    if (smt_grow((void **)&imatrix->entries, &imatrix->capacity, imatrix->n + 1, sizeof *imatrix->entries, err) != SMT_OK)
        return NULL;
    smt_imatrix_entry *entry = &imatrix->entries[imatrix->n];
    *entry = (smt_imatrix_entry){.name = smt_arena_strndup(&imatrix->names, name, name_bytes),
                                 .values = n <= SIZE_MAX ? smt_alloc((size_t)n, sizeof *entry->values) : NULL,
                                 .n = n};
    if (entry->name && entry->values) {
        imatrix->n++;
        return entry;
    }
    smt_free(entry->values);
    smt_base_fail(err, SMT_MEMORY, __FILE__, __LINE__, "%.200s: out of memory for %" PRIu64 " importances", label, n);
    return NULL;
}

static smt_status check_value(const char *label, const char *name, uint64_t i, float value, smt_error *err) {
    if (isfinite(value) && value >= 0) return SMT_OK;
    return SMT_FAIL(err, SMT_FORMAT, "%.200s: importance %" PRIu64 " of %.100s is %g; finite numbers from 0 on are allowed",
                    label, i, name, (double)value);
}

/* ---- the GGUF form ---- */

static float load_f32(const uint8_t *data, uint64_t i) {
    float value;
    memcpy(&value, data + i * sizeof value, sizeof value);
    return value;
}

static smt_status take_pair(smt_imatrix *imatrix, const char *label, const smt_gguf_tensor *sums, size_t stem_bytes,
                            const smt_gguf_tensor *counts, smt_error *err) {
    const uint64_t columns = sums->ne[0], planes = sums->ne[1] * sums->ne[2] * sums->ne[3];
    if (sums->type != SMT_DTYPE_F32 || counts->type != SMT_DTYPE_F32 || counts->bytes != planes * sizeof(float))
        return SMT_FAIL(err, SMT_FORMAT,
                        "%.200s: %s is %" PRIu64 " x %" PRIu64 " and has counts of %" PRIu64
                        " bytes; F32 and one count for each of the %" PRIu64 " planes are wanted",
                        label, sums->name, columns, planes, counts->bytes, planes);
    smt_imatrix_entry *entry = add_entry(imatrix, label, sums->name, stem_bytes, columns * planes, err);
    if (!entry) return SMT_MEMORY;
    SMT_TRY(smt_gguf_tensor_read(sums, 0, entry->values, sums->bytes, err));
    for (uint64_t plane = 0; plane < planes; plane++) {
        float count, *values = entry->values + plane * columns;
        SMT_TRY(smt_gguf_tensor_read(counts, plane * sizeof count, &count, sizeof count, err));
        for (uint64_t i = 0; i < columns; i++) {
            values[i] = count > 0 ? values[i] / count : 1;
            SMT_TRY(check_value(label, entry->name, plane * columns + i, values[i], err));
        }
    }
    return SMT_OK;
}

static smt_status read_gguf(smt_imatrix *imatrix, const smt_gguf *gguf, const char *label, smt_error *err) {
    static const char sums_end[] = ".in_sum2", counts_end[] = ".counts";
    for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
        const smt_gguf_tensor *sums = smt_gguf_tensor_at(gguf, i);
        size_t bytes = strlen(sums->name), tail = sizeof sums_end - 1;
        if (bytes <= tail || strcmp(sums->name + bytes - tail, sums_end)) continue;
        char name[96]; /* tensor names have 63 bytes at most */
        memcpy(name, sums->name, bytes - tail);
        memcpy(name + bytes - tail, counts_end, sizeof counts_end);
        const smt_gguf_tensor *counts = smt_gguf_find_tensor(gguf, name);
        if (!counts) return SMT_FAIL(err, SMT_FORMAT, "%.200s: %s has no %s", label, sums->name, name);
        SMT_TRY(take_pair(imatrix, label, sums, bytes - tail, counts, err));
    }
    return smt_gguf_u32(gguf, "imatrix.chunk_count", &imatrix->n_chunks, NULL, err);
}

/* ---- the .dat form ---- */

typedef struct cursor {
    const uint8_t *at;
    size_t left;
} cursor;

/* False where the file ends before. */
static bool take_i32(cursor *c, int32_t *out) {
    if (c->left < sizeof *out) return false;
    memcpy(out, c->at, sizeof *out);
    c->at += sizeof *out;
    c->left -= sizeof *out;
    return true;
}

static smt_status read_entry(smt_imatrix *imatrix, cursor *c, int32_t index, const char *label, smt_error *err) {
    int32_t length = 0, calls = 0, n = 0;
    if (!take_i32(c, &length) || length < 1 || length > 4096 || (size_t)length > c->left)
        return SMT_FAIL(err, SMT_FORMAT, "%.200s: entry %d has a name of %d bytes, %zu are left in the file", label, index,
                        length, c->left);
    const char *name = (const char *)c->at;
    c->at += length;
    c->left -= (size_t)length;
    if (!take_i32(c, &calls) || !take_i32(c, &n) || n < 1 || (size_t)n > c->left / sizeof(float))
        return SMT_FAIL(err, SMT_FORMAT, "%.200s: entry %d claims %d values, %zu bytes are left in the file", label, index, n,
                        c->left);
    smt_imatrix_entry *entry = add_entry(imatrix, label, name, (size_t)length, (uint64_t)n, err);
    if (!entry) return SMT_MEMORY;
    for (int32_t i = 0; i < n; i++) {
        entry->values[i] = load_f32(c->at, (uint64_t)i) / (float)(calls > 0 ? calls : 1);
        SMT_TRY(check_value(label, entry->name, (uint64_t)i, entry->values[i], err));
    }
    c->at += (size_t)n * sizeof(float);
    c->left -= (size_t)n * sizeof(float);
    return SMT_OK;
}

static smt_status read_dat(smt_imatrix *imatrix, cursor c, const char *label, smt_error *err) {
    int32_t n = 0, n_chunks = 0;
    if (!take_i32(&c, &n) || n < 1)
        return SMT_FAIL(err, SMT_FORMAT, "%.200s: neither a GGUF file nor an importance matrix (it claims %d entries)", label, n);
    for (int32_t i = 0; i < n; i++) SMT_TRY(read_entry(imatrix, &c, i, label, err));
    if (take_i32(&c, &n_chunks) && n_chunks > 0) imatrix->n_chunks = (uint32_t)n_chunks;
    return SMT_OK;
}

/* ---- the list ---- */

static int compare(const void *a, const void *b) {
    return strcmp(((const smt_imatrix_entry *)a)->name, ((const smt_imatrix_entry *)b)->name);
}

static smt_status sort_entries(smt_imatrix *imatrix, const char *label, smt_error *err) {
    if (imatrix->n == 0) return SMT_FAIL(err, SMT_FORMAT, "%.200s holds no importances (*.in_sum2 tensors)", label);
    qsort(imatrix->entries, imatrix->n, sizeof *imatrix->entries, compare);
    for (size_t i = 1; i < imatrix->n; i++)
        if (!compare(&imatrix->entries[i - 1], &imatrix->entries[i]))
            return SMT_FAIL(err, SMT_FORMAT, "%.200s: %.100s occurs twice", label, imatrix->entries[i].name);
    return SMT_OK;
}

static smt_status read_bytes(smt_imatrix *imatrix, const void *bytes, size_t n_bytes, const char *label, smt_error *err) {
    if (n_bytes < 4 || memcmp(bytes, "GGUF", 4) != 0) return read_dat(imatrix, (cursor){bytes, n_bytes}, label, err);
    smt_gguf *gguf;
    SMT_TRY(smt_gguf_parse(bytes, n_bytes, label, &gguf, err));
    smt_status status = read_gguf(imatrix, gguf, label, err);
    smt_gguf_free(gguf);
    return status;
}

smt_status smt_imatrix_parse(const void *bytes, size_t n_bytes, const char *label, smt_imatrix **out, smt_error *err) {
    *out = NULL;
    smt_imatrix *imatrix = smt_alloc(1, sizeof *imatrix);
    if (!imatrix) return SMT_FAIL(err, SMT_MEMORY, "%.200s: out of memory", label);
    smt_status status = read_bytes(imatrix, bytes, n_bytes, label, err);
    if (status == SMT_OK) status = sort_entries(imatrix, label, err);
    if (status == SMT_OK)
        *out = imatrix;
    else
        smt_imatrix_free(imatrix);
    return status;
}

smt_status smt_imatrix_open(const char *path, smt_imatrix **out, smt_error *err) {
    *out = NULL;
    char *bytes;
    size_t n_bytes;
    SMT_TRY(smt_os_read_file(path, &bytes, &n_bytes, err));
    smt_status status = smt_imatrix_parse(bytes, n_bytes, path, out, err);
    smt_free(bytes);
    return status;
}

const smt_imatrix_entry *smt_imatrix_find(const smt_imatrix *imatrix, const char *name) {
    smt_imatrix_entry wanted = {.name = name};
    return bsearch(&wanted, imatrix->entries, imatrix->n, sizeof wanted, compare);
}

size_t smt_imatrix_count(const smt_imatrix *imatrix) { return imatrix->n; }

uint32_t smt_imatrix_chunks(const smt_imatrix *imatrix) { return imatrix->n_chunks; }
