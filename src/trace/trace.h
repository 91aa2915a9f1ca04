/* trace.h: routing traces: their file format, and what files and statistics share. The public calls are in seamount.h.
 *
 * The format, version 2. All numbers are little-endian; a text is a u32 length and as many bytes without a zero among them.
 *
 *   file   = "SMTTRACE", u32 version, u32 0, chunks: one MODEL, then TOKENS, then one END
 *   chunk  = header of 32 bytes, then `stored` bytes, a zstd frame that becomes `raw` bytes
 *   header = u32 kind ("MODL", "TOKS", "END " as bytes), u32 tokens (0 but in TOKENS), u32 stored, u32 raw,
 *            u64 XXH3-64 of the stored bytes, u64 XXH3-64 of the header's 24 bytes before
 *
 *   MODEL  = u32 n_layers n_experts n_used n_shared n_groups n_groups_used n_ctx n_devices n_places n_moe, u64 cache_bytes,
 *            text name, text architecture, n_devices texts,
 *            n_places times: u32 device, text tier
 *            n_moe times: u32 layer, u64 expert_bytes, u64 shared_bytes, u16 place[n_experts]
 *   TOKENS = columns, n values each where nothing else is said (n: the tokens of the chunk):
 *            u64 number, i32 id, u32 session, u32 index, i32 position, u32 step, u32 step_tokens, f64 end_s,
 *            f32 phase_s [SMT_PHASE_COUNT][n], f32 device_s [n_devices][n], f32 hop_s [n_devices][n], u32 hop_bytes [n_devices][n],
 *            u32 text_bytes (2^32 - 1: not known),
 *            experts [n_moe][n][n_used], a byte each, or u16 where the model has more than 256 experts,
 *            weights [n_moe][n][n_used], binary16: all their high bytes, then all their low bytes, then the texts, end to end
 *   END    = u64 tokens, u64 dropped
 *
 * Version 1, which is read too, has no hop_s and no hop_bytes.
 *
 * Invariants
 *   1. A chunk stands for itself: what lies before a cut, and around damage, can be read. Chunks are found by walking the headers, which
 *      is a read of 32 bytes for each 256 KiB of tokens; no list of them is kept that could be lost.
 *   2. Any bytes are safe to open. Every count is checked against the limits below and the size of the file before memory is taken.
 *   3. Expert ids are below n_experts, times finite and not negative. Weights may be anything that the model computed.
 *   4. Nothing here knows the engine; the same files come out of it, of tests, and of other programs. */
#ifndef SMT_TRACE_H
#define SMT_TRACE_H

#include "base/base.h"

#define SMT_TRACE_VERSION 2
#define SMT_TRACE_HEADER  32
#define SMT_TRACE_START   16 /* bytes before the first chunk */

/* A chunk of tokens is written when it holds so many bytes or tokens: a compromise of compression, jumps, and what a crash loses.
 * Readers refuse more tokens in one chunk. */
#define SMT_TRACE_CHUNK_BYTES  (256u << 10)
#define SMT_TRACE_CHUNK_TOKENS 256u

/* What a reader takes. */
#define SMT_TRACE_MAX_RAW     (64u << 20) /* bytes of a chunk, decompressed */
#define SMT_TRACE_MAX_LAYERS  65536u
#define SMT_TRACE_MAX_EXPERTS 65536u
#define SMT_TRACE_MAX_DEVICES 1024u
#define SMT_TRACE_MAX_PLACES  65536u
#define SMT_TRACE_MAX_PICKS   (1u << 19) /* n_moe * n_used: of one token */
#define SMT_TRACE_MAX_TEXT    65536u     /* bytes of a token's text, or of a name */

/* ---- the model (trace_model.c) ---- */

/* SMT_INVALID names what is out of range, missing, or contradicts another number. */
smt_status smt_trace_model_check(const smt_trace_model *model, smt_error *err);
/* The MODEL chunk's bytes, at the end of *out. */
smt_status smt_trace_model_write(const smt_trace_model *model, smt_str *out, smt_error *err);
/* Arrays and texts of *out lie in the arena. SMT_FORMAT for bytes that are no model. */
smt_status smt_trace_model_read(const uint8_t *bytes, size_t n_bytes, smt_arena *arena, smt_trace_model *out, smt_error *err);

static inline size_t smt_trace_picks(const smt_trace_model *model) { return (size_t)model->n_moe * model->n_used; }

/* ---- tokens (trace_row.c) ----
 *
 * A token is a row of fields without padding, in the order of the format. A chunk is the transposed rows: the field that begins at byte o
 * of the row and is w wide lies, for row r of n, at byte o * n + r * w. */

typedef struct smt_trace_rows {
    uint32_t n_moe, n_used, n_experts, n_devices;
    bool hops;    /* the rows have hop_s and hop_bytes */
    size_t bytes; /* of a row */
} smt_trace_rows;
smt_trace_rows smt_trace_rows_of(const smt_trace_model *model, uint64_t version);
/* SMT_INVALID for a token that cannot be in a trace. row: [bytes] */
smt_status smt_trace_row_write(const smt_trace_rows *rows, const smt_trace_token *token, uint8_t *row, smt_error *err);
/* Buffers that the result points into; text_bytes is as the row says, and the text not set. */
typedef struct smt_trace_buffers {
    uint16_t *experts;       /* [n_moe * n_used] */
    float *weights;          /* [n_moe * n_used] */
    float *device_s, *hop_s; /* [n_devices] */
    uint32_t *hop_bytes;     /* [n_devices] */
} smt_trace_buffers;
smt_status smt_trace_row_read(const smt_trace_rows *rows, const uint8_t *row, const smt_trace_buffers *buffers,
                              smt_trace_token *out, smt_error *err);
/* n rows into a chunk; one row out of a chunk; the length of a row's text without the rest. */
void smt_trace_rows_transpose(const smt_trace_rows *rows, const uint8_t *from, uint32_t n, uint8_t *to);
void smt_trace_rows_gather(const smt_trace_rows *rows, const uint8_t *chunk, uint32_t n, uint32_t row, uint8_t *to);
uint32_t smt_trace_rows_text(const smt_trace_rows *rows, const uint8_t *chunk, uint32_t n, uint32_t row);
#define SMT_TRACE_NO_TEXT UINT32_MAX

/* ---- chunks (trace_chunk.c) ---- */

typedef enum smt_trace_kind { SMT_TRACE_MODEL, SMT_TRACE_TOKENS, SMT_TRACE_END, SMT_TRACE_KINDS } smt_trace_kind;

typedef struct smt_trace_chunk {
    smt_trace_kind kind;
    uint32_t tokens, stored, raw;
    uint64_t hash;
} smt_trace_chunk;

/* Header and compressed bytes of a chunk, at the end of *out. */
smt_status smt_trace_chunk_write(smt_trace_kind kind, uint32_t tokens, const smt_str *raw, smt_str *out, smt_error *err);
/* False: not a header, or one whose numbers no chunk can have. */
bool smt_trace_chunk_header(const uint8_t bytes[SMT_TRACE_HEADER], smt_trace_chunk *out);
/* stored: [chunk->stored]; out: [chunk->raw]. SMT_FORMAT where they are not what was written. */
smt_status smt_trace_chunk_read(const smt_trace_chunk *chunk, const uint8_t *stored, uint8_t *out, smt_error *err);

/* Numbers as the file has them. */
void smt_trace_put(uint8_t *to, uint64_t value, size_t bytes);
uint64_t smt_trace_get_number(const uint8_t *from, size_t bytes);
smt_status smt_trace_append(smt_str *out, uint64_t value, size_t bytes, smt_error *err);

/* ---- files (trace_write.c, trace_read.c) ---- */

/* The public calls behind the check of the callers' structs. */
smt_status smt_trace_write_begin(const char *path, const smt_trace_model *model, smt_trace_writer **out, smt_error *err);
smt_status smt_trace_write_token(smt_trace_writer *writer, const smt_trace_token *token, smt_error *err);

/* A file that lies in memory, which must outlive the result; `label` stands for the path in messages. */
smt_status smt_trace_parse(const void *bytes, size_t n_bytes, const char *label, smt_trace **out, smt_error *err);

/* ---- statistics (trace_stats.c) ---- */

smt_status smt_trace_stats_begin(const smt_trace_model *model, bool caches, smt_routing_stats **out, smt_error *err);
smt_status smt_trace_stats_token(smt_routing_stats *stats, const smt_trace_token *token, smt_error *err);

/* ---- caches of experts (trace_cache.c): one pass gives the hit rates of every size ---- */

typedef struct smt_trace_rank {
    uint64_t count;
    uint32_t expert;
} smt_trace_rank;

typedef struct smt_trace_cache {
    uint32_t n_experts, n_recent; /* n_recent: different experts seen */
    uint16_t *recent;             /* owned, [n_experts]: the latest used first */
    uint64_t *found_at;           /* owned, [n_experts + 1]: accesses by the place in `recent` where they found their expert */
    smt_trace_rank *order;        /* owned, [n_experts]: the most frequent first */
    uint16_t *rank;               /* owned, [n_experts]: place of each expert in `order` */
    uint64_t *ranked_at;          /* owned, [n_experts]: accesses since the hold by that place */
    bool held;
} smt_trace_cache;
smt_status smt_trace_cache_create(uint32_t n_experts, smt_trace_cache *out, smt_error *err);
void smt_trace_cache_free(smt_trace_cache *cache);
void smt_trace_cache_access(smt_trace_cache *cache, const uint16_t *experts, uint32_t n); /* of one token */
/* From here on hits are counted; the fixed set is that of `counts` [n_experts], the lower id first among equals. */
void smt_trace_cache_hold(smt_trace_cache *cache, const uint64_t *counts);
/* Shares [n_experts + 1] by the size of the cache. Without a hold all accesses count, and the fixed set is that of `counts`. */
void smt_trace_cache_rates(smt_trace_cache *cache, const uint64_t *counts, float *lru, float *fixed);

#endif
