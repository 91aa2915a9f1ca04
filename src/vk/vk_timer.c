/* vk_timer.c: timestamps inside a recording.
 *
 * The query pool is made at the first stamp; its reset is recorded there, so a recording that runs again resets it again. A
 * stamp that was never written is an error of the caller, not a wait for ever. */
#include "vk_objects.h"

void smt_vk_record_timestamp(smt_vk_recording *recording, uint32_t slot) {
    smt_vk_device *device = recording->device;
    if (recording->status != SMT_OK || device->caps.timestamp_ns <= 0) return;
    if (slot >= SMT_VK_MAX_STAMPS) {
        recording->status = SMT_FAIL(&recording->failure, SMT_INVALID, "recording %s: timestamp slot %u of %d", recording->name,
                                     slot, SMT_VK_MAX_STAMPS);
        return;
    }
    if (!recording->stamps) {
        VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                      .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                      .queryCount = SMT_VK_MAX_STAMPS};
        VkResult result = device->fn.CreateQueryPool(device->handle, &info, NULL, &recording->stamps);
        if (result) {
            recording->status =
                SMT_VK_FAIL(device, &recording->failure, result, "recording %s: vkCreateQueryPool", recording->name);
            return;
        }
        device->fn.CmdResetQueryPool(recording->commands, recording->stamps, 0, SMT_VK_MAX_STAMPS);
    }
    device->fn.CmdWriteTimestamp(recording->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, recording->stamps, slot);
}

smt_status smt_vk_recording_stamps(smt_vk_recording *recording, uint32_t count, double *out_ns, smt_error *err) {
    smt_vk_device *device = recording->device;
    if (device->caps.timestamp_ns <= 0)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no timestamps on its compute queue", device->caps.name);
    if (!recording->stamps || count > SMT_VK_MAX_STAMPS)
        return SMT_FAIL(err, SMT_INVALID, "recording %s: %u timestamps asked, %s", recording->name, count,
                        recording->stamps ? "the pool has fewer" : "it recorded none");
    uint32_t bits = device->choice.timestamp_bits;
    uint64_t mask = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t answer[2] = {0, 0}; /* ticks, available */
        VkResult result =
            device->fn.GetQueryPoolResults(device->handle, recording->stamps, i, 1, sizeof answer, answer, sizeof answer,
                                           VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT);
        if (result < 0) return SMT_VK_FAIL(device, err, result, "recording %s: vkGetQueryPoolResults", recording->name);
        if (!answer[1])
            return SMT_FAIL(err, SMT_INVALID, "recording %s: timestamp %u of %u was not written", recording->name, i, count);
        out_ns[i] = (double)(answer[0] & mask) * device->caps.timestamp_ns;
    }
    return SMT_OK;
}

void smt_vk_stamps_destroy(smt_vk_recording *recording) {
    recording->device->fn.DestroyQueryPool(recording->device->handle, recording->stamps, NULL);
}
