/* vk_cache.c: the cache folder: SPIR-V modules and each device's VkPipelineCache.
 *
 *   <dir>/spirv-<key>.bin      key: hash of flattened source (defines inside, sorted), compiler, target, our version
 *   <dir>/pipeline-<key>.bin   key: hash of device UUID, driver UUID and version, pipeline cache UUID, size of a subgroup (one driver may
 *                              be told to make them of several sizes), our version
 *   <dir>/right-<key>.bin      the same key: see vk_trust.c
 *
 * Every file is a header { magic, sizes, key, hash of the payload } and the payload. Files are hostile input: one that is cut,
 * altered, of another version or under another name is as good as absent, and is rewritten. Writes are atomic, so that two
 * processes may share the folder. */
#include "vk_objects.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define MAGIC              "SMTC\0\0\1\n" /* the seventh byte is the version of this layout */
#define MAX_PAYLOAD        ((uint64_t)256 << 20)
#define SPIRV_MAGIC        0x07230203u
#define SPIRV_HEADER_WORDS 5

typedef struct header {
    char magic[8];
    uint64_t payload_bytes;
    smt_vk_key key;
    uint8_t hash[16];
} header;
_Static_assert(sizeof(header) == 48, "no padding: the header is written as it is");

static void hash_bytes(const void *bytes, size_t n_bytes, uint8_t out[16]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, n_bytes));
    memcpy(out, canonical.digest, 16);
}

/* ---- checked files ---- */

static void blob_path(const char *dir, const char *stem, const smt_vk_key *key, char *path, size_t capacity) {
    char hex[33];
    for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", key->bytes[i]);
    snprintf(path, capacity, "%s/%s-%s.bin", dir, stem, hex);
}

static bool blob_valid(const void *file, size_t file_bytes, const smt_vk_key *key) {
    header head;
    if (file_bytes < sizeof head) return false;
    memcpy(&head, file, sizeof head);
    if (memcmp(head.magic, MAGIC, sizeof head.magic) != 0 || memcmp(&head.key, key, sizeof *key) != 0) return false;
    if (head.payload_bytes > MAX_PAYLOAD || head.payload_bytes != file_bytes - sizeof head) return false;
    uint8_t hash[16];
    hash_bytes((const char *)file + sizeof head, (size_t)head.payload_bytes, hash);
    return memcmp(hash, head.hash, sizeof hash) == 0;
}

void *smt_vk_blob_read(const char *dir, const char *stem, const smt_vk_key *key, size_t *out_bytes) {
    *out_bytes = 0;
    char path[4096], *file;
    size_t file_bytes;
    blob_path(dir, stem, key, path, sizeof path);
    if (smt_os_read_file(path, &file, &file_bytes, NULL) != SMT_OK) return NULL;
    if (!blob_valid(file, file_bytes, key)) {
        smt_free(file);
        return NULL;
    }
    *out_bytes = file_bytes - sizeof(header);
    memmove(file, file + sizeof(header), *out_bytes);
    return file;
}

smt_status smt_vk_blob_write(const char *dir, const char *stem, const smt_vk_key *key, const void *payload, size_t bytes,
                             smt_error *err) {
    char path[4096], *file = smt_alloc(1, sizeof(header) + bytes);
    blob_path(dir, stem, key, path, sizeof path);
    if (!file) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu bytes of %s", bytes, path);
    header head = {.magic = MAGIC, .payload_bytes = bytes, .key = *key};
    hash_bytes(payload, bytes, head.hash);
    memcpy(file, &head, sizeof head);
    memcpy(file + sizeof head, payload, bytes);
    smt_status status = smt_os_write_atomic(path, file, sizeof head + bytes, err);
    smt_free(file);
    return status;
}

/* ---- SPIR-V ---- */

smt_vk_key smt_vk_source_key(const smt_vk_source *source) {
    const char *identity = smt_vk_glsl_identity();
    uint32_t version = smt_version();
    struct {
        uint8_t text[16], identity[16];
        uint32_t version;
    } parts;
    memset(&parts, 0, sizeof parts);
    hash_bytes(source->text.text, source->text.bytes, parts.text);
    hash_bytes(identity, strlen(identity), parts.identity);
    parts.version = version;
    smt_vk_key key;
    hash_bytes(&parts, sizeof parts, key.bytes);
    return key;
}

smt_vk_key smt_vk_kernel_key(const smt_vk_key *source, const uint32_t *constants, uint32_t n_constants) {
    struct {
        smt_vk_key source;
        uint8_t constants[16];
    } parts = {.source = *source};
    hash_bytes(constants, n_constants * sizeof *constants, parts.constants);
    smt_vk_key key;
    hash_bytes(&parts, sizeof parts, key.bytes);
    return key;
}

bool smt_vk_spirv_plausible(const void *bytes, size_t n_bytes) {
    uint32_t magic;
    if (n_bytes < SPIRV_HEADER_WORDS * sizeof magic || n_bytes % sizeof magic) return false;
    memcpy(&magic, bytes, sizeof magic);
    return magic == SPIRV_MAGIC;
}

uint32_t *smt_vk_spirv_load(const char *dir, const smt_vk_key *key, size_t *out_count) {
    *out_count = 0;
    if (!dir) return NULL;
    size_t bytes;
    void *words = smt_vk_blob_read(dir, "spirv", key, &bytes);
    if (words && !smt_vk_spirv_plausible(words, bytes)) {
        smt_free(words);
        words = NULL;
    }
    if (words) *out_count = bytes / 4;
    return words;
}

/* ---- the driver's pipeline cache ---- */

static smt_vk_key pipeline_key(const smt_caps *caps) {
    struct {
        uint8_t device[16], driver[16], cache[16];
        uint32_t vendor_id, device_id, driver_version, subgroup_size, version;
    } parts;
    memset(&parts, 0, sizeof parts);
    memcpy(parts.device, caps->device_uuid, 16);
    memcpy(parts.driver, caps->driver_uuid, 16);
    memcpy(parts.cache, caps->pipeline_cache_uuid, 16);
    parts.vendor_id = caps->vendor_id;
    parts.device_id = caps->device_id;
    parts.driver_version = caps->driver_version;
    parts.subgroup_size = caps->subgroup_size;
    parts.version = smt_version();
    smt_vk_key key;
    hash_bytes(&parts, sizeof parts, key.bytes);
    return key;
}

/* The driver checks its own header too; we do not rely on it. */
static bool driver_header_fits(const smt_caps *caps, const void *data, size_t bytes) {
    VkPipelineCacheHeaderVersionOne head;
    if (bytes < sizeof head) return false;
    memcpy(&head, data, sizeof head);
    return head.headerSize >= sizeof head && head.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           head.vendorID == caps->vendor_id && head.deviceID == caps->device_id &&
           memcmp(head.pipelineCacheUUID, caps->pipeline_cache_uuid, VK_UUID_SIZE) == 0;
}

smt_status smt_vk_pipeline_cache_open(smt_vk_device *device, smt_error *err) {
    device->cache_key = pipeline_key(&device->caps);
    size_t bytes = 0;
    void *data = device->cache_dir ? smt_vk_blob_read(device->cache_dir, "pipeline", &device->cache_key, &bytes) : NULL;
    if (data && !driver_header_fits(&device->caps, data, bytes)) {
        smt_free(data);
        data = NULL;
        bytes = 0;
    }
    if (data) device->cache_hash = XXH3_64bits(data, bytes);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = bytes, .pInitialData = data};
    VkResult result = device->fn.CreatePipelineCache(device->handle, &info, NULL, &device->pipeline_cache);
    smt_free(data);
    return result ? SMT_VK_FAIL(device, err, result, "vkCreatePipelineCache on %s", device->caps.name) : SMT_OK;
}

smt_status smt_vk_cache_save(smt_vk_device *device, smt_error *err) {
    if (!device->cache_dir) return SMT_OK;
    SMT_TRY(smt_vk_trust_save(device, err));
    size_t bytes = 0;
    VkResult result = device->fn.GetPipelineCacheData(device->handle, device->pipeline_cache, &bytes, NULL);
    if (result) return SMT_VK_FAIL(device, err, result, "vkGetPipelineCacheData");
    if (bytes == 0 || bytes > MAX_PAYLOAD) return SMT_OK;
    void *data = smt_alloc(1, bytes);
    if (!data) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu bytes of pipeline cache", bytes);
    result = device->fn.GetPipelineCacheData(device->handle, device->pipeline_cache, &bytes, data);
    smt_status status = SMT_OK;
    /* VK_INCOMPLETE: it grew in between, on another thread; what was written is a valid cache all the same. */
    if (result < 0) status = SMT_VK_FAIL(device, err, result, "vkGetPipelineCacheData");
    uint64_t hash = XXH3_64bits(data, bytes);
    if (status == SMT_OK && hash != device->cache_hash) {
        status = smt_vk_blob_write(device->cache_dir, "pipeline", &device->cache_key, data, bytes, err);
        if (status == SMT_OK) device->cache_hash = hash;
    }
    smt_free(data);
    return status;
}
