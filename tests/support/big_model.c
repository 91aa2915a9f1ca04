/* big_model.c: see big_model.h. The shapes are the published configurations of DeepSeek-V2-Lite, V2 and V3. */
#include "big_model.h"

#include "gguf_write.h"
#include "support.h"

#include <unistd.h>

enum { LATENT = 512, NOPE = 128, ROPE = 64, VALUE = 128 };

const smt_big_shape smt_big_v2_lite = {2048, 27, 16, 0, 10944, 1, 64, 6, 2, 1408, 102400, false, SMT_DTYPE_Q4_K};
const smt_big_shape smt_big_v2 = {5120, 60, 128, 1536, 12288, 1, 160, 6, 2, 1536, 102400, false, SMT_DTYPE_Q4_K};
const smt_big_shape smt_big_v3 = {7168, 61, 128, 1536, 18432, 3, 256, 8, 1, 2048, 129280, true, SMT_DTYPE_Q4_K};

typedef struct maker {
    smt_gguf_writer writer;
    const smt_big_shape *shape;
    int layer; /* negative: outside the layers */
} maker;

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

static void add_keys(maker *m) {
    const smt_big_shape *s = m->shape;
    smt_gguf_writer *w = &m->writer;
    const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"block_count", s->n_layers},
                   {"context_length", 163840},
                   {"embedding_length", s->n_embd},
                   {"feed_forward_length", s->n_ff},
                   {"attention.head_count", s->n_heads},
                   {"attention.head_count_kv", s->n_heads},
                   {"attention.key_length", NOPE + ROPE},
                   {"attention.value_length", VALUE},
                   {"attention.kv_lora_rank", LATENT},
                   {"rope.dimension_count", ROPE},
                   {"rope.scaling.original_context_length", 4096},
                   {"leading_dense_block_count", s->n_dense},
                   {"expert_count", s->n_experts},
                   {"expert_used_count", s->n_used},
                   {"expert_shared_count", s->n_shared},
                   {"expert_feed_forward_length", s->n_ff_expert}};
    char name[96];
    smt_gguf_write_text(w, "general.architecture", "deepseek2");
    for (size_t i = 0; i < SMT_COUNT(numbers); i++) {
        snprintf(name, sizeof name, "deepseek2.%s", numbers[i].key);
        smt_gguf_write_u32(w, name, numbers[i].value);
    }
    if (s->q_rank) smt_gguf_write_u32(w, "deepseek2.attention.q_lora_rank", s->q_rank);
    if (s->v3) smt_gguf_write_u32(w, "deepseek2.expert_gating_func", 2);
    smt_gguf_write_f32(w, "deepseek2.attention.layer_norm_rms_epsilon", 1e-6f);
    smt_gguf_write_text(w, "deepseek2.rope.scaling.type", "yarn");
    smt_gguf_write_f32(w, "deepseek2.rope.scaling.factor", 40);
    smt_gguf_write_f32(w, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1f);
}

static void add_attention(maker *m) {
    const smt_big_shape *s = m->shape;
    const uint32_t d = s->n_embd, q_rows = s->n_heads * (NOPE + ROPE);
    add(m, "attn_norm.weight", d, 1, 1);
    if (s->q_rank) {
        add(m, "attn_q_a.weight", d, s->q_rank, 1);
        add(m, "attn_q_a_norm.weight", s->q_rank, 1, 1);
        add(m, "attn_q_b.weight", s->q_rank, q_rows, 1);
    } else
        add(m, "attn_q.weight", d, q_rows, 1);
    add(m, "attn_kv_a_mqa.weight", d, LATENT + ROPE, 1);
    add(m, "attn_kv_a_norm.weight", LATENT, 1, 1);
    add(m, "attn_kv_b.weight", LATENT, s->n_heads * (NOPE + VALUE), 1);
    add(m, "attn_output.weight", s->n_heads * VALUE, d, 1);
}

static void add_feed_forward(maker *m) {
    const smt_big_shape *s = m->shape;
    const uint32_t d = s->n_embd, e = s->n_ff_expert, shared = s->n_shared * e;
    add(m, "ffn_norm.weight", d, 1, 1);
    if (m->layer < (int)s->n_dense) {
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

bool smt_big_open(const smt_big_shape *shape, smt_gguf **out) {
    maker m = {.shape = shape, .layer = -1};
    smt_error err;
    char path[1024];
    *out = NULL;
    snprintf(path, sizeof path, "%s/big-model-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    add_keys(&m);
    add(&m, "token_embd.weight", shape->n_embd, shape->n_vocab, 1);
    add(&m, "output.weight", shape->n_embd, shape->n_vocab, 1);
    add(&m, "output_norm.weight", shape->n_embd, 1, 1);
    for (m.layer = 0; m.layer < (int)shape->n_layers; m.layer++) {
        add_attention(&m);
        add_feed_forward(&m);
    }
    smt_status status = smt_gguf_write_file(&m.writer, path, &err);
    smt_gguf_write_free(&m.writer);
    if (status == SMT_OK) status = smt_gguf_open(path, out, &err);
    remove(path);
    return status == SMT_OK;
}
