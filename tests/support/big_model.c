/* big_model.c: see big_model.h. The shapes are the published configurations. */
#include "big_model.h"

#include "gguf_write.h"
#include "support.h"

#include <unistd.h>

enum { LATENT = 512, NOPE = 128, ROPE = 64, VALUE = 128 }; /* of every latent model */

#define V2_LITE                                                                                                        \
    {                                                                                                                  \
        .name = "V2-Lite", .latent = true, .n_embd = 2048, .n_layers = 27, .n_heads = 16, .n_ff = 10944, .n_dense = 1, \
        .n_experts = 64, .n_used = 6, .n_shared = 2, .n_ff_expert = 1408, .n_vocab = 102400, .n_ctx = 163840,          \
        .type = SMT_DTYPE_Q4_K                                                                                         \
    }
#define V2                                                                                                                   \
    {                                                                                                                        \
        .name = "V2", .latent = true, .n_embd = 5120, .n_layers = 60, .n_heads = 128, .q_rank = 1536, .n_ff = 12288,         \
        .n_dense = 1, .n_experts = 160, .n_used = 6, .n_shared = 2, .n_ff_expert = 1536, .n_vocab = 102400, .n_ctx = 163840, \
        .type = SMT_DTYPE_Q4_K                                                                                               \
    }
#define V3                                                                                                                       \
    {                                                                                                                            \
        .name = "V3", .latent = true, .v3 = true, .n_embd = 7168, .n_layers = 61, .n_heads = 128, .q_rank = 1536, .n_ff = 18432, \
        .n_dense = 3, .n_experts = 256, .n_used = 8, .n_shared = 1, .n_ff_expert = 2048, .n_vocab = 129280, .n_ctx = 163840,     \
        .type = SMT_DTYPE_Q4_K                                                                                                   \
    }
/* V2.5 and Coder-V2 have V2's shapes, Coder-V2-Lite has V2-Lite's, R1 has V3's. */
const smt_big_shape smt_big_v2_lite = V2_LITE, smt_big_v2 = V2, smt_big_v3 = V3;

#define MOE .n_dense = 1, .n_experts = 64, .n_used = 6, .n_shared = 2
#define DENSE(NAME, EMBD, LAYERS, HEADS, KV_HEADS, FF, VOCAB, CTX, THETA, LINEAR)                               \
    {                                                                                                           \
        .name = NAME, .n_embd = EMBD, .n_layers = LAYERS, .n_heads = HEADS, .n_kv_heads = KV_HEADS, .n_ff = FF, \
        .n_vocab = VOCAB, .n_ctx = CTX, .theta = THETA, .linear = LINEAR                                        \
    }
const smt_big_shape smt_big_models[] = {
    V2_LITE,
    V2,
    V3,
    {.name = "VL2-base",
     .latent = true,
     .v3 = true,
     .n_embd = 2560,
     .n_layers = 30,
     .n_heads = 32,
     .n_ff = 12288,
     .n_dense = 1,
     .n_experts = 72,
     .n_used = 6,
     .n_shared = 2,
     .n_ff_expert = 1536,
     .n_vocab = 129280,
     .n_ctx = 4096},
    {.name = "VL2-tiny",
     MOE,
     .n_embd = 1280,
     .n_layers = 12,
     .n_heads = 10,
     .n_kv_heads = 10,
     .n_ff = 6848,
     .n_ff_expert = 896,
     .n_vocab = 129280,
     .n_ctx = 4096,
     .theta = 10000},
    {.name = "deepseek-moe-16b",
     MOE,
     .n_embd = 2048,
     .n_layers = 28,
     .n_heads = 16,
     .n_kv_heads = 16,
     .n_ff = 10944,
     .n_ff_expert = 1408,
     .n_vocab = 102400,
     .n_ctx = 4096,
     .theta = 10000},
    DENSE("DeepSeek-LLM-7B", 4096, 30, 32, 32, 11008, 102400, 4096, 10000, 0),
    DENSE("DeepSeek-LLM-67B", 8192, 95, 64, 8, 22016, 102400, 4096, 10000, 0),
    DENSE("DeepSeek-Coder-6.7B", 4096, 32, 32, 32, 11008, 32256, 16384, 100000, 4),
    DENSE("DeepSeek-Coder-33B", 7168, 62, 56, 8, 19200, 32256, 16384, 100000, 4),
    DENSE("Llama-2-7B", 4096, 32, 32, 32, 11008, 32000, 4096, 10000, 0),
    DENSE("Llama-2-13B", 5120, 40, 40, 40, 13824, 32000, 4096, 10000, 0),
    DENSE("Llama-2-70B", 8192, 80, 64, 8, 28672, 32000, 4096, 10000, 0),
    DENSE("Llama-3-70B", 8192, 80, 64, 8, 28672, 128256, 8192, 500000, 0),
    {0},
};

typedef struct maker {
    smt_gguf_writer writer;
    const smt_big_shape *shape;
    const char *architecture;
    int layer; /* negative: outside the layers */
} maker;

/* ---- keys ---- */

static const char *full_key(const maker *m, const char *key, char name[96]) {
    snprintf(name, 96, "%s.%s", m->architecture, key);
    return name;
}

static void key_u32(maker *m, const char *key, uint32_t value) {
    char name[96];
    smt_gguf_write_u32(&m->writer, full_key(m, key, name), value);
}

static void key_f32(maker *m, const char *key, float value) {
    char name[96];
    smt_gguf_write_f32(&m->writer, full_key(m, key, name), value);
}

static void latent_keys(maker *m) {
    const smt_big_shape *s = m->shape;
    char name[96];
    key_u32(m, "attention.head_count_kv", s->split ? 1 : s->n_heads);
    key_u32(m, "attention.key_length", s->split ? LATENT + ROPE : NOPE + ROPE);
    key_u32(m, "attention.value_length", s->split ? LATENT : VALUE);
    if (s->split) key_u32(m, "attention.key_length_mla", NOPE + ROPE);
    if (s->split) key_u32(m, "attention.value_length_mla", VALUE);
    key_u32(m, "attention.kv_lora_rank", LATENT);
    if (s->q_rank) key_u32(m, "attention.q_lora_rank", s->q_rank);
    key_u32(m, "rope.dimension_count", ROPE);
    if (s->n_ctx <= 4096) return;
    smt_gguf_write_text(&m->writer, full_key(m, "rope.scaling.type", name), "yarn");
    key_u32(m, "rope.scaling.original_context_length", 4096);
    key_f32(m, "rope.scaling.factor", 40);
    key_f32(m, "rope.scaling.yarn_log_multiplier", 0.1f);
}

static void plain_keys(maker *m) {
    char name[96];
    key_u32(m, "attention.head_count_kv", m->shape->n_kv_heads);
    key_f32(m, "rope.freq_base", m->shape->theta);
    if (m->shape->linear == 0) return;
    smt_gguf_write_text(&m->writer, full_key(m, "rope.scaling.type", name), "linear");
    key_f32(m, "rope.scaling.factor", m->shape->linear);
}

static void expert_keys(maker *m) {
    const smt_big_shape *s = m->shape;
    char name[96];
    key_u32(m, "leading_dense_block_count", s->n_dense);
    key_u32(m, "expert_count", s->n_experts);
    key_u32(m, "expert_used_count", s->n_used);
    key_u32(m, "expert_shared_count", s->n_shared);
    key_u32(m, "expert_feed_forward_length", s->n_ff_expert);
    if (!s->v3) return;
    key_u32(m, "expert_gating_func", 2);
    smt_gguf_write_bool(&m->writer, full_key(m, "expert_weights_norm", name), true);
}

static void add_keys(maker *m) {
    const smt_big_shape *s = m->shape;
    smt_gguf_write_text(&m->writer, "general.architecture", m->architecture);
    key_u32(m, "block_count", s->n_layers);
    key_u32(m, "context_length", s->n_ctx);
    key_u32(m, "embedding_length", s->n_embd);
    key_u32(m, "feed_forward_length", s->n_ff);
    key_u32(m, "attention.head_count", s->n_heads);
    key_f32(m, "attention.layer_norm_rms_epsilon", 1e-6f);
    if (s->latent)
        latent_keys(m);
    else
        plain_keys(m);
    if (s->n_experts) expert_keys(m);
}

/* ---- tensors ---- */

static void add_typed(maker *m, const char *name, smt_dtype type, uint64_t k, uint64_t rows, uint64_t planes) {
    char text[64];
    if (m->layer < 0)
        snprintf(text, sizeof text, "%s", name);
    else
        snprintf(text, sizeof text, "blk.%d.%s", m->layer, name);
    smt_gguf_write_tensor(&m->writer, text, (uint32_t)type, (uint64_t[]){k, rows, planes, 1}, NULL);
}

static void add(maker *m, const char *name, uint64_t k, uint64_t rows, uint64_t planes) {
    add_typed(m, name, rows == 1 ? SMT_DTYPE_F32 : k % 256 ? SMT_DTYPE_Q4_0 : m->shape->type, k, rows, planes);
}

static void add_latent(maker *m) {
    const smt_big_shape *s = m->shape;
    const uint32_t d = s->n_embd, q_rows = s->n_heads * (NOPE + ROPE);
    if (s->q_rank) {
        add(m, "attn_q_a.weight", d, s->q_rank, 1);
        add(m, "attn_q_a_norm.weight", s->q_rank, 1, 1);
        add(m, "attn_q_b.weight", s->q_rank, q_rows, 1);
    } else
        add(m, "attn_q.weight", d, q_rows, 1);
    add(m, "attn_kv_a_mqa.weight", d, LATENT + ROPE, 1);
    add(m, "attn_kv_a_norm.weight", LATENT, 1, 1);
    if (s->split) {
        add(m, "attn_k_b.weight", NOPE, LATENT, s->n_heads);
        add(m, "attn_v_b.weight", LATENT, VALUE, s->n_heads);
    } else
        add(m, "attn_kv_b.weight", LATENT, s->n_heads * (NOPE + VALUE), 1);
    add(m, "attn_output.weight", s->n_heads * VALUE, d, 1);
}

static void add_plain(maker *m) {
    const smt_big_shape *s = m->shape;
    const uint32_t d = s->n_embd, kv_rows = d / s->n_heads * s->n_kv_heads;
    add(m, "attn_q.weight", d, d, 1);
    add(m, "attn_k.weight", d, kv_rows, 1);
    add(m, "attn_v.weight", d, kv_rows, 1);
    add(m, "attn_output.weight", d, d, 1);
}

static void add_feed_forward(maker *m) {
    const smt_big_shape *s = m->shape;
    const uint32_t d = s->n_embd, e = s->n_ff_expert, shared = s->n_shared * e;
    add(m, "ffn_norm.weight", d, 1, 1);
    if (!s->n_experts || m->layer < (int)s->n_dense) {
        add(m, "ffn_gate.weight", d, s->n_ff, 1);
        add(m, "ffn_up.weight", d, s->n_ff, 1);
        add(m, "ffn_down.weight", s->n_ff, d, 1);
        return;
    }
    add_typed(m, "ffn_gate_inp.weight", SMT_DTYPE_F32, d, s->n_experts, 1);
    if (s->v3) add(m, "exp_probs_b.bias", s->n_experts, 1, 1);
    add(m, "ffn_gate_exps.weight", d, e, s->n_experts);
    add(m, "ffn_up_exps.weight", d, e, s->n_experts);
    add(m, "ffn_down_exps.weight", e, d, s->n_experts);
    add(m, "ffn_gate_shexp.weight", d, shared, 1);
    add(m, "ffn_up_shexp.weight", d, shared, 1);
    add(m, "ffn_down_shexp.weight", shared, d, 1);
}

/* ---- files ---- */

bool smt_big_write(const smt_big_shape *shape, const char *path) {
    maker m = {.shape = shape, .layer = -1};
    smt_error err;
    m.architecture = shape->latent ? "deepseek2" : shape->n_experts ? "deepseek" : "llama";
    add_keys(&m);
    add(&m, "token_embd.weight", shape->n_embd, shape->n_vocab, 1);
    add(&m, "output.weight", shape->n_embd, shape->n_vocab, 1);
    add(&m, "output_norm.weight", shape->n_embd, 1, 1);
    for (m.layer = 0; m.layer < (int)shape->n_layers; m.layer++) {
        add(&m, "attn_norm.weight", shape->n_embd, 1, 1);
        if (shape->latent)
            add_latent(&m);
        else
            add_plain(&m);
        add_feed_forward(&m);
    }
    smt_status status = smt_gguf_write_file(&m.writer, path, &err);
    smt_gguf_write_free(&m.writer);
    return status == SMT_OK;
}

bool smt_big_open(const smt_big_shape *shape, smt_gguf **out) {
    smt_error err;
    char path[1024];
    *out = NULL;
    snprintf(path, sizeof path, "%s/big-model-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    bool made = smt_big_write(shape, path) && smt_gguf_open(path, out, &err) == SMT_OK;
    remove(path);
    return made;
}
