/* vk_warm.c: the first dispatch of a kernel, over no workgroup at all.
 *
 * Software drivers translate a pipeline to machine code when it is first dispatched, which takes longer than the dispatch ever will. The
 * grid may be empty: the translation happens all the same. Descriptors have to be valid even so: one buffer stands behind all of them. */
#include "vk_objects.h"

smt_status smt_vk_kernel_warm(smt_vk_device *device, const smt_vk_kernel *kernel, smt_vk_buffer *any, uint64_t timeout_ns,
                              smt_error *err) {
    static const uint8_t zeros[SMT_VK_MAX_PUSH];
    const smt_vk_range range = {any, 0, any->bytes};
    smt_vk_range buffers[SMT_VK_MAX_BUFFERS];
    for (size_t i = 0; i < SMT_COUNT(buffers); i++) buffers[i] = range;
    const smt_vk_dispatch dispatch = {.kernel = kernel,
                                      .windows = &range,
                                      .n_windows = 1,
                                      .buffers = buffers,
                                      .n_buffers = SMT_COUNT(buffers),
                                      .push = zeros,
                                      .push_bytes = kernel->push_bytes,
                                      .empty = true};
    smt_vk_recording *recording;
    uint64_t value;
    SMT_TRY(smt_vk_recording_begin(device, kernel->label, &recording, err));
    smt_status status = smt_vk_record_dispatch(recording, &dispatch, err);
    if (status == SMT_OK) status = smt_vk_recording_end(recording, err);
    if (status == SMT_OK) status = smt_vk_submit(device, recording, &value, err);
    if (status == SMT_OK) status = smt_vk_wait(device, value, timeout_ns, err);
    smt_vk_recording_destroy(device, recording);
    return status;
}
