/* hf_from_gguf.c: the way back: matrices and vocabulary of a GGUF file as the published code names and orders them. */
#include "hf_folder.h"
#include "quant/quant.h"

static const struct {
    const char *gguf, *hf;
} names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_q_a.weight", "self_attn.q_a_proj.weight"},
    {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"},
    {"attn_q_b.weight", "self_attn.q_b_proj.weight"},
    {"attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"},
    {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_gate_inp.weight", "mlp.gate.weight"},
    {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
    {"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"},
    {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
    {"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"},
    {"ffn_gate_exps.weight", "gate_proj.weight"},
    {"ffn_up_exps.weight", "up_proj.weight"},
    {"ffn_down_exps.weight", "down_proj.weight"},
};

static const char *hf_name(const char *gguf) {
    if (!strncmp(gguf, "nextn.", 6)) return gguf; /* layers that predict further tokens: no converter wants these */
    for (size_t i = 0; i < SMT_COUNT(names); i++)
        if (strcmp(names[i].gguf, gguf) == 0) return names[i].hf;
    fail_msg("no name for %s", gguf);
    return NULL;
}

uint8_t *smt_hf_tensor_bytes(const smt_gguf_tensor *tensor) {
    smt_error err = {0};
    uint8_t *bytes = smt_alloc(tensor->bytes, 1);
    assert_non_null(bytes);
    SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, 0, bytes, tensor->bytes, &err), &err);
    return bytes;
}

float *smt_hf_tensor_values(const smt_gguf_tensor *tensor) {
    uint64_t n = tensor->ne[0] * tensor->ne[1] * tensor->ne[2];
    uint8_t *bytes = smt_hf_tensor_bytes(tensor);
    float *values = smt_alloc(n, sizeof *values);
    assert_true(values && smt_quant_decode(tensor->type, bytes, values, n));
    smt_free(bytes);
    return values;
}

void smt_hf_same_tensors(const smt_gguf *want, const smt_gguf *got) {
    assert_int_equal(smt_gguf_tensor_count(got), smt_gguf_tensor_count(want));
    for (uint64_t i = 0; i < smt_gguf_tensor_count(want); i++) {
        const smt_gguf_tensor *a = smt_gguf_tensor_at(want, i), *b = smt_gguf_find_tensor(got, a->name);
        if (!b) fail_msg("tensor %s is missing", a->name);
        assert_int_equal(b->type, a->type);
        assert_memory_equal(b->ne, a->ne, sizeof a->ne);
        uint8_t *a_bytes = smt_hf_tensor_bytes(a), *b_bytes = smt_hf_tensor_bytes(b);
        if (memcmp(a_bytes, b_bytes, a->bytes) != 0) fail_msg("tensor %s has other values", a->name);
        smt_free(a_bytes);
        smt_free(b_bytes);
    }
}

/* Rows of one head: pairs (2i, 2i + 1) back to halves (i, i + d/2). */
static void split_pairs(float *values, uint64_t rows, uint64_t k, uint32_t head) {
    float *copy = smt_alloc(rows * k, sizeof *copy);
    memcpy(copy, values, rows * k * sizeof *copy);
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t first = r / head * head, i = r % head;
        uint64_t pair_row = i < head / 2 ? first + 2 * i : first + 2 * (i - head / 2) + 1;
        memcpy(values + r * k, copy + pair_row * k, k * sizeof *copy);
    }
    smt_free(copy);
}

/* kv_b_proj row h * (n + v) + j is column j of k_b's plane h, or for j >= n row j - n of v_b's. */
static void add_expansion(smt_hf_folder *folder, const smt_gguf *file, unsigned layer, const smt_gguf_tensor *k_b,
                          const char *dtype) {
    char name[160];
    snprintf(name, sizeof name, "blk.%u.attn_v_b.weight", layer);
    const smt_gguf_tensor *v_b = smt_gguf_find_tensor(file, name);
    uint64_t n = k_b->ne[0], rank = k_b->ne[1], heads = k_b->ne[2], v = v_b->ne[1];
    float *k_values = smt_hf_tensor_values(k_b), *v_values = smt_hf_tensor_values(v_b),
          *joint = smt_alloc(heads * (n + v) * rank, sizeof *joint);
    for (uint64_t h = 0; h < heads; h++)
        for (uint64_t j = 0; j < n + v; j++)
            for (uint64_t r = 0; r < rank; r++)
                joint[(h * (n + v) + j) * rank + r] =
                    j < n ? k_values[(h * rank + r) * n + j] : v_values[(h * v + j - n) * rank + r];
    snprintf(name, sizeof name, "model.layers.%u.self_attn.kv_b_proj.weight", layer);
    smt_hf_add(folder, name, dtype, heads * (n + v), rank, joint);
    smt_free(k_values);
    smt_free(v_values);
    smt_free(joint);
}

static void add_layer_tensor(smt_hf_folder *folder, const smt_gguf *file, const smt_gguf_tensor *tensor, unsigned layer,
                             const char *part, const char *dtype, bool pairs) {
    char name[160];
    if (!strcmp(part, "attn_v_b.weight")) return; /* goes with k_b */
    if (!strcmp(part, "attn_k_b.weight")) {
        add_expansion(folder, file, layer, tensor, dtype);
        return;
    }
    float *values = smt_hf_tensor_values(tensor);
    uint64_t k = tensor->ne[0], rows = tensor->n_dims > 1 ? tensor->ne[1] : 0;
    if (!strcmp(part, "ffn_gate_up_exps.weight")) /* gate rows, then up rows in each plane */
        for (uint64_t p = 0; p < 2 * tensor->ne[2]; p++) {
            snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.%s_proj.weight", layer, (unsigned)(p / 2),
                     p % 2 ? "up" : "gate");
            smt_hf_add(folder, name, dtype, rows / 2, k, values + p * rows / 2 * k);
        }
    else if (strstr(part, "_exps."))
        for (uint64_t e = 0; e < tensor->ne[2]; e++) {
            snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.%s", layer, (unsigned)e, hf_name(part));
            smt_hf_add(folder, name, dtype, rows, k, values + e * rows * k);
        }
    else {
        smt_gguf_string architecture;
        uint32_t head = 0;
        char key[96];
        smt_gguf_text(file, "general.architecture", &architecture, NULL, NULL);
        snprintf(key, sizeof key, "%.*s.rope.dimension_count", (int)architecture.bytes, architecture.text);
        smt_gguf_u32(file, key, &head, NULL, NULL);
        if (pairs && (!strcmp(part, "attn_q.weight") || !strcmp(part, "attn_k.weight"))) split_pairs(values, rows, k, head);
        snprintf(name, sizeof name, "model.layers.%u.%s", layer, hf_name(part));
        smt_hf_add(folder, name, tensor->type == SMT_DTYPE_F32 ? "F32" : dtype, rows, k, values);
    }
    smt_free(values);
}

void smt_hf_from_gguf(smt_hf_folder *folder, const smt_gguf *file, const char *dtype) {
    smt_gguf_string architecture;
    smt_gguf_text(file, "general.architecture", &architecture, NULL, NULL);
    bool pairs = architecture.bytes != 9 || memcmp(architecture.text, "deepseek2", 9) != 0;
    for (uint64_t i = 0; i < smt_gguf_tensor_count(file); i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(file, i);
        unsigned layer;
        int used;
        if (sscanf(tensor->name, "blk.%u.%n", &layer, &used) == 1) {
            add_layer_tensor(folder, file, tensor, layer, tensor->name + used, dtype, pairs);
            continue;
        }
        float *values = smt_hf_tensor_values(tensor);
        smt_hf_add(folder, hf_name(tensor->name), tensor->type == SMT_DTYPE_F32 ? "F32" : dtype,
                   tensor->n_dims > 1 ? tensor->ne[1] : 0, tensor->ne[0], values);
        smt_free(values);
    }
}

/* ---- tokenizers ---- */

#define SPLIT(pattern) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false},"
#define BYTES          "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}"
#define DIGITS         "{\"type\":\"Digits\",\"individual_digits\":true},"
#define SEQUENCE       "{\"type\":\"Sequence\",\"pretokenizers\":["
#define CJK            SPLIT("[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+")

const char smt_hf_pre_deepseek_llm[] = SEQUENCE SPLIT("[\\r\\n]") SPLIT(
    "\\\\s?[A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf\\u01c4-\\u0293\\u0295-\\u02af\\u0370-"
    "\\u0373"
    "\\u0386\\u0388-\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481\\u048a-\\u052f\\u0531-\\u0556\\u10a0-\\u10c5"
    "\\u13a0-\\u13f5\\u1e00-\\u1f15\\u2c00-\\u2c7b\\uff21-\\uff3a\\uff41-\\uff5a\\ud801\\udc00-\\ud801\\udc4f]+")
    SPLIT("\\\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+") SPLIT("\\\\s+$") CJK DIGITS BYTES "]}";
const char smt_hf_pre_deepseek_coder[] =
    SEQUENCE SPLIT("[\\r\\n]") SPLIT("\\\\s?\\\\p{L}+") SPLIT("\\\\s?\\\\p{P}+") CJK DIGITS BYTES "]}";
const char smt_hf_pre_deepseek_v3[] = SEQUENCE SPLIT("\\\\p{N}{1,3}") SPLIT("[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+")
    SPLIT("[!\\\"#$%&'()*+,\\\\-./"
          ":;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| "
          "?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+") BYTES "]}";
const char smt_hf_pre_llama3[] =
    SEQUENCE SPLIT("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
                   "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+") BYTES "]}";

typedef struct piece {
    json_int_t id;
    float score;
} piece;

static int by_descending_score(const void *a, const void *b) {
    const piece *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Best piece first: every way to cut it into two pieces of the vocabulary. */
static json_t *merges_from_scores(const smt_gguf *file, const json_t *vocab) {
    const smt_gguf_key *texts = smt_gguf_find(file, "tokenizer.ggml.tokens"),
                       *scores = smt_gguf_find(file, "tokenizer.ggml.scores"),
                       *types = smt_gguf_find(file, "tokenizer.ggml.token_type");
    piece *pieces = smt_alloc(texts->count, sizeof *pieces);
    json_t *merges = json_array();
    size_t n = 0;
    for (uint64_t i = 0; i < texts->count; i++)
        if (smt_gguf_array_int(types, i) == 1) pieces[n++] = (piece){(json_int_t)i, smt_gguf_array_f32(scores, i)};
    qsort(pieces, n, sizeof *pieces, by_descending_score);
    for (size_t p = 0; p < n; p++) {
        smt_gguf_string text = texts->strings[pieces[p].id];
        for (size_t cut = 1; cut < text.bytes; cut++) {
            char left[256], right[256], line[512];
            if ((text.text[cut] & 0xc0) == 0x80 || text.bytes >= sizeof left) continue; /* inside a character */
            snprintf(left, sizeof left, "%.*s", (int)cut, text.text);
            snprintf(right, sizeof right, "%.*s", (int)(text.bytes - cut), text.text + cut);
            if (!json_object_get(vocab, left) || !json_object_get(vocab, right)) continue;
            snprintf(line, sizeof line, "%s %s", left, right);
            json_array_append_new(merges, json_string(line));
        }
    }
    smt_free(pieces);
    return merges;
}

static json_t *merges_as_they_are(const smt_gguf *file, bool pairs) {
    const smt_gguf_key *key = smt_gguf_find(file, "tokenizer.ggml.merges");
    json_t *merges = json_array();
    for (uint64_t i = 0; i < key->count; i++) {
        smt_gguf_string line = key->strings[i];
        const char *space = memchr(line.text + 1, ' ', line.bytes - 1);
        size_t left = (size_t)(space - line.text);
        if (pairs)
            json_array_append_new(merges, json_pack("[s%, s%]", line.text, left, space + 1, line.bytes - left - 1));
        else
            json_array_append_new(merges, json_stringn(line.text, line.bytes));
    }
    return merges;
}

static void write_config(smt_hf_folder *folder, const smt_gguf *file) {
    const smt_gguf_key *texts = smt_gguf_find(file, "tokenizer.ggml.tokens");
    bool bos = false, eos = false;
    uint32_t id;
    json_t *config = json_object();
    static const char *const ids[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token"},
                                         {"tokenizer.ggml.eos_token_id", "eos_token"},
                                         {"tokenizer.ggml.unknown_token_id", "unk_token"},
                                         {"tokenizer.ggml.padding_token_id", "pad_token"}};
    for (size_t i = 0; i < SMT_COUNT(ids); i++) {
        bool found;
        smt_gguf_u32(file, ids[i][0], &id, &found, NULL);
        if (!found) continue;
        json_t *text = json_stringn(texts->strings[id].text, texts->strings[id].bytes);
        json_object_set_new(config, ids[i][1], i % 2 ? json_pack("{s:o, s:b}", "content", text, "lstrip", 0) : text);
    }
    smt_gguf_bool(file, "tokenizer.ggml.add_bos_token", &bos, NULL, NULL);
    smt_gguf_bool(file, "tokenizer.ggml.add_eos_token", &eos, NULL, NULL);
    json_object_set_new(config, "add_bos_token", json_boolean(bos));
    json_object_set_new(config, "add_eos_token", json_boolean(eos));
    json_object_set_new(config, "model_max_length", json_real(1e30)); /* as published: beyond 64 bits */
    smt_hf_json(folder, "tokenizer_config.json", config);
}

void smt_hf_tokenizer(smt_hf_folder *folder, const smt_gguf *file, const char *pre, bool merges_as_pairs) {
    const smt_gguf_key *texts = smt_gguf_find(file, "tokenizer.ggml.tokens"),
                       *types = smt_gguf_find(file, "tokenizer.ggml.token_type");
    bool spm = smt_gguf_find(file, "tokenizer.ggml.scores") != NULL;
    json_t *vocab = json_object(), *added = json_array();
    for (uint64_t i = 0; i < texts->count; i++) {
        int64_t type = smt_gguf_array_int(types, i);
        json_t *text = json_stringn(texts->strings[i].text, texts->strings[i].bytes);
        if (type == 2 || type == 3 || type == 4)
            json_array_append_new(added, json_pack("{s:I, s:O, s:b, s:b}", "id", (json_int_t)i, "content", text, "normalized", 0,
                                                   "special", type != 4));
        if (type == 1 || type == 2 || type == 6) json_object_set_new(vocab, json_string_value(text), json_integer((json_int_t)i));
        json_decref(text);
    }
    json_t *merges = spm ? merges_from_scores(file, vocab) : merges_as_they_are(file, merges_as_pairs);
    json_t *model = json_pack("{s:s, s:n, s:o?, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                              spm ? json_string("<unk>") : NULL, "byte_fallback", spm, "vocab", vocab, "merges", merges);
    json_t *normalizer =
        spm ? json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:{s:s}, s:s}]}", "type", "Sequence", "normalizers", "type", "Prepend",
                        "prepend", "\xe2\x96\x81", "type", "Replace", "pattern", "String", " ", "content", "\xe2\x96\x81")
            : json_pack("{s:s, s:[]}", "type", "Sequence", "normalizers");
    json_t *pre_tokenizer = pre && !spm ? json_loads(pre, 0, NULL) : json_null();
    assert_true(model && normalizer && pre_tokenizer);
    smt_hf_json(folder, "tokenizer.json",
                json_pack("{s:s, s:o, s:o, s:o, s:o}", "version", "1.0", "added_tokens", added, "normalizer", normalizer,
                          "pre_tokenizer", pre_tokenizer, "model", model));
    write_config(folder, file);
}
