/* gguf_file.c: where the bytes come from: one file, the parts of a set, or memory; and what happens when they are not there any more.
 *
 * A set is files PREFIX-00001-of-00003.gguf and so on, each a whole GGUF file with its own alignment and tensors. The first one carries
 * the model's keys; all have
 *
 *   split.no (from 0)     split.count     split.tensors.count (all parts together)
 *
 * Not to be mistaken for files that were cut by bytes ("model.gguf.part1of2"): their pieces hold no header, except the first.
 *
 * Descriptors: a file that stands alone keeps its one, so that it may be renamed or deleted while it is in use. Of a set the first
 * HELD_PARTS keep theirs; a later part is opened for each read, and must then be the file that it was. */
#include "gguf_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HELD_PARTS 64

/* ---- tensor data ---- */

/* The file of a part whose descriptor was given back. */
static smt_status read_reopened(const smt_gguf *gguf, uint64_t offset, void *out, uint64_t bytes, smt_error *err) {
    smt_os_file file;
    SMT_TRY(smt_os_file_open(gguf->path, &file, err));
    smt_status status = smt_os_file_same(&file, &gguf->file)
                            ? smt_os_file_read(&file, gguf->path, offset, out, bytes, err)
                            : SMT_FAIL(err, SMT_IO, "%.200s has changed since it was opened", gguf->path);
    smt_os_file_close(&file);
    return status;
}

smt_status smt_gguf_source_read(const smt_gguf *gguf, uint64_t offset, void *out, uint64_t bytes, smt_error *err) {
    if (gguf->bytes) {
        memcpy(out, gguf->bytes + offset, (size_t)bytes);
        return SMT_OK;
    }
    if (!gguf->file.open) return read_reopened(gguf, offset, out, bytes, err);
    return smt_os_file_read(&gguf->file, gguf->path, offset, out, bytes, err);
}

smt_status smt_gguf_tensor_read(const smt_gguf_tensor *tensor, uint64_t from, void *out, uint64_t bytes, smt_error *err) {
    if (from > tensor->bytes || bytes > tensor->bytes - from)
        return SMT_FAIL(err, SMT_INTERNAL, "tensor %s: bytes %" PRIu64 " to %" PRIu64 " of %" PRIu64, tensor->name, from,
                        from + bytes, tensor->bytes);
    return smt_gguf_source_read(tensor->source, tensor->offset + from, out, bytes, err);
}

void smt_gguf_tensor_expect(const smt_gguf_tensor *tensor, uint64_t from, uint64_t bytes) {
    const smt_gguf *source = tensor->source;
    if (source->file.open && from < tensor->bytes)
        smt_os_file_expect(&source->file, tensor->offset + from, smt_min_u64(bytes, tensor->bytes - from));
}

/* ---- names of parts ---- */

typedef struct part_name {
    int prefix; /* bytes before "-00001-of-00003.gguf" */
    uint32_t number, count;
} part_name;

static bool five_digits(const char *text, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *out = *out * 10 + (uint32_t)(text[i] - '0');
    }
    return true;
}

/* False where the path does not end as that of a part does. */
static bool parse_name(const char *path, part_name *out) {
    static const char form[] = "-00001-of-00003.gguf";
    size_t length = strlen(path), tail = sizeof form - 1;
    if (length < tail) return false;
    const char *end = path + length - tail;
    out->prefix = (int)(length - tail);
    return end[0] == '-' && five_digits(end + 1, &out->number) && !memcmp(end + 6, "-of-", 4) &&
           five_digits(end + 10, &out->count) && !strcmp(end + 15, ".gguf") && out->number >= 1 && out->number <= out->count;
}

/* Whether a file that cannot be read as GGUF is likely a piece of one that was cut by bytes: a piece after the first has no header, and
 * the first ends too early. Their names go on after ".gguf" (.part1of2, .part-aa, -split-b, .002), or look like those of parts while the
 * keys of parts are absent. */
static bool is_piece(const smt_gguf *gguf) {
    const char *rest = NULL;
    for (const char *at = gguf->path; (at = strstr(at, ".gguf")); at++) rest = at + 5;
    if (rest && *rest && smt_os_base_name(rest) == rest) {
        char last = rest[strlen(rest) - 1];
        if (strstr(rest, "part") || strstr(rest, "split") || (last >= '0' && last <= '9')) return true;
    }
    part_name name;
    if (!parse_name(gguf->path, &name) || name.count == 1) return false;
    return !gguf->magic || (gguf->key_names && !smt_gguf_find(gguf, "split.count"));
}

/* ---- one file ---- */

/* Takes over *file. */
static smt_status read_source(const uint8_t *bytes, smt_os_file *file, uint64_t n_bytes, const char *path, smt_gguf **out,
                              smt_error *err) {
    *out = NULL;
    smt_gguf *gguf = smt_alloc(1, sizeof *gguf);
    if (!gguf) {
        smt_os_file_close(file);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory opening %s", path);
    }
    gguf->bytes = bytes;
    gguf->file = *file;
    gguf->n_bytes = n_bytes;
    gguf->n_parts = 1;
    gguf->path = smt_strdup(path);
    smt_error why = {0};
    smt_status status =
        gguf->path ? smt_gguf_read_header(gguf, &why) : SMT_FAIL(&why, SMT_MEMORY, "out of memory opening %s", path);
    if (status == SMT_FORMAT && is_piece(gguf))
        status = SMT_FAIL(err, SMT_FORMAT,
                          "%.200s seems to be a piece of a file that was cut by bytes: join all pieces in their order "
                          "(cat PIECE1 PIECE2 ... > WHOLE.gguf) and open the whole. As it stands: %.200s",
                          path, why.message);
    else if (status != SMT_OK && err)
        *err = why;
    if (status == SMT_OK)
        *out = gguf;
    else
        smt_gguf_free(gguf);
    return status;
}

static smt_status open_one(const char *path, smt_gguf **out, smt_error *err) {
    *out = NULL;
    smt_os_file file;
    SMT_TRY(smt_os_file_open(path, &file, err));
    if (file.n_bytes > 0) return read_source(NULL, &file, file.n_bytes, path, out, err);
    smt_os_file_close(&file);
    return SMT_FAIL(err, SMT_FORMAT, "%s is empty", path);
}

smt_status smt_gguf_parse(const void *bytes, size_t n_bytes, const char *label, smt_gguf **out, smt_error *err) {
    return read_source(bytes, &(smt_os_file){0}, n_bytes, label, out, err);
}

void smt_gguf_free(smt_gguf *gguf) {
    if (!gguf) return;
    for (uint32_t i = 0; gguf->others && i + 1 < gguf->n_parts; i++) smt_gguf_free(gguf->others[i]);
    smt_free(gguf->others);
    smt_free(gguf->keys);
    smt_free(gguf->key_names);
    smt_free(gguf->tensors);
    smt_free(gguf->tensor_names);
    smt_free(gguf->path);
    smt_arena_free(&gguf->arena);
    smt_os_file_close(&gguf->file);
    smt_free(gguf);
}

/* ---- sets ---- */

static smt_status need_key(const smt_gguf *gguf, const char *name, uint32_t *out, smt_error *err) {
    bool found;
    SMT_TRY(smt_gguf_u32(gguf, name, out, &found, err));
    return found ? SMT_OK
                 : SMT_FAIL(err, SMT_FORMAT, "%.200s: key %s is missing, which every part of a set has", gguf->path, name);
}

static smt_status check_part(const smt_gguf *part, uint32_t index, uint32_t n_parts, smt_error *err) {
    uint32_t number = 0, count = 0;
    SMT_TRY(need_key(part, "split.no", &number, err));
    SMT_TRY(need_key(part, "split.count", &count, err));
    if (count != n_parts)
        return SMT_FAIL(err, SMT_FORMAT, "%.200s: split.count is %u, the set has %u parts", part->path, count, n_parts);
    if (number != index)
        return SMT_FAIL(err, SMT_FORMAT, "%.200s: split.no is %u where part %u of the set has %u: was a file renamed?",
                        part->path, number, index + 1, index);
    return SMT_OK;
}

/* Lists the tensors of all parts in the first, and compares their number with what the set was made of. */
static smt_status gather_tensors(smt_gguf *set, smt_error *err) {
    uint32_t wanted = 0;
    for (uint32_t i = 1; i < set->n_parts; i++) {
        const smt_gguf *part = set->others[i - 1];
        size_t n = set->n_tensors + part->n_tensors;
        SMT_TRY(smt_grow((void **)&set->tensors, &set->tensor_capacity, n, sizeof *set->tensors, err));
        for (size_t j = 0; j < part->n_tensors; j++) {
            smt_gguf_tensor *tensor = &set->tensors[set->n_tensors++];
            *tensor = part->tensors[j];
            tensor->part = i;
        }
    }
    SMT_TRY(smt_gguf_index_tensors(set, err));
    SMT_TRY(need_key(set, "split.tensors.count", &wanted, err));
    if (set->n_tensors != wanted)
        return SMT_FAIL(err, SMT_FORMAT, "%.200s: split.tensors.count is %u, the %u parts hold %zu tensors", set->path, wanted,
                        set->n_parts, set->n_tensors);
    return SMT_OK;
}

smt_status smt_gguf_join(smt_gguf *const *parts, uint32_t n_parts, smt_gguf **out, smt_error *err) {
    *out = NULL;
    smt_gguf *set = parts[0];
    if (n_parts == 1) {
        *out = set;
        return SMT_OK;
    }
    smt_gguf **others = smt_alloc(n_parts - 1, sizeof *others);
    if (!others) {
        for (uint32_t i = 0; i < n_parts; i++) smt_gguf_free(parts[i]);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u parts", n_parts);
    }
    memcpy(others, parts + 1, (n_parts - 1) * sizeof *others);
    set->others = others;
    set->n_parts = n_parts;
    smt_status status = SMT_OK;
    for (uint32_t i = 0; status == SMT_OK && i < n_parts; i++) status = check_part(parts[i], i, n_parts, err);
    if (status == SMT_OK) status = gather_tensors(set, err);
    if (status == SMT_OK)
        *out = set;
    else
        smt_gguf_free(set);
    return status;
}

static smt_status open_part(const char *path, const part_name *name, uint32_t index, smt_gguf **out, smt_error *err) {
    smt_str text = {0};
    smt_error why = {0};
    SMT_TRY(smt_str_printf(&text, err, "%.*s-%05u-of-%05u.gguf", name->prefix, path, index + 1, name->count));
    smt_status status = open_one(text.text, out, &why);
    if (status == SMT_IO)
        status = SMT_FAIL(err, SMT_IO, "part %u of the %u of this model is missing or cannot be read: %.400s", index + 1,
                          name->count, why.message);
    else if (status != SMT_OK && err)
        *err = why;
    smt_str_free(&text);
    return status;
}

/* All parts of the set that `given` is one of, which is taken over. */
static smt_status open_set(smt_gguf *given, uint32_t n_parts, smt_gguf **out, smt_error *err) {
    part_name name = {0};
    smt_gguf **parts = NULL;
    smt_status status = SMT_OK;
    if (!parse_name(given->path, &name))
        status =
            SMT_FAIL(err, SMT_FORMAT,
                     "%.200s is one of %u parts, but it is not named PREFIX-00001-of-%05u.gguf, so the others cannot be found",
                     given->path, n_parts, n_parts);
    else if (name.count != n_parts)
        status = SMT_FAIL(err, SMT_FORMAT, "%.200s: split.count is %u, the name says %u", given->path, n_parts, name.count);
    else if (!(parts = smt_alloc(n_parts, sizeof *parts)))
        status = SMT_FAIL(err, SMT_MEMORY, "out of memory for %u parts", n_parts);
    if (status != SMT_OK) {
        smt_gguf_free(given);
        return status;
    }
    parts[name.number - 1] = given;
    for (uint32_t i = 0; status == SMT_OK && i < n_parts; i++) {
        if (!parts[i]) status = open_part(given->path, &name, i, &parts[i], err);
        if (status == SMT_OK && i >= HELD_PARTS) smt_os_file_close(&parts[i]->file);
    }
    if (status == SMT_OK)
        status = smt_gguf_join(parts, n_parts, out, err);
    else
        for (uint32_t i = 0; i < n_parts; i++) smt_gguf_free(parts[i]);
    smt_free(parts);
    return status;
}

smt_status smt_gguf_open(const char *path, smt_gguf **out, smt_error *err) {
    *out = NULL;
    smt_gguf *given;
    uint32_t n_parts = 1;
    SMT_TRY(open_one(path, &given, err));
    smt_status status = smt_gguf_u32(given, "split.count", &n_parts, NULL, err);
    if (status == SMT_OK && n_parts > 1) return open_set(given, n_parts, out, err);
    if (status == SMT_OK)
        *out = given;
    else
        smt_gguf_free(given);
    return status;
}
