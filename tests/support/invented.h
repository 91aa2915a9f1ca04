/* invented.h: snapshots of devices that nobody here owns, for tests of what is decided from plain numbers. */
#ifndef SMT_INVENTED_H
#define SMT_INVENTED_H

#include "base/caps.h"

typedef struct smt_invented { /* zero means default */
    uint64_t range;           /* bytes of a storage-buffer descriptor: 4 GiB - 1 */
    uint64_t allocation;      /* bytes of one allocation: 4 GiB */
    uint64_t device_bytes;    /* of the device-local heap 0: 24 GiB */
    uint64_t host_bytes;      /* of the host heap 1: 64 GiB; with `unified` there is none */
    uint32_t storage_align;   /* 64 */
    bool unified;             /* one heap, both device-local and host-visible */
    bool texels;              /* texel buffers of 2 GiB, as lavapipe has; else none */
    bool wave;                /* a unified device with the kernels of GPUs */
} smt_invented;

/* A discrete GPU with memory types: device-local, host-visible and coherent, host-visible and cached; or a software device. */
smt_caps smt_invented_device(const smt_invented *wanted);

#endif
