/* trace_read.c: a trace file opened: its model, and where its chunks lie.
 *
 * Opening walks the headers of the chunks as far as they are sound; the rest of a file behind a header that is not, or a chunk that the file
 * ends in, is named as damage and left alone. The bytes of a chunk are looked at when one of its tokens is wanted, and the last such chunk
 * is kept decompressed. */
#include "trace/trace.h"

#include "os/os.h"

#include <stdio.h>
#include <string.h>

typedef struct place {
    smt_trace_chunk chunk;
    uint64_t offset; /* of its bytes */
    uint64_t first;  /* token */
} place;

struct smt_trace {
    char *path;           /* owned */
    smt_os_file file;     /* owned, unless `bytes` */
    const uint8_t *bytes; /* borrowed */
    uint64_t n_bytes, version;
    smt_arena arena;
    smt_trace_model model; /* in the arena */
    smt_trace_rows rows;
    place *places; /* owned */
    size_t n_places, places_capacity;
    uint64_t n_tokens, dropped;
    char damage[192]; /* "" for a whole file */
    /* The chunk held, and the token that was asked for last. */
    size_t held; /* SIZE_MAX: none */
    smt_str stored, raw, text;
    uint64_t text_at[SMT_TRACE_CHUNK_TOKENS + 1]; /* where each text begins in `raw` */
    uint8_t *row;                                 /* owned, as the buffers */
    smt_trace_buffers buffers;
    smt_trace_token token;
};

void smt_trace_free(smt_trace *trace) {
    if (!trace) return;
    smt_os_file_close(&trace->file);
    smt_arena_free(&trace->arena);
    smt_str_free(&trace->stored);
    smt_str_free(&trace->raw);
    smt_str_free(&trace->text);
    smt_free(trace->places);
    smt_free(trace->path);
    smt_free(trace);
}

static smt_status read_bytes(const smt_trace *t, uint64_t offset, void *out, uint64_t bytes, smt_error *err) {
    if (!t->bytes) return smt_os_file_read(&t->file, t->path, offset, out, bytes, err);
    memcpy(out, t->bytes + offset, (size_t)bytes);
    return SMT_OK;
}

/* The bytes of a chunk, decompressed into t->raw. */
static smt_status read_chunk(smt_trace *t, const smt_trace_chunk *chunk, uint64_t offset, smt_error *err) {
    SMT_TRY(smt_grow((void **)&t->stored.text, &t->stored.capacity, chunk->stored, 1, err));
    SMT_TRY(smt_grow((void **)&t->raw.text, &t->raw.capacity, chunk->raw, 1, err));
    SMT_TRY(read_bytes(t, offset, t->stored.text, chunk->stored, err));
    t->raw.bytes = chunk->raw;
    return smt_trace_chunk_read(chunk, (const uint8_t *)t->stored.text, (uint8_t *)t->raw.text, err);
}

/* ---- opening ---- */

static smt_status read_start(smt_trace *t, smt_error *err) {
    uint8_t start[SMT_TRACE_START];
    if (t->n_bytes < sizeof start) return SMT_FAIL(err, SMT_FORMAT, "%s is not a routing trace", t->path);
    SMT_TRY(read_bytes(t, 0, start, sizeof start, err));
    if (memcmp(start, "SMTTRACE", 8)) return SMT_FAIL(err, SMT_FORMAT, "%s is not a routing trace", t->path);
    t->version = smt_trace_get_number(start + 8, 8);
    if (t->version < 1 || t->version > SMT_TRACE_VERSION)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s is a routing trace of version %llu, this library reads versions 1 to %u",
                        t->path, (unsigned long long)t->version, SMT_TRACE_VERSION);
    return SMT_OK;
}

static void note_damage(smt_trace *t, const char *what) {
    snprintf(t->damage, sizeof t->damage, "%s after %llu tokens", what, (unsigned long long)t->n_tokens);
}

/* The next chunk at *offset, which moves behind its header. SMT_OK with *found false: none that is whole, as the damage says. */
static smt_status next_chunk(smt_trace *t, uint64_t *offset, smt_trace_chunk *chunk, bool *found, smt_error *err) {
    uint8_t header[SMT_TRACE_HEADER];
    *found = false;
    if (t->n_bytes - *offset < sizeof header) {
        note_damage(t, "cut off");
        return SMT_OK;
    }
    SMT_TRY(read_bytes(t, *offset, header, sizeof header, err));
    *offset += sizeof header;
    if (!smt_trace_chunk_header(header, chunk))
        note_damage(t, "damaged");
    else if (chunk->stored > t->n_bytes - *offset)
        note_damage(t, "cut off");
    else
        *found = true;
    return SMT_OK;
}

static smt_status read_model(smt_trace *t, uint64_t *offset, smt_error *err) {
    smt_trace_chunk chunk;
    bool found;
    SMT_TRY(next_chunk(t, offset, &chunk, &found, err));
    if (!found || chunk.kind != SMT_TRACE_MODEL)
        return SMT_FAIL(err, SMT_FORMAT, "%s: the trace does not begin with a model", t->path);
    SMT_TRY(read_chunk(t, &chunk, *offset, err));
    *offset += chunk.stored;
    SMT_TRY(smt_trace_model_read((const uint8_t *)t->raw.text, chunk.raw, &t->arena, &t->model, err));
    t->rows = smt_trace_rows_of(&t->model, t->version);
    size_t picks = smt_trace_picks(&t->model);
    t->row = smt_arena_alloc(&t->arena, t->rows.bytes, 1);
    t->buffers = (smt_trace_buffers){.experts = smt_arena_alloc(&t->arena, picks, sizeof(uint16_t)),
                                     .weights = smt_arena_alloc(&t->arena, picks, sizeof(float)),
                                     .device_s = smt_arena_alloc(&t->arena, t->model.n_devices, sizeof(float)),
                                     .hop_s = smt_arena_alloc(&t->arena, t->model.n_devices, sizeof(float)),
                                     .hop_bytes = smt_arena_alloc(&t->arena, t->model.n_devices, sizeof(uint32_t))};
    const smt_trace_buffers *buffers = &t->buffers;
    bool room = t->row && buffers->experts && buffers->weights && buffers->device_s && buffers->hop_s && buffers->hop_bytes;
    return room ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for a token of %zu experts", picks);
}

/* The last chunk: what it says must be what was found. */
static smt_status read_end(smt_trace *t, const smt_trace_chunk *chunk, uint64_t offset, smt_error *err) {
    smt_error local = {0};
    smt_status status = chunk->raw == 16 ? read_chunk(t, chunk, offset, &local) : SMT_FORMAT;
    if (status != SMT_OK && status != SMT_FORMAT) {
        if (err) *err = local;
        return status;
    }
    bool sound = status == SMT_OK && smt_trace_get_number((const uint8_t *)t->raw.text, 8) == t->n_tokens;
    if (!sound)
        note_damage(t, "damaged");
    else
        t->dropped = smt_trace_get_number((const uint8_t *)t->raw.text + 8, 8);
    return SMT_OK;
}

static bool fits(const smt_trace *t, const smt_trace_chunk *chunk) {
    return chunk->kind == SMT_TRACE_TOKENS && chunk->tokens <= SMT_TRACE_CHUNK_TOKENS &&
           chunk->raw >= chunk->tokens * (uint64_t)t->rows.bytes;
}

static smt_status walk(smt_trace *t, uint64_t offset, smt_error *err) {
    for (;;) {
        smt_trace_chunk chunk;
        bool found;
        SMT_TRY(next_chunk(t, &offset, &chunk, &found, err));
        if (!found) return SMT_OK;
        if (chunk.kind == SMT_TRACE_END) return read_end(t, &chunk, offset, err);
        if (!fits(t, &chunk)) {
            note_damage(t, "damaged");
            return SMT_OK;
        }
        SMT_TRY(smt_grow((void **)&t->places, &t->places_capacity, t->n_places + 1, sizeof *t->places, err));
        t->places[t->n_places++] = (place){.chunk = chunk, .offset = offset, .first = t->n_tokens};
        t->n_tokens += chunk.tokens;
        offset += chunk.stored;
    }
}

static smt_status open_trace(smt_trace *t, const char *path, smt_error *err) {
    uint64_t offset = SMT_TRACE_START;
    t->held = SIZE_MAX;
    t->path = smt_strdup(path);
    if (!t->path) return SMT_FAIL(err, SMT_MEMORY, "out of memory opening %s", path);
    if (!t->bytes) {
        SMT_TRY(smt_os_file_open(path, &t->file, err));
        t->n_bytes = t->file.n_bytes;
    }
    SMT_TRY(read_start(t, err));
    SMT_TRY(read_model(t, &offset, err));
    return walk(t, offset, err);
}

static smt_status create(const char *path, const void *bytes, uint64_t n_bytes, smt_trace **out, smt_error *err) {
    *out = NULL;
    smt_trace *t = smt_alloc(1, sizeof *t);
    if (!t) return SMT_FAIL(err, SMT_MEMORY, "out of memory opening %s", path);
    t->bytes = bytes;
    t->n_bytes = n_bytes;
    smt_status status = open_trace(t, path, err);
    if (status != SMT_OK)
        smt_trace_free(t);
    else
        *out = t;
    return status;
}

smt_status smt_trace_open(const char *path, smt_trace **out_trace, smt_error *err) {
    return create(path, NULL, 0, out_trace, err);
}

smt_status smt_trace_parse(const void *bytes, size_t n_bytes, const char *label, smt_trace **out, smt_error *err) {
    return create(label, bytes, n_bytes, out, err);
}

/* ---- questions ---- */

const smt_trace_model *smt_trace_get_model(const smt_trace *trace) { return &trace->model; }

uint64_t smt_trace_count(const smt_trace *trace) { return trace->n_tokens; }

uint64_t smt_trace_dropped(const smt_trace *trace) { return trace->dropped; }

const char *smt_trace_damage(const smt_trace *trace) { return trace->damage[0] ? trace->damage : NULL; }

static size_t find_chunk(const smt_trace *t, uint64_t index) {
    size_t low = 0, high = t->n_places;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        *(t->places[middle].first <= index ? &low : &high) = middle;
    }
    return low;
}

/* Where the texts of the chunk in t->raw begin; they must fill what is behind the rows. */
static smt_status find_texts(smt_trace *t, uint32_t n, smt_error *err) {
    uint64_t at = n * (uint64_t)t->rows.bytes;
    for (uint32_t r = 0; r < n; r++) {
        uint32_t bytes = smt_trace_rows_text(&t->rows, (const uint8_t *)t->raw.text, n, r);
        t->text_at[r] = at;
        at += bytes == SMT_TRACE_NO_TEXT ? 0 : bytes;
    }
    t->text_at[n] = at;
    if (at == t->raw.bytes) return SMT_OK;
    return SMT_FAIL(err, SMT_FORMAT, "%u tokens and their texts have %llu bytes, the chunk %zu", n, (unsigned long long)at,
                    t->raw.bytes);
}

static smt_status hold(smt_trace *t, size_t chunk, smt_error *err) {
    const place *p = &t->places[chunk];
    if (t->held == chunk) return SMT_OK;
    t->held = SIZE_MAX;
    SMT_TRY(read_chunk(t, &p->chunk, p->offset, err));
    SMT_TRY(find_texts(t, p->chunk.tokens, err));
    t->held = chunk;
    return SMT_OK;
}

static smt_status get_token(smt_trace *t, uint64_t index, smt_error *err) {
    size_t chunk = find_chunk(t, index);
    SMT_TRY(hold(t, chunk, err));
    const place *p = &t->places[chunk];
    uint32_t row = (uint32_t)(index - p->first);
    smt_trace_rows_gather(&t->rows, (const uint8_t *)t->raw.text, p->chunk.tokens, row, t->row);
    SMT_TRY(smt_trace_row_read(&t->rows, t->row, &t->buffers, &t->token, err));
    bool known = t->token.text_bytes != SMT_TRACE_NO_TEXT;
    t->token.text_bytes = t->text_at[row + 1] - t->text_at[row];
    t->text.bytes = 0;
    SMT_TRY(smt_str_append(&t->text, t->raw.text + t->text_at[row], t->token.text_bytes, err));
    t->token.text = known ? t->text.text : NULL;
    return SMT_OK;
}

smt_status smt_trace_get(smt_trace *trace, uint64_t index, const smt_trace_token **out_token, smt_error *err) {
    *out_token = NULL;
    if (index >= trace->n_tokens)
        return SMT_FAIL(err, SMT_INVALID, "token %llu of a trace of %llu", (unsigned long long)index,
                        (unsigned long long)trace->n_tokens);
    SMT_TRY(get_token(trace, index, err));
    *out_token = &trace->token;
    return SMT_OK;
}
