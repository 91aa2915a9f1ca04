/* model_identity.c: a number that tells models apart, for what is kept outside of them and makes sense with one model alone. */
#include "model/model.h"

#include <string.h>
#include <xxhash.h>

#define SAMPLE_BYTES 4096 /* of every tensor: fine-tuned models of one base differ in most of them */

static uint64_t mix(uint64_t hash, const void *bytes, size_t n) { return XXH3_64bits_withSeed(bytes, n, hash); }

static smt_status mix_tensor(const smt_gguf_tensor *tensor, uint64_t *hash, smt_error *err) {
    uint8_t sample[SAMPLE_BYTES];
    uint64_t n = smt_min_u64(tensor->bytes, sizeof sample);
    uint32_t type = (uint32_t)tensor->type;
    SMT_TRY(smt_gguf_tensor_read(tensor, 0, sample, n, err));
    *hash = mix(*hash, tensor->name, strlen(tensor->name));
    *hash = mix(*hash, &type, sizeof type);
    *hash = mix(*hash, tensor->ne, sizeof tensor->ne);
    *hash = mix(*hash, sample, n);
    return SMT_OK;
}

smt_status smt_model_identity(const smt_model *model, uint64_t *out, smt_error *err) {
    const double rotation[] = {model->rope_magnitude, model->attn_scale, model->norm_eps};
    uint64_t hash = mix(0, rotation, sizeof rotation);
    *out = 0;
    if (model->rope_dim) hash = mix(hash, model->rope_freq, model->rope_dim / 2 * sizeof *model->rope_freq);
    for (uint64_t i = 0; i < smt_gguf_tensor_count(model->file); i++)
        SMT_TRY(mix_tensor(smt_gguf_tensor_at(model->file, i), &hash, err));
    *out = hash;
    return SMT_OK;
}
