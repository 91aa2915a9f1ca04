/* fake_trace.h: routing traces of any shape, without a model: for tests of files, statistics and pictures, where what is in them has to be
 * known. The same options give the same tokens again. */
#ifndef SMT_FAKE_TRACE_H
#define SMT_FAKE_TRACE_H

#include "support.h"

typedef struct smt_fake_trace_options {
    uint32_t n_dense, n_moe, n_experts, n_used, n_groups, n_groups_used; /* n_groups 0: 1 and 1 */
    uint32_t
        n_devices; /* 0: 1; a layer's expert e is on device e * n_devices / n_experts, every fourth one of them on the tier "host" */
    uint32_t n_prompt;   /* tokens of the first step; the others have one each. 0: 1 */
    double skew;         /* 0: all experts are as likely; an expert's likelihood is e^(skew * a normal number) */
    double repeat;       /* the share of choices that the token before has made as well */
    uint32_t n_sessions; /* 0: 1; behind the first step they take turns, a token each */
    bool by_layer;       /* layers are divided over the devices, not each layer's experts */
    uint32_t slow_hop;   /* hops to this device take 8 ms in every step after the first; 0: none do */
    bool no_text;
    uint64_t seed;
} smt_fake_trace_options;

/* 58 layers of 256 experts in 8 groups, 8 of them used, behind 3 dense layers. */
smt_fake_trace_options smt_fake_deepseek_v3(void);

typedef struct smt_fake_trace {
    smt_fake_trace_options options;
    smt_trace_model model;
    smt_trace_token token; /* the one made last */
    smt_test_random random;
    double *sums;     /* owned: [n_moe, n_experts], likelihoods added up */
    uint16_t *places; /* owned, as all below: [n_moe, n_experts] */
    uint16_t *chosen; /* [n_moe, n_used] */
    float *weights, *device_s, *hop_s;
    uint32_t *hop_bytes;
    char text[16];
} smt_fake_trace;

void smt_fake_trace_begin(const smt_fake_trace_options *options, smt_fake_trace *out);
const smt_trace_token *smt_fake_trace_next(smt_fake_trace *fake);
void smt_fake_trace_end(smt_fake_trace *fake);

/* A whole file of `n_tokens`. */
smt_status smt_fake_trace_write(const smt_fake_trace_options *options, const char *path, uint32_t n_tokens, smt_error *err);

#endif
