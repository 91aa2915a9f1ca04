/* test_convert_mix.c: which type each tensor gets, against the counts of files that exist for the released models, and rule by
 * rule where those do not reach. */
#include "big_model.h"
#include "convert/quantize_internal.h"
#include "support.h"

typedef struct counts {
    uint32_t of[SMT_DTYPE_LIMIT];
} counts;

/* One tensor, decided as the plan decides without wishes of the user. */
static smt_dtype decide(const smt_mix *mix, const smt_mix_facts *facts, const char *name, uint64_t k, uint64_t rows,
                        uint64_t planes) {
    const smt_gguf_tensor tensor = {.name = name, .type = SMT_DTYPE_F16, .n_dims = 3, .ne = {k, rows, planes, 1}};
    if (smt_mix_keeps(&tensor)) return SMT_DTYPE_F32;
    return smt_mix_fit(smt_mix_choose(mix, facts, &tensor), k);
}

/* `split`: as newer converters write it, attn_k_b and attn_v_b in place of attn_kv_b. */
static counts count_types(const smt_gguf *gguf, const char *mix_name, uint32_t n_heads, bool split) {
    counts result = {0};
    smt_mix_facts facts;
    const smt_mix *mix = smt_mix_find(mix_name);
    assert_non_null(mix);
    smt_mix_facts_of(gguf, &facts);
    for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
        const smt_gguf_tensor *t = smt_gguf_tensor_at(gguf, i);
        if (split && strstr(t->name, "attn_kv_b")) {
            result.of[decide(mix, &facts, "blk.0.attn_k_b.weight", 128, 512, n_heads)]++;
            result.of[decide(mix, &facts, "blk.0.attn_v_b.weight", 512, 128, n_heads)]++;
        } else
            result.of[decide(mix, &facts, t->name, t->ne[0], t->ne[1], t->ne[2])]++;
    }
    return result;
}

typedef struct expectation {
    const char *mix;
    uint32_t f32;
    struct {
        smt_dtype type;
        uint32_t n;
    } types[5];
} expectation;

static void check(const smt_gguf *gguf, const expectation *rows, size_t n_rows, uint32_t n_heads, bool split) {
    for (size_t r = 0; r < n_rows; r++) {
        counts got = count_types(gguf, rows[r].mix, n_heads, split), want = {0};
        want.of[SMT_DTYPE_F32] = rows[r].f32;
        for (size_t i = 0; i < SMT_COUNT(rows[r].types); i++)
            if (rows[r].types[i].n) want.of[rows[r].types[i].type] = rows[r].types[i].n;
        for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++)
            if (got.of[id] != want.of[id])
                fail_msg("%s: %u tensors of %s, expected %u", rows[r].mix, got.of[id], smt_dtype_get(id)->name, want.of[id]);
    }
}

static void test_v2_lite(void **state) {
    (void)state;
    static const expectation old_form[] = {
        {"Q2_K", 108, {{SMT_DTYPE_Q2_K, 188}, {SMT_DTYPE_Q3_K, 53}, {SMT_DTYPE_IQ4_NL, 27}, {SMT_DTYPE_Q6_K, 1}}},
        {"Q3_K_M",
         108,
         {{SMT_DTYPE_Q3_K, 188}, {SMT_DTYPE_Q4_K, 53}, {SMT_DTYPE_Q5_0, 26}, {SMT_DTYPE_Q5_1, 1}, {SMT_DTYPE_Q6_K, 1}}},
        {"Q4_K_M", 108, {{SMT_DTYPE_Q4_K, 229}, {SMT_DTYPE_Q5_0, 14}, {SMT_DTYPE_Q6_K, 13}, {SMT_DTYPE_Q8_0, 13}}},
        {"Q5_K_M", 108, {{SMT_DTYPE_Q5_K, 229}, {SMT_DTYPE_Q5_1, 14}, {SMT_DTYPE_Q6_K, 13}, {SMT_DTYPE_Q8_0, 13}}},
        {"Q6_K", 108, {{SMT_DTYPE_Q6_K, 242}, {SMT_DTYPE_Q8_0, 27}}},
        {"Q8_0", 108, {{SMT_DTYPE_Q8_0, 269}}},
        {"IQ4_XS",
         108,
         {{SMT_DTYPE_IQ4_XS, 239}, {SMT_DTYPE_IQ4_NL, 24}, {SMT_DTYPE_Q5_1, 3}, {SMT_DTYPE_Q5_K, 2}, {SMT_DTYPE_Q6_K, 1}}},
        {"Q4_0", 108, {{SMT_DTYPE_Q4_0, 268}, {SMT_DTYPE_Q6_K, 1}}},
        {"F16", 108, {{SMT_DTYPE_F16, 269}}},
    };
    static const expectation new_form[] = {
        {"Q4_K_M", 108, {{SMT_DTYPE_Q4_K, 229}, {SMT_DTYPE_Q5_0, 41}, {SMT_DTYPE_Q6_K, 13}, {SMT_DTYPE_Q8_0, 13}}},
        {"Q2_K", 108, {{SMT_DTYPE_Q2_K, 188}, {SMT_DTYPE_Q3_K, 53}, {SMT_DTYPE_IQ4_NL, 54}, {SMT_DTYPE_Q6_K, 1}}},
    };
    smt_gguf *gguf;
    if (!smt_big_open(&smt_big_v2_lite, &gguf)) skip();
    assert_int_equal(smt_gguf_tensor_count(gguf), 377);
    check(gguf, old_form, SMT_COUNT(old_form), 16, false);
    check(gguf, new_form, SMT_COUNT(new_form), 16, true);
    smt_gguf_free(gguf);
}

static void test_v2_and_v3(void **state) {
    (void)state;
    static const expectation v2[] = {
        {"Q4_K_M", 300, {{SMT_DTYPE_Q4_K, 599}, {SMT_DTYPE_Q5_0, 60}, {SMT_DTYPE_Q6_K, 60}}},
        {"Q2_K", 300, {{SMT_DTYPE_Q2_K, 479}, {SMT_DTYPE_Q3_K, 179}, {SMT_DTYPE_IQ4_NL, 60}, {SMT_DTYPE_Q6_K, 1}}},
    };
    static const expectation v3[] = {
        {"Q4_K_M", 361, {{SMT_DTYPE_Q4_K, 606}, {SMT_DTYPE_Q5_0, 61}, {SMT_DTYPE_Q6_K, 58}}},
        {"Q8_0", 361, {{SMT_DTYPE_Q8_0, 725}}},
    };
    smt_gguf *gguf;
    if (!smt_big_open(&smt_big_v2, &gguf)) skip();
    check(gguf, v2, SMT_COUNT(v2), 128, true);
    smt_gguf_free(gguf);
    if (!smt_big_open(&smt_big_v3, &gguf)) skip();
    check(gguf, v3, SMT_COUNT(v3), 128, true);
    smt_gguf_free(gguf);
}

/* Dense models: 32 layers with four query heads to a value head, unless said otherwise. */
static void test_dense(void **state) {
    (void)state;
    static const struct {
        const char *mix, *name;
        smt_dtype type;
    } rows[] = {
        {"Q4_K_M", "blk.3.attn_v.weight", SMT_DTYPE_Q6_K},
        {"Q4_K_M", "blk.4.attn_v.weight", SMT_DTYPE_Q4_K},
        {"Q4_K_M", "blk.6.ffn_down.weight", SMT_DTYPE_Q6_K},
        {"Q4_K_M", "blk.27.ffn_down.weight", SMT_DTYPE_Q6_K},
        {"Q4_K_M", "blk.28.ffn_down.weight", SMT_DTYPE_Q6_K},
        {"Q4_K_M", "blk.3.attn_k.weight", SMT_DTYPE_Q4_K},
        {"Q4_K_M", "blk.3.attn_qkv.weight", SMT_DTYPE_Q5_K},
        {"q4_k", "blk.31.attn_v.weight", SMT_DTYPE_Q6_K},
        {"Q4_K_S", "blk.3.attn_v.weight", SMT_DTYPE_Q5_K},
        {"Q4_K_S", "blk.4.attn_v.weight", SMT_DTYPE_Q4_K},
        {"Q4_K_S", "blk.3.ffn_down.weight", SMT_DTYPE_Q5_K},
        {"Q4_K_S", "blk.31.ffn_down.weight", SMT_DTYPE_Q4_K},
        {"Q2_K", "blk.9.attn_v.weight", SMT_DTYPE_Q4_K},
        {"Q2_K_S", "blk.9.attn_v.weight", SMT_DTYPE_Q4_K},
        {"Q2_K_S", "blk.3.ffn_down.weight", SMT_DTYPE_Q4_K},
        {"Q2_K_S", "blk.4.ffn_down.weight", SMT_DTYPE_Q2_K},
        {"Q3_K_M", "blk.1.attn_v.weight", SMT_DTYPE_Q5_K},
        {"Q3_K_M", "blk.2.attn_v.weight", SMT_DTYPE_Q4_K},
        {"Q3_K_M", "blk.1.ffn_down.weight", SMT_DTYPE_Q5_K},
        {"Q3_K_M", "blk.2.ffn_down.weight", SMT_DTYPE_Q4_K},
        {"Q3_K_L", "blk.2.ffn_down.weight", SMT_DTYPE_Q5_K},
        {"Q3_K_L", "blk.9.attn_output.weight", SMT_DTYPE_Q5_K},
        {"Q3_K_S", "blk.2.ffn_down.weight", SMT_DTYPE_Q3_K},
        {"Q5_K_S", "blk.0.ffn_down.weight", SMT_DTYPE_Q5_K},
        {"IQ4_NL", "blk.9.attn_v.weight", SMT_DTYPE_Q5_K},
        {"IQ4_NL", "blk.3.ffn_down.weight", SMT_DTYPE_Q5_K},
        {"MXFP4_MOE", "blk.3.ffn_up_exps.weight", SMT_DTYPE_MXFP4},
        {"MXFP4_MOE", "blk.3.attn_q.weight", SMT_DTYPE_Q8_0},
        {"MXFP4_MOE", "output.weight", SMT_DTYPE_Q8_0},
        {"Q4_K_M", "output.weight", SMT_DTYPE_Q6_K},
        {"Q4_K_M", "token_embd.weight", SMT_DTYPE_Q4_K},
        {"BF16", "output.weight", SMT_DTYPE_BF16},
        {"Q5_1", "blk.3.attn_q.weight", SMT_DTYPE_Q5_1},
        {"F32", "blk.3.attn_q.weight", SMT_DTYPE_F32},
    };
    smt_mix_facts facts = {.n_layers = 32, .heads_per_kv = 4, .has_output = true, .llama = true};
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        smt_dtype got = decide(smt_mix_find(rows[r].mix), &facts, rows[r].name, 4096, 4096, 1);
        if (got != rows[r].type) fail_msg("%s: %s is %s", rows[r].mix, rows[r].name, smt_dtype_get((uint32_t)got)->name);
    }
    const smt_mix *q2 = smt_mix_find("Q2_K"), *q4 = smt_mix_find("Q4_K_M"), *plain = smt_mix_find("Q4_0");
    assert_null(smt_mix_find("Q9_K"));
    assert_null(smt_mix_find("IQ2_XS"));
    facts.heads_per_kv = 1;
    assert_int_equal(decide(q2, &facts, "blk.9.attn_v.weight", 4096, 4096, 1), SMT_DTYPE_Q3_K);
    facts.n_layers = 80;
    assert_int_equal(decide(q4, &facts, "blk.11.attn_v.weight", 8192, 1024, 1), SMT_DTYPE_Q5_K);
    facts.has_output = false; /* tied */
    assert_int_equal(decide(q4, &facts, "token_embd.weight", 4096, 32000, 1), SMT_DTYPE_Q6_K);
    assert_int_equal(decide(plain, &facts, "blk.0.ffn_down.weight", 4096, 4096, 1), SMT_DTYPE_Q4_0);
    facts.has_imatrix = true;
    assert_int_equal(decide(plain, &facts, "blk.0.ffn_down.weight", 4096, 4096, 1), SMT_DTYPE_Q4_1);
    assert_int_equal(decide(plain, &facts, "blk.10.ffn_down.weight", 4096, 4096, 1), SMT_DTYPE_Q4_0);
    assert_int_equal(decide(smt_mix_find("IQ4_XS"), &facts, "blk.0.ffn_down.weight", 4096, 4096, 1), SMT_DTYPE_IQ4_XS);
}

static void test_kept_and_fitted(void **state) {
    (void)state;
    smt_mix_facts facts = {.n_layers = 4, .heads_per_kv = 1, .has_output = true};
    const smt_mix *mix = smt_mix_find("Q4_K_M");
    assert_int_equal(decide(mix, &facts, "blk.0.attn_norm.weight", 256, 1, 1), SMT_DTYPE_F32);
    assert_int_equal(decide(mix, &facts, "blk.0.attn_q_a_norm.weight", 256, 2, 1), SMT_DTYPE_F32);
    assert_int_equal(decide(mix, &facts, "blk.0.ffn_gate_inp.weight", 256, 64, 1), SMT_DTYPE_F32);
    assert_int_equal(decide(mix, &facts, "blk.0.exp_probs_b.bias", 256, 64, 1), SMT_DTYPE_F32);
    assert_int_equal(decide(mix, &facts, "rope_freqs.weight", 64, 1, 1), SMT_DTYPE_F32);
    assert_int_equal(decide(mix, &facts, "output.weight", 1408, 64, 1), SMT_DTYPE_Q8_0);
    static const struct {
        smt_dtype wanted, even, odd; /* in rows of a multiple of 32, and in others */
    } rows[] = {
        {SMT_DTYPE_Q2_K, SMT_DTYPE_IQ4_NL, SMT_DTYPE_F16}, {SMT_DTYPE_Q3_K, SMT_DTYPE_IQ4_NL, SMT_DTYPE_F16},
        {SMT_DTYPE_Q4_K, SMT_DTYPE_Q5_0, SMT_DTYPE_F16},   {SMT_DTYPE_Q5_K, SMT_DTYPE_Q5_1, SMT_DTYPE_F16},
        {SMT_DTYPE_Q6_K, SMT_DTYPE_Q8_0, SMT_DTYPE_F16},   {SMT_DTYPE_IQ4_XS, SMT_DTYPE_IQ4_NL, SMT_DTYPE_F16},
        {SMT_DTYPE_Q8_0, SMT_DTYPE_Q8_0, SMT_DTYPE_F16},   {SMT_DTYPE_MXFP4, SMT_DTYPE_MXFP4, SMT_DTYPE_F16},
        {SMT_DTYPE_BF16, SMT_DTYPE_BF16, SMT_DTYPE_BF16},
    };
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        assert_int_equal(smt_mix_fit(rows[r].wanted, 2048), rows[r].wanted);
        assert_int_equal(smt_mix_fit(rows[r].wanted, 1408), rows[r].even);
        assert_int_equal(smt_mix_fit(rows[r].wanted, 48), rows[r].odd);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v2_lite),
        cmocka_unit_test(test_v2_and_v3),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_kept_and_fitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
