/* bench.h: what cmd_bench.c measures and bench_report.c writes.
 *
 * A test is named as llama-bench names it: pp512 evaluates 512 tokens in an empty context, tg32 draws an answer of 32 tokens, and
 * "@ d2048" says that the context held 2048 tokens before. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli.h"

typedef struct bench_setup {
    const char *model, *precision, *cache_type;
    char device[1024], driver[1024]; /* of several devices all, "A, B" */
    double read_bytes_s;             /* measured; 0: unknown, or not the same for all devices */
    double load_s;                   /* file to device, kernels compiled meanwhile; and what the runner allocates */
    uint32_t n_layers, n_dense_layers, repetitions;
} bench_setup;

typedef struct bench_test {
    char name[64];
    uint32_t n_prompt, n_gen, depth;   /* n_prompt or n_gen is 0 */
    double *samples;                   /* owned, [repetitions]: tokens a second */
    double median, spread;             /* of the samples; spread: the greatest less the least */
    double dispatches, submissions;    /* a token, of the repetitions */
    double expert_hits, expert_misses; /* of experts that have slots, a token; 0 and 0: there are no slots */
    double link_bytes, copied_bytes;   /* that they cost, a token: read in place, and copied into slots */
    double warmup_s;      /* the first evaluation of this kind, which is not among the samples: kernels compile in it */
    uint32_t step_tokens; /* that one step took: what the profile counts for */
    smt_profile profile;  /* layer_s is owned, [n_layers] */
} bench_test;

typedef enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON } bench_format;
/* CLI_DONE or the exit status. */
int bench_report(const bench_setup *setup, const bench_test *tests, size_t n_tests, bench_format format);

#endif
