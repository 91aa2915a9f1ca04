/* make_tiny_model.c: writes a small random model, for demonstrations, for trying commands by hand, and for the fixtures of
 * tests/data that golden.py computes on.
 *
 *     make_tiny_model OUT.gguf [TYPE [FAMILY]]     TYPE: F32 (the default), F16, BF16, Q8_0, Q4_K, ...
 *
 * FAMILY is one of the rows below; without it a deepseek2 model of the usual widths. */
#include "tiny_model.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name, *words;
    smt_status (*make)(const char *path, const smt_tiny_options *options, smt_error *err);
    smt_tiny_options options;
} families[] = {
    {"v2", "deepseek2 of the usual widths", smt_tiny_deepseek2, {0}},
    {"v3",
     "deepseek2 as V3: sigmoid, selection bias, groups, normalized weights, fused experts, a layer that predicts ahead",
     smt_tiny_deepseek2,
     {.small = true,
      .q_lora = true,
      .sigmoid = true,
      .ahead = true,
      .fused = true,
      .n_experts = 12,
      .n_used = 4,
      .group_size = 3}},
    {"moe",
     "deepseek: plain attention, softmax without groups",
     smt_tiny_deepseek,
     {.small = true, .n_experts = 12, .n_used = 4}},
    {"llama3",
     "llama: grouped queries, rotary divisors, linear scaling, base 500000, biases",
     smt_tiny_llama,
     {.small = true, .gqa = true, .divisors = true, .biases = true, .linear = 4, .rope_base = 500000}},
};

/* UINT32_MAX: no such type. */
static uint32_t find_type(const char *name) {
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) {
        const smt_dtype_info *info = smt_dtype_get(id);
        if (info && strcasecmp(info->name, name) == 0) return id;
    }
    return UINT32_MAX;
}

static size_t find_family(const char *name) {
    size_t i = 0;
    while (i < SMT_COUNT(families) && strcmp(families[i].name, name) != 0) i++;
    return i;
}

int main(int argc, char **argv) {
    uint32_t type = argc > 2 ? find_type(argv[2]) : SMT_DTYPE_F32;
    size_t family = argc > 3 ? find_family(argv[3]) : 0;
    if (argc < 2 || argc > 4 || type == UINT32_MAX || family == SMT_COUNT(families)) {
        fprintf(stderr, "usage: make_tiny_model OUT.gguf [TYPE [FAMILY]], TYPE such as F32, F16, Q8_0 or Q4_K, FAMILY one of\n");
        for (size_t i = 0; i < SMT_COUNT(families); i++) fprintf(stderr, "    %-8s %s\n", families[i].name, families[i].words);
        return 2;
    }
    smt_error err = {0};
    smt_tiny_options options = families[family].options;
    options.type = (smt_dtype)type;
    if (families[family].make(argv[1], &options, &err) != SMT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
