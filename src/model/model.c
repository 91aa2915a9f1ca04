/* model.c: from an open file to a smt_model: picks the family, then lets it read keys, then tensors, then counts.
 *
 * The order matters: shapes are derived from numbers, so all numbers are known and within range before the first tensor is
 * looked at. Whatever fails, smt_model_free takes the half-built object. */
#include "model_internal.h"

#include <string.h>
#include <utf8proc.h>

static const struct {
    const char *architecture;
    smt_status (*read)(smt_model_reader *r);
} families[] = {
    {"deepseek2", smt_model_read_deepseek2},
    {"deepseek", smt_model_read_deepseek},
    {"llama", smt_model_read_llama},
};

/* Text of a file for people: cut to a sane length, control characters and broken UTF-8 replaced. NULL: out of memory. */
static const char *tame_text(smt_arena *arena, smt_gguf_string text) {
    size_t bytes = text.bytes < 200 ? text.bytes : 200;
    char *copy = smt_arena_strndup(arena, text.text, bytes);
    for (size_t i = 0; copy && i < bytes;) {
        utf8proc_int32_t code;
        utf8proc_ssize_t taken = utf8proc_iterate((const utf8proc_uint8_t *)copy + i, (utf8proc_ssize_t)(bytes - i), &code);
        if (taken <= 0 || code < 0x20 || (code >= 0x7f && code < 0xa0)) {
            copy[i++] = '?';
            continue;
        }
        i += (size_t)taken;
    }
    return copy;
}

/* Files of other kinds (vision parts, adapters) can carry the architecture's name. */
static smt_status check_file_type(smt_model_reader *r) {
    smt_gguf_string type = {"model", 5};
    SMT_TRY(smt_gguf_text(r->file, "general.type", &type, NULL, r->err));
    if (type.bytes == 5 && memcmp(type.text, "model", 5) == 0) return SMT_OK;
    return SMT_FAIL(r->err, SMT_UNSUPPORTED, "general.type is \"%.*s\"; only files of type \"model\" hold a language model",
                    (int)smt_min_u64(type.bytes, 60), type.text);
}

static smt_status read_model(smt_model_reader *r) {
    smt_model *model = r->model;
    smt_gguf_string name = {"", 0}, architecture = {"", 0};
    bool found;
    SMT_TRY(smt_gguf_text(r->file, "general.architecture", &architecture, &found, r->err));
    if (!found) return SMT_FAIL(r->err, SMT_FORMAT, "key general.architecture is missing");
    SMT_TRY(smt_gguf_text(r->file, "general.name", &name, NULL, r->err));
    model->name = tame_text(&model->arena, name);
    if (!model->name) return SMT_FAIL(r->err, SMT_MEMORY, "out of memory for the model's name");
    SMT_TRY(check_file_type(r));
    for (size_t i = 0; i < SMT_COUNT(families); i++) {
        const char *family = families[i].architecture;
        if (architecture.bytes != strlen(family) || memcmp(architecture.text, family, architecture.bytes) != 0) continue;
        model->architecture = family;
        SMT_TRY(families[i].read(r));
        smt_model_count(model);
        return SMT_OK;
    }
    const char *words = tame_text(&model->arena, architecture);
    return SMT_FAIL(r->err, SMT_UNSUPPORTED, "architecture \"%.60s\" is not supported; deepseek2, deepseek and llama are",
                    words ? words : "");
}

smt_status smt_model_create(const smt_gguf *file, smt_model **out, smt_error *err) {
    *out = NULL;
    smt_model *model = smt_alloc(1, sizeof *model);
    if (!model) return SMT_FAIL(err, SMT_MEMORY, "out of memory describing a model");
    model->file = file;
    smt_model_reader r = {.model = model, .file = file, .err = err};
    smt_status status = read_model(&r);
    if (status != SMT_OK) {
        smt_model_free(model);
        return status;
    }
    *out = model;
    return SMT_OK;
}

void smt_model_free(smt_model *model) {
    if (!model) return;
    smt_arena_free(&model->arena);
    smt_free(model);
}
