/* vk_prebuilt.c: SPIR-V modules that come with the library, for sources that the system's GLSL compiler may not know how to compile.
 *
 * shaders/prebuilt holds a file NAME.spv.zst for each, made by tools/prebuild.sh with a newer compiler and embedded at build time. The name is a
 * hash of the flattened source, defines and all: a source that changes has no module any more, which a test reports, and which makes the own
 * compiler do it. What no compiler sees (comments, #line, blank lines, indentation) does not count, so that a file shared with other kernels
 * may be explained better without a new module. */
#include "vk_internal.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#define MOST_BYTES (1u << 22)

/* The end of the line that begins at *at, or of the comment in it; appends what counts. */
static smt_status take_line(const char **at, bool *in_comment, smt_str *out, smt_error *err) {
    const char *c = *at + strspn(*at, " \t");
    size_t before = out->bytes;
    bool skip = !*in_comment && strncmp(c, "#line", 5) == 0;
    while (*c && *c != '\n') {
        if (*in_comment) {
            *in_comment = !(c[0] == '*' && c[1] == '/');
            c += *in_comment ? 1 : 2;
        } else if (c[0] == '/' && c[1] == '*') {
            *in_comment = true;
            c += 2;
        } else if (skip || (c[0] == '/' && c[1] == '/')) {
            c += strcspn(c, "\n");
        } else {
            SMT_TRY(smt_str_append(out, c++, 1, err));
        }
    }
    while (out->bytes > before && (out->text[out->bytes - 1] == ' ' || out->text[out->bytes - 1] == '\t')) out->bytes--;
    *at = *c ? c + 1 : c;
    return out->bytes > before ? smt_str_append(out, "\n", 1, err) : SMT_OK;
}

smt_status smt_vk_prebuilt_name(const smt_vk_source *source, char name[33], smt_error *err) {
    smt_str text = {0};
    smt_status status = SMT_OK;
    bool in_comment = false;
    for (const char *at = source->text.text; *at && status == SMT_OK;) status = take_line(&at, &in_comment, &text, err);
    if (status == SMT_OK) {
        XXH128_hash_t hash = XXH3_128bits(text.text, text.bytes);
        snprintf(name, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    }
    smt_str_free(&text);
    return status;
}

static const struct smt_vk_prebuilt *find(const char *name) {
    const struct smt_vk_prebuilt *module = smt_vk_prebuilt_modules;
    while (module->name && strcmp(module->name, name) != 0) module++;
    return module->name ? module : NULL;
}

bool smt_vk_prebuilt_has(const char *name) { return find(name) != NULL; }

smt_status smt_vk_prebuilt_load(const char *name, uint32_t **out_words, size_t *out_count, smt_error *err) {
    *out_words = NULL;
    *out_count = 0;
    const struct smt_vk_prebuilt *module = find(name);
    if (!module) return SMT_OK;
    unsigned long long bytes = ZSTD_getFrameContentSize(module->bytes, module->n_bytes);
    if (bytes == ZSTD_CONTENTSIZE_UNKNOWN || bytes == ZSTD_CONTENTSIZE_ERROR || bytes > MOST_BYTES)
        return SMT_FAIL(err, SMT_INTERNAL, "prebuilt module %s does not say its size", name);
    uint32_t *words = smt_alloc((size_t)bytes / 4 + 1, 4);
    if (!words) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %llu bytes of prebuilt module %s", bytes, name);
    if (ZSTD_decompress(words, bytes, module->bytes, module->n_bytes) != bytes || !smt_vk_spirv_plausible(words, bytes)) {
        smt_free(words);
        return SMT_FAIL(err, SMT_INTERNAL, "prebuilt module %s is damaged", name);
    }
    *out_words = words;
    *out_count = (size_t)bytes / 4;
    return SMT_OK;
}
