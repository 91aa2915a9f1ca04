/* make_trace.c: writes a synthetic routing trace, for trying the viewer and `seamount trace report` by hand.
 *
 *     make_trace OUT.trace [TOKENS [SHAPE [SKEW [REPEAT]]]]     SHAPE: v3 (the default), v2-lite, tiny, or
 *     split: v2-lite's layers divided over three devices, with a slow hop to the second,
 *     or served: tiny with three sessions; see fake_trace.h
 *
 * tests/data/small.trace, a seed for the fuzzer, is 40 tokens of the shape tiny, written when the format was at version 1. */
#include "fake_trace.h"

static const struct {
    const char *name;
    smt_fake_trace_options options;
} shapes[] = {
    {"v2-lite", {.n_dense = 1, .n_moe = 26, .n_experts = 64, .n_used = 6, .n_prompt = 16, .skew = 0.3, .repeat = 0.1, .seed = 2}},
    {"split",
     {.n_dense = 1,
      .n_moe = 26,
      .n_experts = 64,
      .n_used = 6,
      .n_devices = 3,
      .n_prompt = 16,
      .by_layer = true,
      .slow_hop = 1,
      .seed = 2}},
    {"served", {.n_dense = 1, .n_moe = 2, .n_experts = 8, .n_used = 2, .n_prompt = 3, .n_sessions = 3, .seed = 4}},
    {"tiny",
     {.n_dense = 1, .n_moe = 2, .n_experts = 8, .n_used = 2, .n_groups = 2, .n_groups_used = 2, .n_prompt = 3, .seed = 3}},
};

int main(int argc, char **argv) {
    smt_fake_trace_options options = smt_fake_deepseek_v3();
    bool known = argc <= 3 || !strcmp(argv[3], "v3");
    for (size_t i = 0; i < SMT_COUNT(shapes) && !known; i++) {
        known = !strcmp(argv[3], shapes[i].name);
        if (known) options = shapes[i].options;
    }
    if (argc < 2 || argc > 6 || !known) {
        fprintf(stderr, "usage: make_trace OUT.trace [TOKENS [v3|v2-lite|split|served|tiny [SKEW [REPEAT, below 1]]]]\n");
        return 2;
    }
    if (argc > 4) options.skew = strtod(argv[4], NULL);
    if (argc > 5) options.repeat = strtod(argv[5], NULL);
    smt_error err = {0};
    uint32_t n_tokens = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10000;
    if (smt_fake_trace_write(&options, argv[1], n_tokens, &err) == SMT_OK) return 0;
    fprintf(stderr, "%s\n", err.message);
    return 1;
}
