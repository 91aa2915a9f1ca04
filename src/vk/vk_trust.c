/* vk_trust.c: which kernels have given right results on a device, so that they need not be asked again.
 *
 *   <dir>/right-<key>.bin   key: as of the pipeline cache: device, driver, their versions, ours. Payload: keys of kernels.
 *
 * A kernel's key is that of its SPIR-V in the cache folder (sources, defines, compiler) and its specialization constants. Another driver or other sources are thus never
 * believed for what these did; nor is a file that was cut or altered (vk_cache.c). Who judges, and how, is the caller's business. */
#include "vk_objects.h"

#include <string.h>

#define STEM "right"
#define MOST 4096 /* keys, here and in a file; beyond them all begins anew: old sources leave keys behind that nobody asks for */

static size_t find(const smt_vk_device *device, const smt_vk_key *key) {
    size_t i = 0;
    while (i < device->n_trusted && memcmp(&device->trusted[i], key, sizeof *key) != 0) i++;
    return i;
}

/* Without memory the key is not kept, which costs a comparison later. */
static void add(smt_vk_device *device, const smt_vk_key *key) {
    if (find(device, key) < device->n_trusted) return;
    if (device->n_trusted == MOST) device->n_trusted = 0;
    if (smt_grow((void **)&device->trusted, &device->trusted_capacity, device->n_trusted + 1, sizeof *key, NULL) == SMT_OK)
        device->trusted[device->n_trusted++] = *key;
}

/* Adds what the file holds, of this process or of another. */
static void read_file(smt_vk_device *device) {
    size_t bytes;
    uint8_t *keys = device->cache_dir ? smt_vk_blob_read(device->cache_dir, STEM, &device->cache_key, &bytes) : NULL;
    for (size_t at = 0; keys && at + sizeof(smt_vk_key) <= bytes && at < MOST * sizeof(smt_vk_key); at += sizeof(smt_vk_key)) {
        smt_vk_key key;
        memcpy(&key, keys + at, sizeof key);
        add(device, &key);
    }
    smt_free(keys);
}

void smt_vk_trust_open(smt_vk_device *device) { read_file(device); }

smt_status smt_vk_trust_save(smt_vk_device *device, smt_error *err) {
    smt_status status = SMT_OK;
    smt_os_mutex_lock(device->loss_mutex);
    if (device->trust_changed && device->cache_dir) {
        if (!device->trust_withdrawn) read_file(device);
        status = smt_vk_blob_write(device->cache_dir, STEM, &device->cache_key, device->trusted,
                                   device->n_trusted * sizeof *device->trusted, err);
        device->trust_changed = status != SMT_OK;
    }
    smt_os_mutex_unlock(device->loss_mutex);
    return status;
}

bool smt_vk_kernel_trusted(smt_vk_device *device, const smt_vk_kernel *kernel) {
    smt_os_mutex_lock(device->loss_mutex);
    bool any = find(device, &kernel->key) < device->n_trusted;
    smt_os_mutex_unlock(device->loss_mutex);
    return any;
}

void smt_vk_kernel_judge(smt_vk_device *device, const smt_vk_kernel *kernel, bool right) {
    smt_os_mutex_lock(device->loss_mutex);
    size_t at = find(device, &kernel->key);
    bool known = at < device->n_trusted;
    if (right && !known) add(device, &kernel->key);
    if (!right && known) device->trusted[at] = device->trusted[--device->n_trusted];
    device->trust_withdrawn |= !right && known;
    device->trust_changed |= right != known;
    smt_os_mutex_unlock(device->loss_mutex);
}
