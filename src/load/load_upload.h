/* load_upload.h: the way of bytes to a device buffer: a pointer to write to, now or through a ring of staging halves. One thread's. */
#ifndef SMT_LOAD_UPLOAD_H
#define SMT_LOAD_UPLOAD_H

#include "load/load.h"

typedef struct smt_upload {
    smt_vk_device *device;
    smt_vk_buffer *ring; /* NULL until the first unmapped target */
    bool force_staging;
    const smt_vk_kernel *repack; /* borrowed; NULL: smt_upload_commit_rows is not called */
    uint64_t after; /* copies come after this submission of kernels: what they overwrite was read till then; 0: nobody read it */
    uint64_t
        copied; /* kernels that read what was copied come after this submission of copies (smt_vk_submit_after); 0: no copies */
    uint32_t half;
    struct {
        smt_vk_recording *recording;
        uint64_t value; /* of its queue, after which this half is free */
    } halves[SMT_UPLOAD_HALVES];
} smt_upload;

/* Whether the pointer of begin is the place itself. */
bool smt_upload_is_direct(const smt_upload *upload, const smt_vk_buffer *buffer);
/* Space for `bytes` (at most SMT_UPLOAD_CHUNK) bound for buffer + offset; fill it, then commit. */
smt_status smt_upload_begin(smt_upload *upload, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes, uint8_t **out,
                            smt_error *err);
smt_status smt_upload_commit(smt_upload *upload, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes, smt_error *err);
/* For a half that was filled with file rows: they go to their place as device rows, at most SMT_UPLOAD_CHUNK bytes, as smt_quant_repack
 * told. */
smt_status smt_upload_commit_rows(smt_upload *upload, smt_vk_buffer *buffer, uint64_t offset, const struct repack_params *rows,
                                  smt_error *err);
/* Waits for everything and releases the ring; also after a failure. */
smt_status smt_upload_finish(smt_upload *upload, smt_error *err);

#endif
