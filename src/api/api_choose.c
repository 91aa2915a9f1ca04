/* api_choose.c: which device the user means, decided from snapshots and words alone, and the rule for option structs.
 *
 * A word names a device when it is the device's id, the start of its UUID (dashes ignored), or a part of its name, letter case
 * ignored. An id is never ambiguous; any other word must match exactly one device. Names of real devices contain commas
 * ("llvmpipe (LLVM 15.0.6, 256 bits)"), so the whole list is first tried as one complete name. */
#include "api_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A word of the user's list: borrowed, not NUL-terminated. */
typedef struct span {
    const char *text;
    size_t bytes;
} span;

smt_status smt_api_copy_options(void *known, size_t known_bytes, const void *given, const char *name, smt_error *err) {
    memset(known, 0, known_bytes);
    size_t bytes = 0;
    if (given) memcpy(&bytes, given, sizeof bytes); /* struct_size comes first in every option struct */
    if (bytes < sizeof bytes)
        return SMT_FAIL(err, SMT_INVALID, "%s: struct_size is %zu; set it to the size of the struct", name, bytes);
    for (size_t i = known_bytes; i < bytes; i++)
        if (((const char *)given)[i])
            return SMT_FAIL(err, SMT_INVALID, "%s: %zu bytes with fields that this version, which knows %zu, does not have", name,
                            bytes, known_bytes);
    memcpy(known, given, bytes < known_bytes ? bytes : known_bytes);
    return SMT_OK;
}

static bool same(span word, const char *text) { return strlen(text) == word.bytes && !strncasecmp(word.text, text, word.bytes); }

static bool starts_uuid(span word, const char *uuid) {
    size_t digits = 0;
    for (size_t i = 0; i < word.bytes; i++) {
        if (word.text[i] == '-') continue;
        if (!uuid[digits] || tolower((unsigned char)word.text[i]) != tolower((unsigned char)uuid[digits])) return false;
        digits++;
    }
    return digits > 0;
}

static bool part_of(span word, const char *name) {
    for (size_t length = strlen(name); length >= word.bytes; length--, name++)
        if (!strncasecmp(name, word.text, word.bytes)) return true;
    return false;
}

/* Writes "vk0 (name), vk1 (name)" for messages, cut to `capacity`. */
static void list_devices(const smt_caps *const *caps, uint32_t n_caps, const bool *listed, char *text, size_t capacity) {
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < n_caps && used < capacity; i++) {
        if (listed && !listed[i]) continue;
        int count = snprintf(text + used, capacity - used, "%s%s (%s)", used ? ", " : "", caps[i]->id, caps[i]->name);
        used += count > 0 ? (size_t)count : 0;
    }
}

static smt_status find_one(const smt_caps *const *caps, uint32_t n_caps, span word, uint32_t *out_index, smt_error *err) {
    char listing[320];
    if (word.bytes == 0) return SMT_FAIL(err, SMT_INVALID, "an empty word in the list of devices");
    for (uint32_t i = 0; i < n_caps; i++)
        if (same(word, caps[i]->id)) {
            *out_index = i;
            return SMT_OK;
        }
    bool *matches = smt_alloc(n_caps, sizeof *matches);
    if (!matches) return SMT_FAIL(err, SMT_MEMORY, "out of memory matching %u devices", n_caps);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n_caps; i++) {
        matches[i] = starts_uuid(word, caps[i]->uuid_text) || part_of(word, caps[i]->name);
        if (!matches[i]) continue;
        count++;
        *out_index = i;
    }
    list_devices(caps, n_caps, count ? matches : NULL, listing, sizeof listing);
    smt_free(matches);
    int width = word.bytes < 64 ? (int)word.bytes : 64;
    if (count == 0) return SMT_FAIL(err, SMT_NOT_FOUND, "no device matches \"%.*s\"; there are: %s", width, word.text, listing);
    if (count > 1) return SMT_FAIL(err, SMT_INVALID, "\"%.*s\" matches %u devices: %s", width, word.text, count, listing);
    return SMT_OK;
}

static uint64_t local_bytes(const smt_caps *caps) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < caps->n_heaps && i < SMT_CAPS_MAX_HEAPS; i++)
        if (caps->heaps[i].device_local && caps->heaps[i].bytes > most) most = caps->heaps[i].bytes;
    return most;
}

static bool better(const smt_caps *a, const smt_caps *b) {
    static const int rank[] = {
        [SMT_KIND_DISCRETE] = 3, [SMT_KIND_INTEGRATED] = 2, [SMT_KIND_VIRTUAL] = 2, [SMT_KIND_OTHER] = 1, [SMT_KIND_CPU] = 0};
    char text[160];
    bool usable_a = !smt_caps_lacks(a, text, sizeof text), usable_b = !smt_caps_lacks(b, text, sizeof text);
    if (usable_a != usable_b) return usable_a;
    if (rank[a->kind] != rank[b->kind]) return rank[a->kind] > rank[b->kind];
    return local_bytes(a) > local_bytes(b);
}

static span trimmed(const char *text, size_t bytes) {
    while (bytes && isspace((unsigned char)text[0])) text++, bytes--;
    while (bytes && isspace((unsigned char)text[bytes - 1])) bytes--;
    return (span){text, bytes};
}

smt_status smt_api_choose_devices(const smt_caps *const *caps, uint32_t n_caps, const char *wanted, uint32_t *out_indices,
                                  uint32_t capacity, uint32_t *out_count, smt_error *err) {
    *out_count = 0;
    if (n_caps == 0) return SMT_FAIL(err, SMT_NOT_FOUND, "Vulkan is there, but it offers no device");
    if (capacity == 0) return SMT_FAIL(err, SMT_INVALID, "room for no device");
    if (!wanted || !*wanted) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n_caps; i++)
            if (better(caps[i], caps[best])) best = i;
        out_indices[(*out_count)++] = best;
        return SMT_OK;
    }
    span whole = trimmed(wanted, strlen(wanted));
    uint32_t full_names = 0;
    for (uint32_t i = 0; i < n_caps; i++)
        if (same(whole, caps[i]->name)) {
            out_indices[0] = i;
            full_names++;
        }
    if (full_names == 1) {
        *out_count = 1;
        return SMT_OK;
    }
    uint32_t count = 0;
    for (const char *at = wanted, *end; at; at = *end ? end + 1 : NULL) {
        end = at + strcspn(at, ",");
        if (count == capacity) return SMT_FAIL(err, SMT_INVALID, "more than %u devices in \"%.64s\"", capacity, wanted);
        SMT_TRY(find_one(caps, n_caps, trimmed(at, (size_t)(end - at)), &out_indices[count], err));
        count++;
    }
    *out_count = count;
    return SMT_OK;
}

smt_status smt_api_choose_device(const smt_caps *const *caps, uint32_t n_caps, const char *wanted, uint32_t *out_index,
                                 smt_error *err) {
    uint32_t indices[16], count;
    *out_index = 0;
    SMT_TRY(smt_api_choose_devices(caps, n_caps, wanted, indices, SMT_COUNT(indices), &count, err));
    if (count != 1) return SMT_FAIL(err, SMT_UNSUPPORTED, "\"%.64s\" names %u devices, one is wanted here", wanted, count);
    *out_index = indices[0];
    return SMT_OK;
}

smt_status smt_api_open_vulkan(const smt_device_options *options, smt_vk **out, smt_error *err) {
    smt_vk_options vk_options = {.validation = options->validation, .callbacks = options->callbacks};
    smt_host_device host;
    *out = NULL;
    if (options->host) {
        SMT_TRY(smt_api_copy_options(&host, sizeof host, options->host, "smt_host_device", err));
        if (options->devices && *options->devices)
            return SMT_FAIL(err, SMT_INVALID, "smt_device_options names \"%.64s\" beside the host program's device",
                            options->devices);
        vk_options.host = &host;
    }
    return smt_vk_open(&vk_options, out, err);
}

void smt_api_tell_software(const smt_device_options *options, const smt_caps *caps) {
    char text[400];
    bool automatic = !options->devices || !*options->devices;
    if (!automatic || caps->kind != SMT_KIND_CPU || !options->callbacks.log) return;
    snprintf(text, sizeof text, "no GPU found: computing on the processor through %s, which is slow", caps->name);
    options->callbacks.log(options->callbacks.user, SMT_LOG_WARN, text);
}

smt_status smt_api_pick_device(const smt_vk *vk, const smt_device_options *options, uint32_t *out_index, smt_error *err) {
    *out_index = 0;
    uint32_t n_caps = smt_vk_count(vk);
    const smt_caps **caps = smt_alloc(n_caps, sizeof *caps);
    if (!caps) return SMT_FAIL(err, SMT_MEMORY, "out of memory listing %u devices", n_caps);
    for (uint32_t i = 0; i < n_caps; i++) caps[i] = smt_vk_caps(vk, i);
    smt_status status = smt_api_choose_device(caps, n_caps, options->devices, out_index, err);
    if (status == SMT_OK) smt_api_tell_software(options, caps[*out_index]);
    smt_free(caps);
    return status;
}
