/* load_rows.c: one job: from the file to its place.
 *
 *   staged, file rows   read into the ring; the device copies them, or repacks them on their way
 *   mapped, file rows   read straight to their place where the device keeps the file's bytes, else piece by piece and repacked here
 *   derived planes      decoded to float, transposed and stored as smt_matrix_dtype says, here, whatever the way
 *
 * Bytes are read, never mapped, so a file that is cut short while it loads is SMT_IO. */
#include "load_internal.h"

#define PIECE ((uint64_t)256 << 10) /* stays in a core's cache, and is little for each thread; 64 KiB to 16 MiB load alike */

static smt_dtype job_type(const smt_load_job *job) { return smt_matrix_dtype(job->matrix); }

/* Bytes of a file row, and where in the tensor the job's first one is. */
static uint64_t file_row(const smt_load_job *job) { return smt_dtype_row_bytes(job->matrix->tensor->type, job->matrix->k); }
static uint64_t file_at(const smt_load_job *job) {
    const smt_matrix *m = job->matrix;
    return ((uint64_t)job->plane * m->plane_rows + m->row + job->row) * file_row(job);
}

static bool repacks(const smt_load_job *job) {
    return !job->matrix->transposed && (job->woven || !smt_quant_same_bytes(job_type(job), job->matrix->k));
}

/* Rows that go together. */
static uint32_t unit(const smt_load_job *job) { return job->woven ? SMT_WEAVE : 1; }

uint64_t smt_load_piece_bytes(const smt_load_jobs *jobs) {
    uint64_t most = 0;
    for (size_t i = 0; i < jobs->n; i++) {
        if (!repacks(&jobs->jobs[i])) continue;
        uint64_t least = file_row(&jobs->jobs[i]) * unit(&jobs->jobs[i]);
        if (most < PIECE) most = PIECE;
        if (most < least) most = least;
    }
    return most;
}

uint64_t smt_load_job_bytes(const smt_load_job *job) {
    return job->rows * smt_quant_device_row_bytes(job_type(job), job->matrix->k);
}

void smt_load_job_expect(const smt_load_job *job) {
    if (!job->matrix->transposed) smt_gguf_tensor_expect(job->matrix->tensor, file_at(job), job->rows * file_row(job));
}

/* ---- derived planes ---- */

/* The plane as it stands in the file, decoded: [k, rows]. */
static smt_status decode_plane(const smt_load_job *job, float *values, smt_error *err) {
    const smt_matrix *m = job->matrix;
    uint64_t row_bytes = smt_dtype_row_bytes(m->tensor->type, m->rows);
    uint8_t *bytes = smt_alloc(m->k, row_bytes);
    if (!bytes) return SMT_FAIL(err, SMT_MEMORY, "out of memory deriving %s", m->tensor->name);
    smt_status status = smt_gguf_tensor_read(m->tensor, ((uint64_t)job->plane * m->plane_rows + m->row) * row_bytes, bytes,
                                             m->k * row_bytes, err);
    if (status == SMT_OK && !smt_quant_decode(m->tensor->type, bytes, values, (uint64_t)m->k * m->rows))
        status = SMT_FAIL(err, SMT_UNSUPPORTED, "tensor %s: no decoder for its type", m->tensor->name);
    smt_free(bytes);
    return status;
}

/* The file holds k rows of `rows` values, the device wants `rows` rows of k values. */
static smt_status load_transposed(smt_load_hand *hand, const smt_load_job *job, smt_error *err) {
    const smt_matrix *m = job->matrix;
    smt_dtype type = job_type(job);
    uint64_t device_row = smt_quant_device_row_bytes(type, m->k), bytes = smt_load_job_bytes(job);
    uint64_t coded_row = smt_dtype_row_bytes(type, m->k);
    float *values = smt_alloc((size_t)m->k * m->rows, sizeof *values), *line = smt_alloc(m->k, sizeof *line);
    uint8_t *coded = smt_alloc(unit(job), coded_row), *to;
    smt_status status =
        values && line && coded ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory deriving %s", m->tensor->name);
    if (status == SMT_OK) status = decode_plane(job, values, err);
    if (status == SMT_OK) status = smt_upload_begin(hand->upload, job->buffer, job->to, bytes, &to, err);
    for (uint32_t r = 0, n; status == SMT_OK && r < m->rows; r += n) {
        n = smt_min_u32(unit(job), m->rows - r);
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j < m->k; j++) line[j] = values[(size_t)j * m->rows + r + i];
            smt_quant_encode(type, line, coded + i * coded_row, m->k);
        }
        smt_quant_to_device(type, coded, to + r * device_row, n, m->k, job->woven);
    }
    if (status == SMT_OK) status = smt_upload_commit(hand->upload, job->buffer, job->to, bytes, err);
    smt_free(values);
    smt_free(line);
    smt_free(coded);
    return status;
}

/* ---- file rows ---- */

static smt_status load_pieces(smt_load_hand *hand, const smt_load_job *job, uint8_t *to, smt_error *err) {
    const smt_matrix *m = job->matrix;
    uint64_t row = file_row(job), device_row = smt_quant_device_row_bytes(job_type(job), m->k);
    uint32_t step = (uint32_t)(hand->piece_bytes / row) / unit(job) * unit(job);
    for (uint32_t i = 0; i < job->rows; i += step) {
        uint32_t n = smt_min_u32(step, job->rows - i);
        SMT_TRY(smt_gguf_tensor_read(m->tensor, file_at(job) + i * row, hand->piece, n * row, err));
        smt_quant_to_device(job_type(job), hand->piece, to + i * device_row, n, m->k, job->woven);
    }
    return SMT_OK;
}

smt_status smt_load_job_do(smt_load_hand *hand, const smt_load_job *job, smt_error *err) {
    if (job->matrix->transposed) return load_transposed(hand, job, err);
    uint64_t bytes = smt_load_job_bytes(job);
    bool direct = smt_upload_is_direct(hand->upload, job->buffer), repack = repacks(job);
    uint8_t *to;
    SMT_TRY(smt_upload_begin(hand->upload, job->buffer, job->to, bytes, &to, err));
    if (direct && repack)
        SMT_TRY(load_pieces(hand, job, to, err));
    else
        SMT_TRY(smt_gguf_tensor_read(job->matrix->tensor, file_at(job), to, job->rows * file_row(job), err));
    if (direct || !repack) return smt_upload_commit(hand->upload, job->buffer, job->to, bytes, err);
    const struct repack_params rows = smt_quant_repack(job_type(job), job->rows, job->matrix->k, job->woven);
    return smt_upload_commit_rows(hand->upload, job->buffer, job->to, &rows, err);
}
