/* run_device.c: a device with the kernels that can be had for it.
 *
 * Not every GLSL compiler knows cooperative matrices, so the library's own kernels with them come compiled (vk_prebuilt.c). Those of another
 * shader folder, or changed ones, depend on the compiler at hand: where it fails, fast precision goes without. That is found out here, before
 * anything is planned, and costs some milliseconds on devices that have such matrices, nothing on others. */
#include "run/run.h"

static bool has_coop_kernels(smt_vk_device *device) {
    smt_kernel_key key;
    for (uint32_t i = 0; smt_kernel_coop_catalogue(i, &key); i++) {
        smt_vk_define defines[SMT_KERNEL_MAX_DEFINES];
        smt_kernel_spec spec;
        if (key.gated) continue; /* the same module */
        smt_kernel_describe(smt_vk_device_caps(device), &key, &spec);
        const smt_vk_kernel_desc desc = smt_run_kernel_desc(&spec, defines);
        if (!smt_vk_portable_known(device, &desc)) return false;
    }
    return true;
}

smt_status smt_run_device_create(smt_vk *vk, uint32_t index, const smt_vk_device_options *options, smt_vk_device **out,
                                 smt_error *err) {
    SMT_TRY(smt_vk_device_create(vk, index, options, out, err));
    if (smt_vk_device_caps(*out)->coop.m && !has_coop_kernels(*out)) smt_vk_device_forgo_coop(*out);
    return SMT_OK;
}
