/* quantize_mix.c: the named mixes as a table of rules. Pure.
 *
 * A mix has a base type, and rules that spend more bits where they are known to matter: the value and output projections of
 * attention and the down projections of the feed-forward part, in all layers or in the first, the last and every third of
 * those between. The rules, the names and general.file_type are those of the common quantiser, so that a file of ours has
 * the tensor types that its name promises. The first rule that fits a tensor decides. */
#include "quantize_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- the mixes ---- */

typedef enum mix_id {
    PLAIN, /* base type everywhere but for the output */
    Q4_0,
    Q5_0,
    Q2_K,
    Q2_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_M,
    IQ4,
    MXFP4_MOE
} mix_id;

static const struct {
    smt_mix mix;
    mix_id rules;
} mixes[] = {
    {{"F32", 0, SMT_DTYPE_F32}, PLAIN},
    {{"F16", 1, SMT_DTYPE_F16}, PLAIN},
    {{"BF16", 32, SMT_DTYPE_BF16}, PLAIN},
    {{"Q4_0", 2, SMT_DTYPE_Q4_0}, Q4_0},
    {{"Q4_1", 3, SMT_DTYPE_Q4_1}, PLAIN},
    {{"Q5_0", 8, SMT_DTYPE_Q5_0}, Q5_0},
    {{"Q5_1", 9, SMT_DTYPE_Q5_1}, PLAIN},
    {{"Q8_0", 7, SMT_DTYPE_Q8_0}, PLAIN},
    {{"Q2_K", 10, SMT_DTYPE_Q2_K}, Q2_K},
    {{"Q2_K_S", 21, SMT_DTYPE_Q2_K}, Q2_K_S},
    {{"Q3_K_S", 11, SMT_DTYPE_Q3_K}, PLAIN},
    {{"Q3_K_M", 12, SMT_DTYPE_Q3_K}, Q3_K_M},
    {{"Q3_K_L", 13, SMT_DTYPE_Q3_K}, Q3_K_L},
    {{"Q4_K_S", 14, SMT_DTYPE_Q4_K}, Q4_K_S},
    {{"Q4_K_M", 15, SMT_DTYPE_Q4_K}, Q4_K_M},
    {{"Q5_K_S", 16, SMT_DTYPE_Q5_K}, PLAIN},
    {{"Q5_K_M", 17, SMT_DTYPE_Q5_K}, Q5_K_M},
    {{"Q6_K", 18, SMT_DTYPE_Q6_K}, PLAIN},
    {{"IQ4_NL", 25, SMT_DTYPE_IQ4_NL}, IQ4},
    {{"IQ4_XS", 30, SMT_DTYPE_IQ4_XS}, IQ4},
    {{"MXFP4_MOE", 38, SMT_DTYPE_Q8_0}, MXFP4_MOE},
};

/* Short names for the middle one of three. */
static const struct { const char *name, *mix; } aliases[] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

const smt_mix *smt_mix_find(const char *name) {
    for (size_t i = 0; i < SMT_COUNT(aliases); i++)
        if (!strcasecmp(aliases[i].name, name)) name = aliases[i].mix;
    for (size_t i = 0; i < SMT_COUNT(mixes); i++)
        if (!strcasecmp(mixes[i].mix.name, name)) return &mixes[i].mix;
    return NULL;
}

void smt_mix_list(char *text, size_t capacity) {
    size_t used = 0;
    for (size_t i = 0; i < SMT_COUNT(mixes) && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", i ? ", " : "", mixes[i].mix.name);
}

/* ---- the rules ---- */

typedef enum where {
    EVERYWHERE,
    FIRST_TWO, /* layers */
    FIRST_FOUR,
    FIRST_16TH,
    FIRST_8TH,
    FIRST_8TH_BLIND,   /* without an importance matrix */
    FIRST_8TH_WEIGHED, /* with one */
    MORE_BITS,         /* the first and the last eighth, and every third layer between */
    GROUPED            /* four query heads or more share a value head */
} where;

static const struct {
    mix_id mix;
    const char *part; /* found in the tensor's name */
    where where;
    smt_dtype type;
} rules[] = {
    {Q4_0, "ffn_down", FIRST_8TH_WEIGHED, SMT_DTYPE_Q4_1},
    {Q5_0, "ffn_down", FIRST_8TH_WEIGHED, SMT_DTYPE_Q5_1},

    {Q2_K, "attn_v.weight", GROUPED, SMT_DTYPE_Q4_K},
    {Q2_K, "attn_v.weight", EVERYWHERE, SMT_DTYPE_Q3_K},
    {Q2_K, "ffn_down", EVERYWHERE, SMT_DTYPE_Q3_K},
    {Q2_K, "attn_output.weight", EVERYWHERE, SMT_DTYPE_Q3_K},

    {Q2_K_S, "attn_v.weight", GROUPED, SMT_DTYPE_Q4_K},
    {Q2_K_S, "ffn_down", FIRST_8TH, SMT_DTYPE_Q4_K},

    {Q3_K_M, "attn_v.weight", FIRST_TWO, SMT_DTYPE_Q5_K},
    {Q3_K_M, "attn_v.weight", EVERYWHERE, SMT_DTYPE_Q4_K},
    {Q3_K_M, "ffn_down", FIRST_16TH, SMT_DTYPE_Q5_K},
    {Q3_K_M, "ffn_down", EVERYWHERE, SMT_DTYPE_Q4_K},
    {Q3_K_M, "attn_output.weight", EVERYWHERE, SMT_DTYPE_Q4_K},
    {Q3_K_M, "attn_qkv.weight", EVERYWHERE, SMT_DTYPE_Q4_K},

    {Q3_K_L, "attn_v.weight", EVERYWHERE, SMT_DTYPE_Q5_K},
    {Q3_K_L, "ffn_down", EVERYWHERE, SMT_DTYPE_Q5_K},
    {Q3_K_L, "attn_output.weight", EVERYWHERE, SMT_DTYPE_Q5_K},
    {Q3_K_L, "attn_qkv.weight", EVERYWHERE, SMT_DTYPE_Q4_K},

    {Q4_K_S, "attn_v.weight", FIRST_FOUR, SMT_DTYPE_Q5_K},
    {Q4_K_S, "ffn_down", FIRST_8TH, SMT_DTYPE_Q5_K},

    {Q4_K_M, "attn_v.weight", MORE_BITS, SMT_DTYPE_Q6_K},
    {Q4_K_M, "ffn_down", MORE_BITS, SMT_DTYPE_Q6_K},
    {Q4_K_M, "attn_qkv.weight", EVERYWHERE, SMT_DTYPE_Q5_K},

    {Q5_K_M, "attn_v.weight", MORE_BITS, SMT_DTYPE_Q6_K},
    {Q5_K_M, "ffn_down", MORE_BITS, SMT_DTYPE_Q6_K},
    {Q5_K_M, "attn_qkv.weight", EVERYWHERE, SMT_DTYPE_Q6_K},

    {IQ4, "attn_v.weight", GROUPED, SMT_DTYPE_Q5_K},
    {IQ4, "ffn_down", FIRST_8TH_BLIND, SMT_DTYPE_Q5_K},

    {MXFP4_MOE, "_exps.weight", EVERYWHERE, SMT_DTYPE_MXFP4},
};

static mix_id rules_of(const smt_mix *mix) {
    for (size_t i = 0; i < SMT_COUNT(mixes); i++)
        if (&mixes[i].mix == mix) return mixes[i].rules;
    return PLAIN;
}

/* The N of "blk.N."; UINT32_MAX: the tensor belongs to no layer. */
static uint32_t layer_of(const char *name) {
    unsigned layer;
    return sscanf(name, "blk.%6u.", &layer) == 1 ? layer : UINT32_MAX;
}

static bool holds(where condition, const smt_mix_facts *facts, uint32_t layer) {
    const uint32_t n = facts->n_layers, eighth = n / 8;
    switch (condition) {
    case EVERYWHERE:
        return true;
    case FIRST_TWO:
        return layer < 2;
    case FIRST_FOUR:
        return layer < 4;
    case FIRST_16TH:
        return layer < n / 16;
    case FIRST_8TH:
        return layer < eighth;
    case FIRST_8TH_BLIND:
        return layer < eighth && !facts->has_imatrix;
    case FIRST_8TH_WEIGHED:
        return layer < eighth && facts->has_imatrix;
    case MORE_BITS:
        return layer < eighth || layer >= 7 * n / 8 || (layer - eighth) % 3 == 2;
    case GROUPED:
        return facts->heads_per_kv >= 4;
    }
    return false;
}

bool smt_mix_is_output(const smt_mix_facts *facts, const char *name) {
    return !strcmp(name, "output.weight") || (!facts->has_output && !strcmp(name, "token_embd.weight"));
}

/* The output costs little next to the rest and every logit goes through it. */
static smt_dtype output_type(const smt_mix *mix, uint64_t n) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)mix->base);
    if (info->elems == 1) return mix->base;
    if (n % info->elems || mix->base == SMT_DTYPE_Q8_0) return SMT_DTYPE_Q8_0;
    return SMT_DTYPE_Q6_K;
}

smt_dtype smt_mix_choose(const smt_mix *mix, const smt_mix_facts *facts, const smt_gguf_tensor *tensor) {
    if (smt_mix_is_output(facts, tensor->name)) return output_type(mix, tensor->ne[0]);
    smt_dtype type = mix->base;
    mix_id id = rules_of(mix);
    for (size_t i = 0; i < SMT_COUNT(rules); i++)
        if (rules[i].mix == id && strstr(tensor->name, rules[i].part) && holds(rules[i].where, facts, layer_of(tensor->name))) {
            type = rules[i].type;
            break;
        }
    /* The one llama of 80 layers (70B) shares each value head between eight: its small attn_v is worth more bits. */
    bool large = facts->llama && facts->n_layers == 80 && strstr(tensor->name, "attn_v.weight");
    return large && (type == SMT_DTYPE_Q3_K || type == SMT_DTYPE_Q4_K) ? SMT_DTYPE_Q5_K : type;
}

bool smt_mix_keeps(const smt_gguf_tensor *tensor) {
    static const char *const kept[] = {"_norm.weight", "ffn_gate_inp.weight", "position_embd", "token_types"};
    size_t length = strlen(tensor->name);
    if (length < 6 || strcmp(tensor->name + length - 6, "weight")) return true;
    if (tensor->type >= SMT_DTYPE_I8 && tensor->type <= SMT_DTYPE_F64) return true; /* tables, not weights */
    if (tensor->ne[1] == 1 && tensor->ne[2] == 1 && tensor->ne[3] == 1) return true;
    for (size_t i = 0; i < SMT_COUNT(kept); i++)
        if (strstr(tensor->name, kept[i])) return true;
    return false;
}

smt_dtype smt_mix_fit(smt_dtype type, uint64_t n) {
    static const struct {
        smt_dtype wanted, instead;
    } falls[] = {{SMT_DTYPE_Q2_K, SMT_DTYPE_IQ4_NL}, {SMT_DTYPE_Q3_K, SMT_DTYPE_IQ4_NL}, {SMT_DTYPE_IQ4_XS, SMT_DTYPE_IQ4_NL},
                 {SMT_DTYPE_Q4_K, SMT_DTYPE_Q5_0},   {SMT_DTYPE_Q5_K, SMT_DTYPE_Q5_1},   {SMT_DTYPE_Q6_K, SMT_DTYPE_Q8_0}};
    if (n % smt_dtype_get((uint32_t)type)->elems == 0) return type;
    for (size_t i = 0; i < SMT_COUNT(falls); i++)
        if (falls[i].wanted == type && n % 32 == 0) return falls[i].instead;
    return SMT_DTYPE_F16;
}

/* ---- facts ---- */

static uint32_t key_below(const smt_gguf *gguf, smt_gguf_string architecture, const char *key, uint32_t otherwise) {
    char name[160];
    uint32_t value = otherwise;
    snprintf(name, sizeof name, "%.*s.%s", (int)smt_min_u64(architecture.bytes, 64), architecture.text, key);
    return smt_gguf_u32(gguf, name, &value, NULL, NULL) == SMT_OK && value ? value : otherwise;
}

/* A fact that a file does not tell in the usual form (a number per layer, say) takes the value that no rule minds. */
void smt_mix_facts_of(const smt_gguf *gguf, smt_mix_facts *out) {
    smt_gguf_string architecture = {"", 0};
    bool named = smt_gguf_text(gguf, "general.architecture", &architecture, NULL, NULL) == SMT_OK;
    *out = (smt_mix_facts){.has_output = smt_gguf_find_tensor(gguf, "output.weight") != NULL,
                           .llama = named && architecture.bytes == 5 && !memcmp(architecture.text, "llama", 5)};
    uint32_t n_heads = key_below(gguf, architecture, "attention.head_count", 1);
    out->heads_per_kv = n_heads / key_below(gguf, architecture, "attention.head_count_kv", n_heads);
    for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
        uint32_t layer = layer_of(smt_gguf_tensor_at(gguf, i)->name);
        if (layer != UINT32_MAX) out->n_layers = smt_max_u32(out->n_layers, layer + 1);
    }
}
