/* tiny_model.c: the two model makers. See tiny_model.h for what they promise.
 *
 * A matrix that takes n inputs of order 1 has elements of deviation gain / sqrt(n), so its outputs are of order `gain`. */
#include "tiny_model.h"
#include "gguf_write.h"
#include "quant/quant.h"
#include "support.h"

#include <math.h>

enum { N_EMBD = 256, N_HEADS = 8, N_FF = 512, CONTEXT = 4096 };
enum { Q_RANK = 256, KV_RANK = 256, NOPE = 32, ROPE = 16, VALUE = 32, N_FF_EXPERT = 96, N_SHARED = 2 }; /* deepseek2 */
enum { HEAD = 32 };                                                                                     /* llama */

typedef struct maker {
    smt_gguf_writer writer;
    smt_test_random random;
    smt_dtype type;
    const char *architecture;
} maker;

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

static void common_keys(maker *m, uint32_t n_layers, uint32_t n_vocab) {
    smt_gguf_write_text(&m->writer, "general.architecture", m->architecture);
    smt_gguf_write_text(&m->writer, "general.name", "tiny");
    key_u32(m, "block_count", n_layers);
    key_u32(m, "context_length", CONTEXT);
    key_u32(m, "embedding_length", N_EMBD);
    key_u32(m, "feed_forward_length", N_FF);
    key_u32(m, "attention.head_count", N_HEADS);
    key_f32(m, "attention.layer_norm_rms_epsilon", 1e-6f);
    key_f32(m, "rope.freq_base", 10000);
    key_u32(m, "vocab_size", n_vocab);
}

/* ---- tensors ---- */

/* What a quantiser falls back to where rows are no whole number of blocks. */
static smt_dtype fitting_type(smt_dtype type, uint64_t k) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    if (k % info->elems == 0) return type;
    if (k % 32) return SMT_DTYPE_F16;
    if (type == SMT_DTYPE_Q6_K) return SMT_DTYPE_Q8_0;
    return SMT_DTYPE_Q5_0;
}

/* n_planes of [rows, k], normally distributed around `mean`. */
static void tensor(maker *m, const char *name, smt_dtype type, const uint64_t ne[4], float mean, float deviation) {
    uint64_t n = ne[0] * ne[1] * ne[2] * ne[3];
    type = fitting_type(type, ne[0]);
    float *values = smt_alloc((size_t)n, sizeof *values);
    void *bytes = smt_alloc((size_t)(n / ne[0]), (size_t)smt_dtype_row_bytes(type, ne[0]));
    for (uint64_t i = 0; values && i < n; i++) values[i] = mean + deviation * smt_test_normal(&m->random);
    if (m->writer.status != SMT_OK) { /* the first failure is the one to report */
    } else if (!values || !bytes)
        m->writer.status = SMT_FAIL(&m->writer.err, SMT_MEMORY, "out of memory making tensor %s", name);
    else if (!smt_quant_encode(type, values, bytes, n))
        m->writer.status = SMT_FAIL(&m->writer.err, SMT_UNSUPPORTED, "tensor %s: no encoder for type %s", name,
                                    smt_dtype_get((uint32_t)type)->name);
    else
        smt_gguf_write_tensor(&m->writer, name, (uint32_t)type, ne, bytes);
    smt_free(values);
    smt_free(bytes);
}

static const char *layer_name(uint32_t layer, const char *name, char text[64]) {
    snprintf(text, 64, "blk.%u.%s", layer, name);
    return text;
}

/* `inputs` is what a device multiplies with, which for a transposed tensor is not ne[0]. */
static void matrix(maker *m, uint32_t layer, const char *name, uint64_t k, uint64_t rows, uint64_t planes, uint32_t inputs) {
    char text[64];
    tensor(m, layer_name(layer, name, text), m->type, (uint64_t[]){k, rows, planes, 1}, 0, 1 / sqrtf((float)inputs));
}

static void vector(maker *m, uint32_t layer, const char *name, uint64_t n, float mean, float deviation) {
    char text[64];
    tensor(m, layer_name(layer, name, text), SMT_DTYPE_F32, (uint64_t[]){n, 1, 1, 1}, mean, deviation);
}

static void end_tensors(maker *m, uint32_t n_vocab, bool tied) {
    const float spread = 2.5f / 16; /* 2.5 / sqrt(N_EMBD): logits of deviation 2.5 */
    tensor(m, "token_embd.weight", m->type, (uint64_t[]){N_EMBD, n_vocab, 1, 1}, 0, tied ? spread : 1);
    tensor(m, "output_norm.weight", SMT_DTYPE_F32, (uint64_t[]){N_EMBD, 1, 1, 1}, 1, 0.1f);
    if (!tied) tensor(m, "output.weight", m->type, (uint64_t[]){N_EMBD, n_vocab, 1, 1}, 0, spread);
}

static void dense_feed_forward(maker *m, uint32_t layer) {
    vector(m, layer, "ffn_norm.weight", N_EMBD, 1, 0.1f);
    matrix(m, layer, "ffn_gate.weight", N_EMBD, N_FF, 1, N_EMBD);
    matrix(m, layer, "ffn_up.weight", N_EMBD, N_FF, 1, N_EMBD);
    matrix(m, layer, "ffn_down.weight", N_FF, N_EMBD, 1, N_FF);
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

/* ---- deepseek2 ---- */

static void latent_keys(maker *m, const smt_tiny_options *options) {
    key_u32(m, "attention.kv_lora_rank", KV_RANK);
    if (options->q_lora) key_u32(m, "attention.q_lora_rank", Q_RANK);
    key_u32(m, "attention.head_count_kv", options->old_layout ? N_HEADS : 1);
    key_u32(m, "attention.key_length", options->old_layout ? NOPE + ROPE : KV_RANK + ROPE);
    key_u32(m, "attention.value_length", options->old_layout ? VALUE : KV_RANK);
    if (!options->old_layout) {
        key_u32(m, "attention.key_length_mla", NOPE + ROPE);
        key_u32(m, "attention.value_length_mla", VALUE);
    }
    key_u32(m, "rope.dimension_count", ROPE);
    smt_gguf_write_text(&m->writer, "deepseek2.rope.scaling.type", "yarn");
    key_f32(m, "rope.scaling.factor", 4);
    key_u32(m, "rope.scaling.original_context_length", CONTEXT / 4);
    key_f32(m, "rope.scaling.yarn_log_multiplier", 0.0707f);
}

static void expert_keys(maker *m, const smt_tiny_options *options, uint32_t n_experts) {
    key_u32(m, "leading_dense_block_count", 1);
    key_u32(m, "expert_count", n_experts);
    key_u32(m, "expert_used_count", n_experts < 3 ? n_experts : 3);
    key_u32(m, "expert_shared_count", N_SHARED);
    key_u32(m, "expert_feed_forward_length", N_FF_EXPERT);
    key_f32(m, "expert_weights_scale", options->sigmoid ? 2.5f : 1);
    if (!options->sigmoid) return;
    smt_gguf_write_bool(&m->writer, "deepseek2.expert_weights_norm", true);
    key_u32(m, "expert_gating_func", 2);
    bool grouped = n_experts >= 8 && n_experts % 2 == 0;
    key_u32(m, "expert_group_count", grouped ? n_experts / 2 : 1);
    key_u32(m, "expert_group_used_count", grouped ? 2 : 1);
}

static void latent_attention(maker *m, uint32_t layer, const smt_tiny_options *options) {
    const uint32_t q_rows = N_HEADS * (NOPE + ROPE);
    vector(m, layer, "attn_norm.weight", N_EMBD, 1, 0.1f);
    if (options->q_lora) {
        matrix(m, layer, "attn_q_a.weight", N_EMBD, Q_RANK, 1, N_EMBD);
        vector(m, layer, "attn_q_a_norm.weight", Q_RANK, 1, 0.1f);
        matrix(m, layer, "attn_q_b.weight", Q_RANK, q_rows, 1, Q_RANK);
    } else
        matrix(m, layer, "attn_q.weight", N_EMBD, q_rows, 1, N_EMBD);
    matrix(m, layer, "attn_kv_a_mqa.weight", N_EMBD, KV_RANK + ROPE, 1, N_EMBD);
    vector(m, layer, "attn_kv_a_norm.weight", KV_RANK, 1, 0.1f);
    if (options->old_layout)
        matrix(m, layer, "attn_kv_b.weight", KV_RANK, N_HEADS * (NOPE + VALUE), 1, KV_RANK);
    else {
        matrix(m, layer, "attn_k_b.weight", NOPE, KV_RANK, N_HEADS, KV_RANK);
        matrix(m, layer, "attn_v_b.weight", KV_RANK, VALUE, N_HEADS, KV_RANK);
    }
    matrix(m, layer, "attn_output.weight", N_HEADS * VALUE, N_EMBD, 1, N_HEADS * VALUE);
}

static void expert_feed_forward(maker *m, uint32_t layer, const smt_tiny_options *options, uint32_t n_experts) {
    const uint32_t shared = N_SHARED * N_FF_EXPERT;
    char text[64];
    vector(m, layer, "ffn_norm.weight", N_EMBD, 1, 0.1f);
    tensor(m, layer_name(layer, "ffn_gate_inp.weight", text), SMT_DTYPE_F32, (uint64_t[]){N_EMBD, n_experts, 1, 1}, 0, 1.0f / 16);
    if (options->sigmoid) vector(m, layer, "exp_probs_b.bias", n_experts, 0.5f, 0.05f);
    matrix(m, layer, "ffn_gate_exps.weight", N_EMBD, N_FF_EXPERT, n_experts, N_EMBD);
    matrix(m, layer, "ffn_up_exps.weight", N_EMBD, N_FF_EXPERT, n_experts, N_EMBD);
    matrix(m, layer, "ffn_down_exps.weight", N_FF_EXPERT, N_EMBD, n_experts, N_FF_EXPERT);
    matrix(m, layer, "ffn_gate_shexp.weight", N_EMBD, shared, 1, N_EMBD);
    matrix(m, layer, "ffn_up_shexp.weight", N_EMBD, shared, 1, N_EMBD);
    matrix(m, layer, "ffn_down_shexp.weight", shared, N_EMBD, 1, shared);
}

smt_status smt_tiny_deepseek2(const char *path, const smt_tiny_options *options, smt_error *err) {
    static const smt_tiny_options none = {0};
    if (!options) options = &none;
    uint32_t n_layers = options->n_layers ? options->n_layers : 3, n_experts = options->n_experts ? options->n_experts : 8;
    maker m = {.random = {options->seed + 1}, .type = options->type, .architecture = "deepseek2"};
    vocabulary *v = smt_alloc(1, sizeof *v);
    if (!v) return SMT_FAIL(err, SMT_MEMORY, "out of memory making %s", path);
    byte_pair_vocabulary(&m, v);
    common_keys(&m, n_layers, v->n);
    latent_keys(&m, options);
    expert_keys(&m, options, n_experts);
    end_tensors(&m, v->n, options->tied);
    for (uint32_t i = 0; i < n_layers; i++) {
        latent_attention(&m, i, options);
        if (i == 0)
            dense_feed_forward(&m, i);
        else
            expert_feed_forward(&m, i, options, n_experts);
    }
    smt_free(v);
    return finish(&m, path, err);
}

/* ---- llama ---- */

smt_status smt_tiny_llama(const char *path, const smt_tiny_options *options, smt_error *err) {
    static const smt_tiny_options none = {0};
    if (!options) options = &none;
    uint32_t n_layers = options->n_layers ? options->n_layers : 3, n_kv_heads = options->gqa ? 2 : N_HEADS;
    maker m = {.random = {options->seed + 2}, .type = options->type, .architecture = "llama"};
    vocabulary *v = smt_alloc(1, sizeof *v);
    if (!v) return SMT_FAIL(err, SMT_MEMORY, "out of memory making %s", path);
    sentence_piece_vocabulary(&m, v);
    common_keys(&m, n_layers, v->n);
    key_u32(&m, "attention.head_count_kv", n_kv_heads);
    key_u32(&m, "rope.dimension_count", HEAD);
    end_tensors(&m, v->n, options->tied);
    smt_free(v);
    for (uint32_t i = 0; i < n_layers; i++) {
        vector(&m, i, "attn_norm.weight", N_EMBD, 1, 0.1f);
        matrix(&m, i, "attn_q.weight", N_EMBD, N_HEADS * HEAD, 1, N_EMBD);
        matrix(&m, i, "attn_k.weight", N_EMBD, n_kv_heads * HEAD, 1, N_EMBD);
        matrix(&m, i, "attn_v.weight", N_EMBD, n_kv_heads * HEAD, 1, N_EMBD);
        matrix(&m, i, "attn_output.weight", N_HEADS * HEAD, N_EMBD, 1, N_HEADS * HEAD);
        dense_feed_forward(&m, i);
    }
    return finish(&m, path, err);
}
