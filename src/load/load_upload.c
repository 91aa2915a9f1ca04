/* load_upload.c: mapped memory is written in place; everything else passes through two halves of a staging buffer, so that the host fills
 * one while the device copies the other, or repacks the file rows in it. */
#include "load/load_upload.h"

#define WAIT_NS ((uint64_t)60 * 1000000000)

bool smt_upload_is_direct(const smt_upload *upload, const smt_vk_buffer *buffer) {
    return !upload->force_staging && smt_vk_buffer_map(buffer);
}

static smt_status release_half(smt_upload *upload, uint32_t half, smt_error *err) {
    if (!upload->halves[half].recording) return SMT_OK;
    smt_status status = smt_vk_recording_wait(upload->halves[half].recording, upload->halves[half].value, WAIT_NS, err);
    if (status != SMT_OK) return status;
    smt_vk_recording_destroy(upload->device, upload->halves[half].recording);
    upload->halves[half].recording = NULL;
    return SMT_OK;
}

static smt_status make_ring(smt_upload *upload, smt_error *err) {
    const smt_caps *caps = smt_vk_device_caps(upload->device);
    uint32_t type = smt_caps_find_memory(caps, SMT_MEM_HOST, SMT_MEM_DEVICE);
    if (type == UINT32_MAX) type = smt_caps_find_memory(caps, SMT_MEM_HOST, 0);
    if (type == UINT32_MAX) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no host-visible memory", caps->name);
    return smt_vk_buffer_create(upload->device, type, SMT_UPLOAD_HALVES * SMT_UPLOAD_CHUNK, "staging ring", &upload->ring, err);
}

smt_status smt_upload_begin(smt_upload *upload, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes, uint8_t **out,
                            smt_error *err) {
    *out = NULL;
    if (bytes > SMT_UPLOAD_CHUNK)
        return SMT_FAIL(err, SMT_INTERNAL, "an upload of %llu bytes in one chunk", (unsigned long long)bytes);
    if (smt_upload_is_direct(upload, buffer)) {
        *out = (uint8_t *)smt_vk_buffer_map(buffer) + offset;
        return SMT_OK;
    }
    if (!upload->ring) SMT_TRY(make_ring(upload, err));
    upload->half = (upload->half + 1) % SMT_UPLOAD_HALVES;
    SMT_TRY(release_half(upload, upload->half, err));
    *out = (uint8_t *)smt_vk_buffer_map(upload->ring) + upload->half * SMT_UPLOAD_CHUNK;
    return SMT_OK;
}

/* What the device does with a half. */
typedef struct move {
    smt_vk_range from, to;
    bool repack;
    struct repack_params push;
} move;

static smt_status record_repack(const smt_upload *upload, smt_vk_recording *recording, const move *m, smt_error *err) {
    uint64_t before = m->to.offset % smt_vk_device_caps(upload->device)->storage_align; /* descriptors begin at aligned offsets */
    struct repack_params push = m->push;
    push.dst_off16 = (uint32_t)(before / 16);
    const smt_vk_range bindings[] = {m->from, {m->to.buffer, m->to.offset - before, m->to.bytes + before}};
    return smt_vk_record_dispatch(recording,
                                  &(smt_vk_dispatch){.kernel = upload->repack,
                                                     .buffers = bindings,
                                                     .n_buffers = SMT_COUNT(bindings),
                                                     .push = &push,
                                                     .push_bytes = sizeof push,
                                                     .groups = {smt_div_up(push.n_vectors, 64), 1, 1}},
                                  err);
}

static smt_status submit_repack(smt_upload *upload, const move *m, smt_vk_recording *recording, uint64_t *out_value,
                                smt_error *err) {
    SMT_TRY(record_repack(upload, recording, m, err));
    SMT_TRY(smt_vk_recording_end(recording, err));
    return smt_vk_submit(upload->device, recording, out_value, err);
}

static smt_status submit_copy(smt_upload *upload, const move *m, smt_vk_recording *recording, uint64_t *out_value,
                              smt_error *err) {
    smt_vk_record_copy(recording, &m->from, &m->to);
    SMT_TRY(smt_vk_recording_end(recording, err));
    SMT_TRY(smt_vk_submit_after(upload->device, recording, upload->after, out_value, err));
    upload->copied = *out_value;
    return SMT_OK;
}

/* Flushes what the host wrote, and submits what becomes of it: a kernel, or a copy beside the kernels. */
static smt_status submit_half(smt_upload *upload, const move *m, smt_error *err) {
    smt_vk_recording *recording;
    uint64_t *value = &upload->halves[upload->half].value;
    SMT_TRY(smt_vk_buffer_flush(upload->device, upload->ring, m->from.offset, m->from.bytes, err));
    SMT_TRY((m->repack ? smt_vk_recording_begin : smt_vk_recording_begin_copies)(upload->device, "upload", &recording, err));
    smt_status status = (m->repack ? submit_repack : submit_copy)(upload, m, recording, value, err);
    if (status != SMT_OK)
        smt_vk_recording_destroy(upload->device, recording);
    else
        upload->halves[upload->half].recording = recording;
    return status;
}

smt_status smt_upload_commit(smt_upload *upload, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes, smt_error *err) {
    if (smt_upload_is_direct(upload, buffer)) return smt_vk_buffer_flush(upload->device, buffer, offset, bytes, err);
    const move m = {.from = {upload->ring, upload->half * SMT_UPLOAD_CHUNK, bytes}, .to = {buffer, offset, bytes}};
    return submit_half(upload, &m, err);
}

smt_status smt_upload_commit_rows(smt_upload *upload, smt_vk_buffer *buffer, uint64_t offset, const struct repack_params *rows,
                                  smt_error *err) {
    const move m = {.from = {upload->ring, upload->half * SMT_UPLOAD_CHUNK, 4ull * rows->src_words},
                    .to = {buffer, offset, 16ull * rows->n_vectors},
                    .repack = true,
                    .push = *rows};
    return submit_half(upload, &m, err);
}

smt_status smt_upload_finish(smt_upload *upload, smt_error *err) {
    smt_status status = SMT_OK;
    for (uint32_t i = 0; i < SMT_UPLOAD_HALVES; i++) {
        smt_status one = release_half(upload, i, status == SMT_OK ? err : NULL);
        if (status == SMT_OK) status = one;
        if (one != SMT_OK) smt_vk_recording_destroy(upload->device, upload->halves[i].recording); /* the device is lost */
        upload->halves[i].recording = NULL;
    }
    smt_vk_buffer_destroy(upload->device, upload->ring);
    upload->ring = NULL;
    return status;
}
