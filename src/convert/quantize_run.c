/* quantize_run.c: executes a plan: writes the header, then streams every tensor from the input into the new file.
 *
 *   input -> pieces of PIECE elements, several at a time, one thread each:
 *            decode to float32 -> check -> encode -> decode again, to measure what was lost -> file
 *
 * Invariants
 *   1. The result does not depend on the number of threads: pieces are cut by element number alone, written in order, and
 *      their error sums added in order.
 *   2. Memory is one batch of pieces, whatever the tensor's size.
 *   3. Not a number goes into the new file that is not finite: the first bad element of the input stops the run by name, and so
 *      does the first that the new type cannot hold. */
#include "convert.h"
#include "gguf/gguf_output.h"
#include "os/os.h"
#include "quant/quant.h"
#include "quantize_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define PIECE             65536 /* elements: a multiple of every block, so that a piece is whole blocks of either type */
#define PIECES_PER_THREAD 4     /* of a batch: a thread is worth starting for some milliseconds of work */
#define MAX_THREADS       64
#define QUANT_VERSION     2 /* general.quantization_version: of the block layouts */

/* What became of one piece. */
typedef struct piece {
    double off, sum; /* squares: of the changes, of the values */
    uint64_t bad;    /* the first element that could not be taken, from the start of the tensor */
    enum { GOOD, NOT_FINITE, NOT_HELD } fate;
    float value; /* of that element */
} piece;

typedef struct batch {
    const smt_quantize_item *item;
    uint64_t start, n; /* elements of the tensor */
    uint32_t n_threads;
    const uint8_t *input; /* owned by the run: the batch's bytes, before and after */
    uint8_t *encoded;
    piece *pieces; /* owned by the run */
} batch;

typedef struct worker {
    batch *batch;
    uint32_t index;
    float *values, *back; /* owned: [PIECE] each */
    smt_os_thread *thread;
} worker;

typedef struct run {
    const smt_quantize_options *options;
    smt_quantize_plan plan;
    smt_gguf_output *output; /* owned */
    uint32_t n_threads;
    worker workers[MAX_THREADS];
    uint8_t *input; /* owned: [input_bytes], room for a batch in any type */
    size_t input_bytes;
    uint8_t *encoded;     /* owned: room for a batch in any type */
    piece *pieces;        /* owned: [n_threads * PIECES_PER_THREAD] */
    uint64_t done, total; /* bytes of the input */
    smt_error *err;
} run;

/* ---- one piece ---- */

/* Columns repeat row after row, and each plane has its own: encodes up to the end of a row at a time. */
static void encode_piece(const smt_quantize_item *item, uint64_t first, const float *values, uint64_t n, uint8_t *out) {
    if (!item->weights) {
        smt_quant_encode(item->type, values, out, n);
        return;
    }
    const uint64_t columns = item->tensor->ne[0], plane = columns * item->tensor->ne[1];
    for (uint64_t at = 0, count; at < n; at += count) {
        uint64_t column = (first + at) % columns;
        count = smt_min_u64(n - at, columns - column);
        smt_quant_encode_weighted(item->type, values + at, item->weights + (first + at) / plane * columns + column,
                                  out + smt_dtype_row_bytes(item->type, at), count);
    }
}

static void do_piece(const worker *w, uint64_t first, uint64_t n, uint8_t *out, piece *result) {
    const smt_quantize_item *item = w->batch->item;
    const smt_gguf_tensor *tensor = item->tensor;
    *result = (piece){.bad = first};
    smt_quant_decode(tensor->type, w->batch->input + smt_dtype_row_bytes(tensor->type, first - w->batch->start), w->values, n);
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(w->values[i])) {
            *result = (piece){.bad = first + i, .fate = NOT_FINITE, .value = w->values[i]};
            return;
        }
    encode_piece(item, first, w->values, n, out);
    smt_quant_decode(item->type, out, w->back, n);
    for (uint64_t i = 0; i < n; i++) {
        if (!isfinite(w->back[i])) {
            *result = (piece){.bad = first + i, .fate = NOT_HELD, .value = w->values[i]};
            return;
        }
        double off = (double)w->back[i] - (double)w->values[i];
        result->off += off * off;
        result->sum += (double)w->values[i] * (double)w->values[i];
    }
}

static void work(void *argument) {
    const worker *w = argument;
    const batch *b = w->batch;
    for (uint64_t i = w->index; i * PIECE < b->n; i += b->n_threads) {
        uint64_t at = i * PIECE, n = smt_min_u64(PIECE, b->n - at);
        do_piece(w, b->start + at, n, b->encoded + smt_dtype_row_bytes(b->item->type, at), &b->pieces[i]);
    }
}

/* ---- one tensor ---- */

/* All threads but the first are started; where the system gives none, the first does their part. */
static void run_batch(run *r, batch *b) {
    for (uint32_t t = 0; t < r->n_threads; t++) {
        worker *w = &r->workers[t];
        w->batch = b;
        w->thread = NULL;
        if (t > 0 && (uint64_t)t * PIECE < b->n) smt_os_thread_start(work, w, &w->thread, NULL);
    }
    for (uint32_t t = 0; t < r->n_threads; t++)
        if (!r->workers[t].thread) work(&r->workers[t]);
    for (uint32_t t = 0; t < r->n_threads; t++) smt_os_thread_join(r->workers[t].thread);
}

static smt_status advance(run *r, uint64_t bytes) {
    const smt_callbacks *callbacks = &r->options->callbacks;
    r->done += bytes;
    if (!callbacks->progress || callbacks->progress(callbacks->user, SMT_STAGE_WRITE, r->done, r->total)) return SMT_OK;
    return SMT_FAIL(r->err, SMT_CANCELLED, "cancelled after %" PRIu64 " of %" PRIu64 " bytes", r->done, r->total);
}

static smt_status check_piece(const run *r, const smt_quantize_item *item, const piece *p) {
    const smt_gguf_tensor *tensor = item->tensor;
    if (p->fate == GOOD) return SMT_OK;
    if (p->fate == NOT_FINITE)
        return SMT_FAIL(r->err, SMT_FORMAT, "tensor %s: element %" PRIu64 " (column %" PRIu64 ") is %g", tensor->name, p->bad,
                        p->bad % tensor->ne[0], (double)p->value);
    return SMT_FAIL(r->err, SMT_UNSUPPORTED, "tensor %s: element %" PRIu64 " (column %" PRIu64 ") is %g, more than %s can hold",
                    tensor->name, p->bad, p->bad % tensor->ne[0], (double)p->value, smt_dtype_get((uint32_t)item->type)->name);
}

static smt_status convert_tensor(run *r, const smt_quantize_item *item, double *out_error) {
    const smt_gguf_tensor *tensor = item->tensor;
    const uint64_t elements = tensor->ne[0] * tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
    const uint64_t step = (uint64_t)PIECE * PIECES_PER_THREAD * r->n_threads;
    double off = 0, sum = 0;
    for (uint64_t start = 0; start < elements; start += step) {
        batch b = {.item = item,
                   .start = start,
                   .n = smt_min_u64(step, elements - start),
                   .n_threads = r->n_threads,
                   .input = r->input,
                   .encoded = r->encoded,
                   .pieces = r->pieces};
        uint64_t from = smt_dtype_row_bytes(tensor->type, start), n_bytes = smt_dtype_row_bytes(tensor->type, b.n);
        SMT_TRY(smt_gguf_tensor_read(tensor, from, r->input, n_bytes, r->err));
        smt_gguf_tensor_expect(tensor, from + n_bytes, n_bytes);
        run_batch(r, &b);
        for (uint64_t i = 0; i * PIECE < b.n; i++) {
            SMT_TRY(check_piece(r, item, &r->pieces[i]));
            off += r->pieces[i].off;
            sum += r->pieces[i].sum;
        }
        SMT_TRY(smt_gguf_output_data(r->output, r->encoded, smt_dtype_row_bytes(item->type, b.n), r->err));
        SMT_TRY(advance(r, n_bytes));
    }
    *out_error = sum > 0 ? sqrt(off / sum) : 0;
    return SMT_OK;
}

static smt_status copy_tensor(run *r, const smt_gguf_tensor *tensor) {
    for (uint64_t at = 0; at < tensor->bytes; at += r->input_bytes) {
        uint64_t n = smt_min_u64(r->input_bytes, tensor->bytes - at);
        SMT_TRY(smt_gguf_tensor_read(tensor, at, r->input, n, r->err));
        SMT_TRY(smt_gguf_output_data(r->output, r->input, n, r->err));
        SMT_TRY(advance(r, n));
    }
    return SMT_OK;
}

static void report(const run *r, const smt_quantize_item *item, double error) {
    const smt_gguf_tensor *tensor = item->tensor;
    if (!r->options->report) return;
    smt_quantize_tensor info = {.name = tensor->name,
                                .from = smt_dtype_get((uint32_t)tensor->type)->name,
                                .to = smt_dtype_get((uint32_t)item->type)->name,
                                .n_dims = tensor->n_dims,
                                .bytes_before = tensor->bytes,
                                .bytes_after = item->bytes,
                                .fallback = item->fallback,
                                .weighted = item->weights != NULL,
                                .error = error};
    memcpy(info.ne, tensor->ne, sizeof info.ne);
    r->options->report(r->options->callbacks.user, &info);
}

/* ---- the whole ---- */

/* Keys that say how this very file was made, or that it is part of several. */
static bool replaced(const char *name, bool weighted) {
    if (!strncmp(name, "split.", 6)) return true;
    if (weighted && !strncmp(name, "quantize.imatrix.", 17)) return true;
    return !strcmp(name, "general.file_type") || !strcmp(name, "general.quantization_version");
}

static smt_status write_keys(run *r) {
    const smt_quantize_plan *plan = &r->plan;
    smt_gguf_output *out = r->output;
    for (uint64_t i = 0; i < smt_gguf_key_count(plan->input); i++) {
        const smt_gguf_key *key = smt_gguf_key_at(plan->input, i);
        if (!replaced(key->name, plan->imatrix != NULL)) SMT_TRY(smt_gguf_output_copy_key(out, key, r->err));
    }
    SMT_TRY(smt_gguf_output_u32(out, "general.quantization_version", QUANT_VERSION, r->err));
    SMT_TRY(smt_gguf_output_u32(out, "general.file_type", plan->mix->file_type, r->err));
    if (!plan->imatrix) return SMT_OK;
    SMT_TRY(smt_gguf_output_text(out, "quantize.imatrix.file", smt_os_base_name(r->options->imatrix_path), r->err));
    SMT_TRY(smt_gguf_output_u32(out, "quantize.imatrix.entries_count", (uint32_t)smt_imatrix_count(plan->imatrix), r->err));
    return smt_gguf_output_u32(out, "quantize.imatrix.chunks_count", smt_imatrix_chunks(plan->imatrix), r->err);
}

static smt_status begin(run *r) {
    SMT_TRY(smt_gguf_output_create(&r->output, r->err));
    SMT_TRY(write_keys(r));
    for (size_t i = 0; i < r->plan.n_items; i++) {
        const smt_quantize_item *item = &r->plan.items[i];
        r->total += item->tensor->bytes;
        SMT_TRY(
            smt_gguf_output_tensor(r->output, item->tensor->name, item->type, item->tensor->n_dims, item->tensor->ne, r->err));
    }
    return smt_gguf_output_begin(r->output, r->options->out_path, r->err);
}

static smt_status allocate(run *r) {
    uint32_t n_threads = r->options->n_threads ? r->options->n_threads : smt_os_cores();
    r->n_threads = smt_min_u32(n_threads, MAX_THREADS);
    size_t n_pieces = (size_t)r->n_threads * PIECES_PER_THREAD;
    r->input_bytes = n_pieces * PIECE * sizeof(float); /* no type takes more than F32 */
    r->input = smt_alloc(r->input_bytes, 1);
    r->encoded = smt_alloc(r->input_bytes, 1);
    r->pieces = smt_alloc(n_pieces, sizeof *r->pieces);
    bool made = r->input && r->encoded && r->pieces;
    for (uint32_t t = 0; made && t < r->n_threads; t++) {
        r->workers[t].index = t;
        r->workers[t].values = smt_alloc(PIECE, sizeof(float));
        r->workers[t].back = smt_alloc(PIECE, sizeof(float));
        made = r->workers[t].values && r->workers[t].back;
    }
    if (made) return SMT_OK;
    return SMT_FAIL(r->err, SMT_MEMORY, "out of memory for %zu pieces of %d elements", n_pieces, PIECE);
}

static smt_status execute(run *r) {
    SMT_TRY(allocate(r));
    SMT_TRY(begin(r));
    for (size_t i = 0; i < r->plan.n_items; i++) {
        const smt_quantize_item *item = &r->plan.items[i];
        double error = 0;
        if (item->type == item->tensor->type)
            SMT_TRY(copy_tensor(r, item->tensor));
        else
            SMT_TRY(convert_tensor(r, item, &error));
        report(r, item, error);
    }
    return smt_gguf_output_finish(r->output, r->err);
}

smt_status smt_convert_quantize(const smt_quantize_options *options, smt_error *err) {
    run *r = smt_alloc(1, sizeof *r);
    if (!r) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a quantiser");
    r->options = options;
    r->err = err;
    smt_status status = smt_quantize_plan_make(options, &r->plan, err);
    if (status == SMT_OK && options->dry_run)
        for (size_t i = 0; i < r->plan.n_items; i++)
            report(r, &r->plan.items[i], r->plan.items[i].type == r->plan.items[i].tensor->type ? 0 : -1);
    else if (status == SMT_OK)
        status = execute(r);
    for (uint32_t t = 0; t < MAX_THREADS; t++) {
        smt_free(r->workers[t].values);
        smt_free(r->workers[t].back);
    }
    smt_free(r->input);
    smt_free(r->encoded);
    smt_free(r->pieces);
    smt_gguf_output_free(r->output);
    smt_quantize_plan_free(&r->plan);
    smt_free(r);
    return status;
}
