/* tiny_model.c: the model makers, one for each family. See tiny_model.h for what they promise.
 *
 * A matrix that takes n inputs of order 1 has elements of deviation gain / sqrt(n), so its outputs are of order `gain`. */
#include "tiny_model.h"
#include "gguf_write.h"
#include "quant/quant.h"
#include "random_blocks.h"
#include "support.h"
#include "tiny_types.h"

#include <math.h>

enum { CONTEXT = 4096, N_SHARED = 2 };

typedef struct shape {
    uint32_t n_embd, n_heads, n_ff, n_ff_expert;
    uint32_t q_rank, kv_rank, nope, rope, value; /* latent attention; plain heads have n_embd / n_heads values */
    float yarn_factor, log_multiplier;
} shape;
static const shape usual = {256, 8, 512, 96, 256, 256, 32, 16, 32, 4, 0.0707f};
static const shape wide = {256, 8, 512, 256, 256, 256, 32, 16, 32, 4, 0.0707f};
/* No size divides another; the pairs of a head see all of YaRN's ramp. */
static const shape small = {48, 4, 80, 16, 20, 24, 16, 8, 12, 40, 0.1f};

typedef struct maker {
    smt_gguf_writer writer;
    smt_test_random random;
    smt_dtype type;
    const char *architecture;
    const smt_tiny_options *options;
    shape s;
    uint32_t n_layers, n_experts;
} maker;

/* `options` with the defaults resolved. */
static maker start(const char *architecture, const smt_tiny_options *options, uint64_t salt) {
    static const smt_tiny_options none = {0};
    if (!options) options = &none;
    return (maker){.random = {options->seed + salt},
                   .type = options->type,
                   .architecture = architecture,
                   .options = options,
                   .s = options->small  ? small
                        : options->wide ? wide
                                        : usual,
                   .n_layers = options->n_layers ? options->n_layers : 3,
                   .n_experts = options->n_experts ? options->n_experts : 8};
}

/* ---- keys ---- */

static void key_u32(maker *m, const char *key, uint32_t value) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", m->architecture, key);
    smt_gguf_write_u32(&m->writer, name, value);
}

static void key_f32(maker *m, const char *key, float value) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", m->architecture, key);
    smt_gguf_write_f32(&m->writer, name, value);
}

static void key_bool(maker *m, const char *key, bool value) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", m->architecture, key);
    smt_gguf_write_bool(&m->writer, name, value);
}

static void key_text(maker *m, const char *key, const char *value) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", m->architecture, key);
    smt_gguf_write_text(&m->writer, name, value);
}

static void common_keys(maker *m, uint32_t n_vocab) {
    smt_gguf_write_text(&m->writer, "general.architecture", m->architecture);
    smt_gguf_write_text(&m->writer, "general.name", "tiny");
    key_u32(m, "block_count", m->n_layers + (m->options->ahead ? 1 : 0));
    if (m->options->ahead) key_u32(m, "nextn_predict_layers", 1);
    key_u32(m, "context_length", CONTEXT);
    key_u32(m, "embedding_length", m->s.n_embd);
    key_u32(m, "feed_forward_length", m->s.n_ff);
    key_u32(m, "attention.head_count", m->s.n_heads);
    key_f32(m, "attention.layer_norm_rms_epsilon", 1e-6f);
    key_f32(m, "rope.freq_base", m->options->rope_base > 0 ? m->options->rope_base : 10000);
    key_u32(m, "vocab_size", n_vocab);
}

/* ---- tensors ---- */

/* Values to bytes; without an encoder, blocks that mean other values of the same deviation. */
static void encode(maker *m, smt_dtype type, const float *values, float deviation, void *bytes, uint64_t n) {
    if (!smt_quant_encode(type, values, bytes, n))
        smt_test_blocks(&m->random, type, bytes, (size_t)(n / smt_dtype_get((uint32_t)type)->elems), deviation);
}

/* n_planes of [rows, k], normally distributed around `mean`, or zeros. */
static void tensor(maker *m, const char *name, smt_dtype type, const uint64_t ne[4], float mean, float deviation) {
    uint64_t n = ne[0] * ne[1] * ne[2] * ne[3];
    type = smt_tiny_fitting(type, ne[0]);
    bool blank = m->options->blank;
    float *values = smt_alloc(blank ? 1 : (size_t)n, sizeof *values);
    void *bytes = smt_alloc((size_t)(n / ne[0]), (size_t)smt_dtype_row_bytes(type, ne[0]));
    for (uint64_t i = 0; !blank && values && i < n; i++) values[i] = mean + deviation * smt_test_normal(&m->random);
    if (m->writer.status != SMT_OK) { /* the first failure is the one to report */
    } else if (!values || !bytes)
        m->writer.status = SMT_FAIL(&m->writer.err, SMT_MEMORY, "out of memory making tensor %s", name);
    else {
        if (!blank) encode(m, type, values, deviation, bytes, n);
        smt_gguf_write_tensor(&m->writer, name, (uint32_t)type, ne, bytes);
    }
    smt_free(values);
    smt_free(bytes);
}

/* The type of a matrix; layer UINT32_MAX: outside the layers. */
static smt_dtype matrix_type(const maker *m, const char *name, uint32_t layer) {
    return m->options->mix ? smt_tiny_mixed(m->type, name, layer, m->n_layers) : m->type;
}

static const char *layer_name(uint32_t layer, const char *name, char text[64]) {
    snprintf(text, 64, "blk.%u.%s", layer, name);
    return text;
}

/* `inputs` is what a device multiplies with, which for a transposed tensor is not ne[0]. */
static void matrix(maker *m, uint32_t layer, const char *name, uint64_t k, uint64_t rows, uint64_t planes, uint32_t inputs) {
    char text[64];
    tensor(m, layer_name(layer, name, text), matrix_type(m, name, layer), (uint64_t[]){k, rows, planes, 1}, 0,
           1 / sqrtf((float)inputs));
}

static void vector(maker *m, uint32_t layer, const char *name, uint64_t n, float mean, float deviation) {
    char text[64];
    tensor(m, layer_name(layer, name, text), SMT_DTYPE_F32, (uint64_t[]){n, 1, 1, 1}, mean, deviation);
}

static void end_tensors(maker *m, uint32_t n_vocab, bool tied) {
    const uint32_t n_embd = m->s.n_embd;
    const float spread = 2.5f / sqrtf((float)n_embd); /* logits of deviation 2.5 */
    tensor(m, "token_embd.weight", matrix_type(m, "token_embd.weight", UINT32_MAX), (uint64_t[]){n_embd, n_vocab, 1, 1}, 0,
           tied ? spread : 1);
    tensor(m, "output_norm.weight", SMT_DTYPE_F32, (uint64_t[]){n_embd, 1, 1, 1}, 1, 0.1f);
    if (!tied)
        tensor(m, "output.weight", matrix_type(m, "output.weight", UINT32_MAX), (uint64_t[]){n_embd, n_vocab, 1, 1}, 0, spread);
}

static void dense_feed_forward(maker *m, uint32_t layer) {
    const uint32_t n_embd = m->s.n_embd, n_ff = m->s.n_ff;
    vector(m, layer, "ffn_norm.weight", n_embd, 1, 0.1f);
    matrix(m, layer, "ffn_gate.weight", n_embd, n_ff, 1, n_embd);
    matrix(m, layer, "ffn_up.weight", n_embd, n_ff, 1, n_embd);
    matrix(m, layer, "ffn_down.weight", n_ff, n_embd, 1, n_ff);
    if (!m->options->biases) return;
    vector(m, layer, "ffn_gate.bias", n_ff, 0, 0.5f);
    vector(m, layer, "ffn_up.bias", n_ff, 0, 0.5f);
    vector(m, layer, "ffn_down.bias", n_embd, 0, 0.5f);
}

/* What a layer behind the model's own has, as far as it takes to be known as one. */
static void ahead_layer(maker *m) {
    const uint32_t n_embd = m->s.n_embd;
    vector(m, m->n_layers, "attn_norm.weight", n_embd, 1, 0.1f);
    vector(m, m->n_layers, "nextn.enorm.weight", n_embd, 1, 0.1f);
    vector(m, m->n_layers, "nextn.hnorm.weight", n_embd, 1, 0.1f);
    matrix(m, m->n_layers, "nextn.eh_proj.weight", 2 * n_embd, n_embd, 1, 2 * n_embd);
}

static smt_status finish(maker *m, const char *path, smt_error *err) {
    smt_status status = smt_gguf_write_file(&m->writer, path, err);
    smt_gguf_write_free(&m->writer);
    return status;
}

/* ---- vocabularies ---- */

enum { MAX_TOKENS = 300, TOKEN_BYTES = 48 };
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6 }; /* token types as files number them */

typedef struct vocabulary {
    char texts[MAX_TOKENS][TOKEN_BYTES];
    const char *pointers[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    float scores[MAX_TOKENS];
    uint32_t n;
} vocabulary;

static void add_token(vocabulary *v, const char *text, int32_t type, float score) {
    snprintf(v->texts[v->n], TOKEN_BYTES, "%s", text);
    v->pointers[v->n] = v->texts[v->n];
    v->types[v->n] = type;
    v->scores[v->n++] = score;
}

/* Byte-level vocabularies write each byte as a visible character: itself where it is printable Latin-1, else from U+0100 on. */
static void byte_character(unsigned byte, unsigned *next_hidden, char text[3]) {
    bool visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    unsigned code = visible ? byte : 256 + (*next_hidden)++;
    if (code < 128)
        snprintf(text, 3, "%c", (char)code);
    else
        snprintf(text, 3, "%c%c", (char)(0xc0 | code >> 6), (char)(0x80 | (code & 63)));
}

static void write_vocabulary(maker *m, const vocabulary *v, const char *model) {
    smt_gguf_write_text(&m->writer, "tokenizer.ggml.model", model);
    smt_gguf_write_texts(&m->writer, "tokenizer.ggml.tokens", v->pointers, v->n);
    smt_gguf_write_array(&m->writer, "tokenizer.ggml.token_type", SMT_GGUF_I32, v->n, v->types, v->n * sizeof v->types[0]);
    smt_gguf_write_bool(&m->writer, "tokenizer.ggml.add_bos_token", true);
    smt_gguf_write_bool(&m->writer, "tokenizer.ggml.add_eos_token", false);
}

static void byte_pair_vocabulary(maker *m, vocabulary *v) {
    static const char *const merges[] = {"\xc4\xa0 t", "h e", "\xc4\xa0t he", "i n"}; /* U+0120 stands for the space */
    static const char *const merged[] = {"\xc4\xa0t", "he", "\xc4\xa0the", "in"};
    unsigned hidden = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[3];
        byte_character(byte, &hidden, text);
        add_token(v, text, NORMAL, 0);
    }
    for (size_t i = 0; i < SMT_COUNT(merged); i++) add_token(v, merged[i], NORMAL, 0);
    add_token(v,
              "<\xef\xbd\x9c"
              "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
              CONTROL, 0);
    add_token(v,
              "<\xef\xbd\x9c"
              "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
              CONTROL, 0);
    write_vocabulary(m, v, "gpt2");
    smt_gguf_write_text(&m->writer, "tokenizer.ggml.pre", "deepseek-llm");
    smt_gguf_write_texts(&m->writer, "tokenizer.ggml.merges", merges, SMT_COUNT(merges));
    smt_gguf_write_u32(&m->writer, "tokenizer.ggml.bos_token_id", v->n - 2);
    smt_gguf_write_u32(&m->writer, "tokenizer.ggml.eos_token_id", v->n - 1);
}

static void sentence_piece_vocabulary(maker *m, vocabulary *v) {
    static const char *const pieces[] = {"\xe2\x96\x81the", "\xe2\x96\x81t", "he", "in", "\xe2\x96\x81", "t", "h", "e", "i", "n"};
    add_token(v, "<unk>", UNKNOWN, 0);
    add_token(v, "<s>", CONTROL, 0);
    add_token(v, "</s>", CONTROL, 0);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        add_token(v, text, BYTE, 0);
    }
    for (size_t i = 0; i < SMT_COUNT(pieces); i++) add_token(v, pieces[i], NORMAL, -(float)i);
    write_vocabulary(m, v, "llama");
    smt_gguf_write_array(&m->writer, "tokenizer.ggml.scores", SMT_GGUF_F32, v->n, v->scores, v->n * sizeof v->scores[0]);
    smt_gguf_write_u32(&m->writer, "tokenizer.ggml.bos_token_id", 1);
    smt_gguf_write_u32(&m->writer, "tokenizer.ggml.eos_token_id", 2);
    smt_gguf_write_u32(&m->writer, "tokenizer.ggml.unknown_token_id", 0);
}

/* ---- experts ---- */

static void expert_keys(maker *m) {
    const smt_tiny_options *options = m->options;
    uint32_t used = options->n_used ? options->n_used : 3, size = options->group_size ? options->group_size : 2;
    key_u32(m, "leading_dense_block_count", 1);
    key_u32(m, "expert_count", m->n_experts);
    key_u32(m, "expert_used_count", m->n_experts < used ? m->n_experts : used);
    key_u32(m, "expert_shared_count", N_SHARED);
    key_u32(m, "expert_feed_forward_length", m->s.n_ff_expert);
    key_f32(m, "expert_weights_scale", options->sigmoid ? 2.5f : 1);
    if (options->sigmoid) {
        key_bool(m, "expert_weights_norm", true);
        key_u32(m, "expert_gating_func", 2);
    }
    if (!options->sigmoid && !options->group_size) return; /* old files leave the groups out */
    bool grouped = m->n_experts >= 4 * size && m->n_experts % size == 0;
    key_u32(m, "expert_group_count", grouped ? m->n_experts / size : 1);
    key_u32(m, "expert_group_used_count", grouped ? 2 : 1);
}

static void expert_feed_forward(maker *m, uint32_t layer) {
    const uint32_t n_embd = m->s.n_embd, width = m->s.n_ff_expert, shared = N_SHARED * width, n = m->n_experts;
    char text[64];
    vector(m, layer, "ffn_norm.weight", n_embd, 1, 0.1f);
    tensor(m, layer_name(layer, "ffn_gate_inp.weight", text), SMT_DTYPE_F32, (uint64_t[]){n_embd, n, 1, 1}, 0,
           1 / sqrtf((float)n_embd));
    if (m->options->sigmoid) vector(m, layer, "exp_probs_b.bias", n, 0.5f, 0.05f);
    if (m->options->fused)
        matrix(m, layer, "ffn_gate_up_exps.weight", n_embd, 2 * width, n, n_embd);
    else {
        matrix(m, layer, "ffn_gate_exps.weight", n_embd, width, n, n_embd);
        matrix(m, layer, "ffn_up_exps.weight", n_embd, width, n, n_embd);
    }
    matrix(m, layer, "ffn_down_exps.weight", width, n_embd, n, width);
    matrix(m, layer, "ffn_gate_shexp.weight", n_embd, shared, 1, n_embd);
    matrix(m, layer, "ffn_up_shexp.weight", n_embd, shared, 1, n_embd);
    matrix(m, layer, "ffn_down_shexp.weight", shared, n_embd, 1, shared);
}

/* The first layer is dense, as in every released model. */
static void feed_forward(maker *m, uint32_t layer) {
    if (layer == 0)
        dense_feed_forward(m, layer);
    else
        expert_feed_forward(m, layer);
}

/* ---- deepseek2 ---- */

static void latent_keys(maker *m) {
    const shape *s = &m->s;
    bool old = m->options->old_layout;
    key_u32(m, "attention.kv_lora_rank", s->kv_rank);
    if (m->options->q_lora) key_u32(m, "attention.q_lora_rank", s->q_rank);
    key_u32(m, "attention.head_count_kv", old ? s->n_heads : 1);
    key_u32(m, "attention.key_length", old ? s->nope + s->rope : s->kv_rank + s->rope);
    key_u32(m, "attention.value_length", old ? s->value : s->kv_rank);
    if (!old) {
        key_u32(m, "attention.key_length_mla", s->nope + s->rope);
        key_u32(m, "attention.value_length_mla", s->value);
    }
    key_u32(m, "rope.dimension_count", s->rope);
    key_text(m, "rope.scaling.type", "yarn");
    key_f32(m, "rope.scaling.factor", s->yarn_factor);
    key_u32(m, "rope.scaling.original_context_length", m->options->small ? CONTEXT : CONTEXT / 4);
    key_f32(m, "rope.scaling.yarn_log_multiplier", s->log_multiplier);
}

static void latent_attention(maker *m, uint32_t layer) {
    const shape *s = &m->s;
    const uint32_t q_rows = s->n_heads * (s->nope + s->rope), n_embd = s->n_embd, values = s->n_heads * s->value;
    vector(m, layer, "attn_norm.weight", n_embd, 1, 0.1f);
    if (m->options->q_lora) {
        matrix(m, layer, "attn_q_a.weight", n_embd, s->q_rank, 1, n_embd);
        vector(m, layer, "attn_q_a_norm.weight", s->q_rank, 1, 0.1f);
        matrix(m, layer, "attn_q_b.weight", s->q_rank, q_rows, 1, s->q_rank);
    } else
        matrix(m, layer, "attn_q.weight", n_embd, q_rows, 1, n_embd);
    matrix(m, layer, "attn_kv_a_mqa.weight", n_embd, s->kv_rank + s->rope, 1, n_embd);
    vector(m, layer, "attn_kv_a_norm.weight", s->kv_rank, 1, 0.1f);
    if (m->options->old_layout)
        matrix(m, layer, "attn_kv_b.weight", s->kv_rank, s->n_heads * (s->nope + s->value), 1, s->kv_rank);
    else {
        matrix(m, layer, "attn_k_b.weight", s->nope, s->kv_rank, s->n_heads, s->kv_rank);
        matrix(m, layer, "attn_v_b.weight", s->kv_rank, s->value, s->n_heads, s->kv_rank);
    }
    matrix(m, layer, "attn_output.weight", values, n_embd, 1, values);
}

smt_status smt_tiny_deepseek2(const char *path, const smt_tiny_options *options, smt_error *err) {
    maker m = start("deepseek2", options, 1);
    vocabulary *v = smt_alloc(1, sizeof *v);
    if (!v) return SMT_FAIL(err, SMT_MEMORY, "out of memory making %s", path);
    byte_pair_vocabulary(&m, v);
    common_keys(&m, v->n);
    latent_keys(&m);
    expert_keys(&m);
    end_tensors(&m, v->n, m.options->tied);
    smt_free(v);
    for (uint32_t i = 0; i < m.n_layers; i++) {
        latent_attention(&m, i);
        feed_forward(&m, i);
    }
    if (m.options->ahead) ahead_layer(&m);
    return finish(&m, path, err);
}

/* ---- plain attention: deepseek and llama ---- */

static void plain_keys(maker *m) {
    key_u32(m, "attention.head_count_kv", m->options->gqa ? 2 : m->s.n_heads);
    key_u32(m, "rope.dimension_count", m->s.n_embd / m->s.n_heads);
    if (m->options->linear > 0) {
        key_text(m, "rope.scaling.type", "linear");
        key_f32(m, "rope.scaling.factor", m->options->linear);
    }
}

/* Divisors as Llama 3.1 has them: fast pairs alone, slow ones by eight, a slope between. */
static void divisors_tensor(maker *m) {
    uint32_t n = m->s.n_embd / m->s.n_heads / 2;
    float *values = smt_alloc(n, sizeof *values);
    if (!values) {
        m->writer.status = SMT_FAIL(&m->writer.err, SMT_MEMORY, "out of memory for %u divisors", n);
        return;
    }
    for (uint32_t i = 0; i < n; i++) values[i] = 3 * i < n ? 1 : 3 * i < 2 * n ? 1 + 7 * (float)(3 * i - n) / (float)n : 8;
    smt_gguf_write_tensor(&m->writer, "rope_freqs.weight", SMT_DTYPE_F32, (uint64_t[]){n, 1, 1, 1}, values);
    smt_free(values);
}

static void plain_attention(maker *m, uint32_t layer) {
    const uint32_t n_embd = m->s.n_embd, kv_rows = (m->options->gqa ? 2 : m->s.n_heads) * (n_embd / m->s.n_heads);
    vector(m, layer, "attn_norm.weight", n_embd, 1, 0.1f);
    matrix(m, layer, "attn_q.weight", n_embd, n_embd, 1, n_embd);
    matrix(m, layer, "attn_k.weight", n_embd, kv_rows, 1, n_embd);
    matrix(m, layer, "attn_v.weight", n_embd, kv_rows, 1, n_embd);
    matrix(m, layer, "attn_output.weight", n_embd, n_embd, 1, n_embd);
    if (!m->options->biases) return;
    vector(m, layer, "attn_q.bias", n_embd, 0, 0.5f);
    vector(m, layer, "attn_k.bias", kv_rows, 0, 0.5f);
    vector(m, layer, "attn_v.bias", kv_rows, 0, 0.5f);
    vector(m, layer, "attn_output.bias", n_embd, 0, 0.5f);
}

smt_status smt_tiny_deepseek(const char *path, const smt_tiny_options *options, smt_error *err) {
    maker m = start("deepseek", options, 3);
    vocabulary *v = smt_alloc(1, sizeof *v);
    if (!v) return SMT_FAIL(err, SMT_MEMORY, "out of memory making %s", path);
    byte_pair_vocabulary(&m, v);
    common_keys(&m, v->n);
    plain_keys(&m);
    expert_keys(&m);
    end_tensors(&m, v->n, m.options->tied);
    smt_free(v);
    for (uint32_t i = 0; i < m.n_layers; i++) {
        plain_attention(&m, i);
        feed_forward(&m, i);
    }
    return finish(&m, path, err);
}

smt_status smt_tiny_llama(const char *path, const smt_tiny_options *options, smt_error *err) {
    maker m = start("llama", options, 2);
    vocabulary *v = smt_alloc(1, sizeof *v);
    if (!v) return SMT_FAIL(err, SMT_MEMORY, "out of memory making %s", path);
    sentence_piece_vocabulary(&m, v);
    common_keys(&m, v->n);
    plain_keys(&m);
    end_tensors(&m, v->n, m.options->tied);
    smt_free(v);
    if (m.options->divisors) divisors_tensor(&m);
    for (uint32_t i = 0; i < m.n_layers; i++) {
        plain_attention(&m, i);
        dense_feed_forward(&m, i);
    }
    return finish(&m, path, err);
}
