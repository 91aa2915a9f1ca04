/* trace_row.c: one token as bytes, and many of them as columns. */
#include "trace/trace.h"

#include <math.h>
#include <string.h>

static size_t expert_bytes(const smt_trace_rows *rows) { return rows->n_experts > 256 ? 2 : 1; }

/* ---- fields ---- */

typedef struct field { /* `count` fields of `width` bytes, one after another */
    size_t width, count;
} field;
#define FIELDS 6

/* Words of a row about the time that it took. */
static size_t n_times(const smt_trace_rows *rows) { return SMT_PHASE_COUNT + (size_t)rows->n_devices * (rows->hops ? 3 : 1); }

static void list_fields(const smt_trace_rows *rows, field out[FIELDS]) {
    const field list[FIELDS] = {{8, 1},                 /* number */
                                {4, 6},                 /* id to step_tokens */
                                {8, 1},                 /* end_s */
                                {4, n_times(rows) + 1}, /* and the length of the text */
                                {rows->n_used * expert_bytes(rows), rows->n_moe},
                                {rows->n_used, 2 * (size_t)rows->n_moe}}; /* high bytes, low bytes */
    memcpy(out, list, sizeof list);
}

smt_trace_rows smt_trace_rows_of(const smt_trace_model *model, uint64_t version) {
    smt_trace_rows rows = {.n_moe = model->n_moe,
                           .n_used = model->n_used,
                           .n_experts = model->n_experts,
                           .n_devices = model->n_devices,
                           .hops = version >= 2};
    field fields[FIELDS];
    list_fields(&rows, fields);
    for (size_t i = 0; i < FIELDS; i++) rows.bytes += fields[i].width * fields[i].count;
    return rows;
}

void smt_trace_rows_transpose(const smt_trace_rows *rows, const uint8_t *from, uint32_t n, uint8_t *to) {
    field fields[FIELDS];
    size_t at = 0;
    list_fields(rows, fields);
    for (size_t i = 0; i < FIELDS; i++)
        for (size_t k = 0; k < fields[i].count; k++, at += fields[i].width)
            for (uint32_t r = 0; r < n; r++, to += fields[i].width) memcpy(to, from + r * rows->bytes + at, fields[i].width);
}

void smt_trace_rows_gather(const smt_trace_rows *rows, const uint8_t *chunk, uint32_t n, uint32_t row, uint8_t *to) {
    field fields[FIELDS];
    size_t at = 0;
    list_fields(rows, fields);
    for (size_t i = 0; i < FIELDS; i++)
        for (size_t k = 0; k < fields[i].count; k++, at += fields[i].width)
            memcpy(to + at, chunk + at * n + row * fields[i].width, fields[i].width);
}

static size_t text_at(const smt_trace_rows *rows) { return 8 + 6 * 4 + 8 + 4 * n_times(rows); }

uint32_t smt_trace_rows_text(const smt_trace_rows *rows, const uint8_t *chunk, uint32_t n, uint32_t row) {
    return (uint32_t)smt_trace_get_number(chunk + text_at(rows) * n + 4 * (size_t)row, 4);
}

/* ---- a row ---- */

static bool is_time(double seconds) { return isfinite(seconds) && seconds >= 0; }

static uint8_t *put(uint8_t *to, uint64_t value, size_t bytes) {
    smt_trace_put(to, value, bytes);
    return to + bytes;
}

static uint8_t *put_seconds(uint8_t *to, float seconds) {
    uint32_t bits;
    memcpy(&bits, &seconds, 4);
    return put(to, bits, 4);
}

static smt_status check_token(const smt_trace_rows *rows, const smt_trace_token *t, smt_error *err) {
    size_t picks = (size_t)rows->n_moe * rows->n_used;
    if (picks && (!t->experts || !t->weights)) return SMT_FAIL(err, SMT_INVALID, "smt_trace_token: no experts or weights");
    for (size_t i = 0; i < picks; i++)
        if (t->experts[i] >= rows->n_experts)
            return SMT_FAIL(err, SMT_INVALID, "smt_trace_token: expert %u of %u", t->experts[i], rows->n_experts);
    bool timed = is_time(t->end_s);
    for (int i = 0; i < SMT_PHASE_COUNT; i++) timed = timed && is_time((double)t->phase_s[i]);
    for (uint32_t i = 0; t->device_s && i < rows->n_devices; i++) timed = timed && is_time((double)t->device_s[i]);
    for (uint32_t i = 0; t->hop_s && i < rows->n_devices; i++) timed = timed && is_time((double)t->hop_s[i]);
    if (!timed) return SMT_FAIL(err, SMT_INVALID, "smt_trace_token: a time is negative or not finite");
    if (t->text && t->text_bytes > SMT_TRACE_MAX_TEXT)
        return SMT_FAIL(err, SMT_INVALID, "smt_trace_token: a text of %zu bytes, at most %u are possible", t->text_bytes,
                        SMT_TRACE_MAX_TEXT);
    return SMT_OK;
}

smt_status smt_trace_row_write(const smt_trace_rows *rows, const smt_trace_token *t, uint8_t *row, smt_error *err) {
    SMT_TRY(check_token(rows, t, err));
    size_t picks = (size_t)rows->n_moe * rows->n_used;
    uint64_t end;
    memcpy(&end, &t->end_s, 8);
    row = put(row, t->number, 8);
    const uint32_t words[] = {(uint32_t)t->id, t->session, t->index, (uint32_t)t->position, t->step, t->step_tokens};
    for (size_t i = 0; i < SMT_COUNT(words); i++) row = put(row, words[i], 4);
    row = put(row, end, 8);
    for (int i = 0; i < SMT_PHASE_COUNT; i++) row = put_seconds(row, t->phase_s[i]);
    for (uint32_t i = 0; i < rows->n_devices; i++) row = put_seconds(row, t->device_s ? t->device_s[i] : 0);
    for (uint32_t i = 0; rows->hops && i < rows->n_devices; i++) row = put_seconds(row, t->hop_s ? t->hop_s[i] : 0);
    for (uint32_t i = 0; rows->hops && i < rows->n_devices; i++) row = put(row, t->hop_bytes ? t->hop_bytes[i] : 0, 4);
    row = put(row, t->text ? t->text_bytes : SMT_TRACE_NO_TEXT, 4);
    for (size_t i = 0; i < picks; i++) row = put(row, t->experts[i], expert_bytes(rows));
    for (size_t i = 0; i < picks; i++) {
        uint16_t half = smt_float_to_half(t->weights[i]);
        row[i] = (uint8_t)(half >> 8);
        row[picks + i] = (uint8_t)half;
    }
    return SMT_OK;
}

static const uint8_t *get_seconds(const uint8_t *from, float *out) {
    uint32_t bits = (uint32_t)smt_trace_get_number(from, 4);
    memcpy(out, &bits, 4);
    return from + 4;
}

static const uint8_t *get_head(const uint8_t *row, smt_trace_token *out) {
    uint32_t words[6];
    uint64_t end = smt_trace_get_number(row + 32, 8);
    out->number = smt_trace_get_number(row, 8);
    for (size_t i = 0; i < SMT_COUNT(words); i++) words[i] = (uint32_t)smt_trace_get_number(row + 8 + 4 * i, 4);
    out->id = (int32_t)words[0];
    out->session = words[1];
    out->index = words[2];
    out->position = (int32_t)words[3];
    out->step = words[4];
    out->step_tokens = words[5];
    memcpy(&out->end_s, &end, 8);
    row += 40;
    for (int i = 0; i < SMT_PHASE_COUNT; i++) row = get_seconds(row, &out->phase_s[i]);
    return row;
}

static const uint8_t *get_hops(const smt_trace_rows *rows, const uint8_t *row, const smt_trace_buffers *buffers) {
    for (uint32_t i = 0; i < rows->n_devices; i++) {
        buffers->hop_s[i] = 0;
        if (rows->hops) row = get_seconds(row, &buffers->hop_s[i]);
    }
    for (uint32_t i = 0; i < rows->n_devices; i++) {
        buffers->hop_bytes[i] = rows->hops ? (uint32_t)smt_trace_get_number(row, 4) : 0;
        row += rows->hops ? 4 : 0;
    }
    return row;
}

smt_status smt_trace_row_read(const smt_trace_rows *rows, const uint8_t *row, const smt_trace_buffers *buffers,
                              smt_trace_token *out, smt_error *err) {
    size_t picks = (size_t)rows->n_moe * rows->n_used, width = expert_bytes(rows);
    *out = (smt_trace_token){.struct_size = sizeof *out,
                             .experts = buffers->experts,
                             .weights = buffers->weights,
                             .device_s = buffers->device_s,
                             .hop_s = buffers->hop_s,
                             .hop_bytes = buffers->hop_bytes};
    row = get_head(row, out);
    for (uint32_t i = 0; i < rows->n_devices; i++) row = get_seconds(row, &buffers->device_s[i]);
    row = get_hops(rows, row, buffers);
    out->text_bytes = smt_trace_get_number(row, 4);
    row += 4;
    for (size_t i = 0; i < picks; i++, row += width) buffers->experts[i] = (uint16_t)(width == 1 ? row[0] : row[0] | row[1] << 8);
    for (size_t i = 0; i < picks; i++) buffers->weights[i] = smt_half_to_float((uint16_t)(row[i] << 8 | row[picks + i]));
    smt_status status = check_token(rows, out, err);
    if (err && status == SMT_INVALID) err->code = SMT_FORMAT; /* the words fit, but the fault is the file's */
    return status == SMT_INVALID ? SMT_FORMAT : status;
}
