/* test_trace_corrupt.c: a trace cut at every byte keeps every token before the cut; damaged bytes cost the tokens of their chunk at most;
 * headers that lie, with checksums that fit, are refused. Each variant lies in a block of exactly its size, so that the address sanitizer
 * sees the first byte read too many. */
#include "fake_trace.h"
#include "os/os.h"
#include "trace/trace.h"

#include <xxhash.h>

/* Four chunks of tokens: 256, 256, 256 and 32. */
#define N_TOKENS 800
static const smt_fake_trace_options shape = {
    .n_dense = 1, .n_moe = 1, .n_experts = 4, .n_used = 1, .n_prompt = N_TOKENS, .seed = 5};

typedef struct file {
    uint8_t *bytes;
    size_t n;
    int32_t ids[N_TOKENS];
} file;

static int make_file(void **state) {
    static file made;
    smt_error err = {0};
    char *bytes;
    const smt_trace_token *token;
    smt_trace *trace;
    SMT_ASSERT_OK(smt_fake_trace_write(&shape, smt_test_work("corrupt.trace"), N_TOKENS, &err), &err);
    SMT_ASSERT_OK(smt_os_read_file(smt_test_work("corrupt.trace"), &bytes, &made.n, &err), &err);
    made.bytes = (uint8_t *)bytes;
    SMT_ASSERT_OK(smt_trace_parse(made.bytes, made.n, "whole", &trace, &err), &err);
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        SMT_ASSERT_OK(smt_trace_get(trace, i, &token, &err), &err);
        made.ids[i] = token->id;
    }
    smt_trace_free(trace);
    *state = &made;
    return 0;
}

static int free_file(void **state) {
    smt_free(((file *)*state)->bytes);
    return 0;
}

typedef struct verdict {
    smt_status status;
    uint64_t held, read, different; /* tokens; read: those that could be; different: from the original's */
    bool whole;
} verdict;

/* Opens a copy. `every`: each token is asked for, else one of each chunk. */
static verdict look(const file *f, const uint8_t *bytes, size_t n, bool every) {
    smt_error err = {0};
    smt_trace *trace;
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    verdict v = {.status = smt_trace_parse(copy, n, "corrupt", &trace, &err)};
    if (v.status != SMT_OK) {
        assert_null(trace);
        assert_true(strlen(err.message) > 10 && err.code == v.status);
    } else {
        v.held = smt_trace_count(trace);
        v.whole = !smt_trace_damage(trace);
        for (uint64_t i = 0; i < v.held; i += every ? 1 : 32) {
            const smt_trace_token *token;
            smt_status got = smt_trace_get(trace, i, &token, &err);
            assert_true(got == SMT_OK || got == SMT_FORMAT);
            v.read += got == SMT_OK;
            v.different += got == SMT_OK && (i >= N_TOKENS || token->id != f->ids[i] || token->index != i);
        }
    }
    smt_trace_free(trace);
    free(copy);
    return v;
}

static void test_truncation(void **state) {
    const file *f = *state;
    uint64_t before = 0;
    bool opened = false;
    for (size_t n = 0; n < f->n; n++) {
        verdict v = look(f, f->bytes, n, n % 64 == 0 || n + 80 > f->n);
        assert_int_equal(v.status, opened || v.status == SMT_OK ? SMT_OK : SMT_FORMAT);
        opened = v.status == SMT_OK;
        assert_false(v.whole);
        assert_true(v.held >= before && v.different == 0 && (v.read == v.held || v.read == (v.held + 31) / 32));
        before = v.held;
    }
    assert_true(before == N_TOKENS); /* all that the last cuts take is the end */
    assert_true(look(f, f->bytes, f->n, true).whole);
}

/* A chunk's header in the file, by its number. */
static size_t find_chunk(const file *f, uint32_t index) {
    smt_trace_chunk chunk;
    size_t at = SMT_TRACE_START;
    while (index--) {
        assert_true(smt_trace_chunk_header(f->bytes + at, &chunk));
        at += SMT_TRACE_HEADER + chunk.stored;
    }
    return at;
}

static void test_lost_chunk(void **state) {
    const file *f = *state;
    size_t at = find_chunk(f, 2) + SMT_TRACE_HEADER + 100; /* inside the second chunk of tokens */
    f->bytes[at] ^= 1;
    verdict v = look(f, f->bytes, f->n, true);
    f->bytes[at] ^= 1;
    assert_true(v.status == SMT_OK && v.held == N_TOKENS && v.read == N_TOKENS - 256 && v.different == 0);
}

static void test_bit_flips(void **state) {
    const file *f = *state;
    smt_test_random random = {17};
    for (size_t i = 0; i < 3000; i++) {
        size_t at = smt_test_next(&random) % f->n, more = smt_test_next(&random) % f->n;
        uint8_t mask = (uint8_t)(1u << i % 8);
        f->bytes[at] ^= mask;
        if (i % 3 == 0) f->bytes[more] ^= 0x5a;
        verdict v = look(f, f->bytes, f->n, false);
        assert_true(v.status == SMT_FORMAT || v.status == SMT_UNSUPPORTED || v.status == SMT_OK);
        assert_true(v.different == 0); /* the checksums see everything */
        if (i % 3 == 0) f->bytes[more] ^= 0x5a;
        f->bytes[at] ^= mask;
    }
}

static void seal(uint8_t *header) { smt_trace_put(header + 24, XXH3_64bits(header, 24), 8); }

/* A word of the header of a chunk replaced, and its checksum made to fit. */
static verdict lie(const file *f, uint32_t chunk, size_t offset, uint32_t value) {
    uint8_t *header = f->bytes + find_chunk(f, chunk), kept[SMT_TRACE_HEADER];
    memcpy(kept, header, sizeof kept);
    smt_trace_put(header + offset, value, 4);
    seal(header);
    verdict v = look(f, f->bytes, f->n, true);
    memcpy(header, kept, sizeof kept);
    return v;
}

static void test_lying_headers(void **state) {
    const file *f = *state;
    static const uint32_t words[] = {0, 1, 255, 257, 1u << 20, 1u << 26, (1u << 26) + 1, UINT32_MAX};
    for (size_t i = 0; i < SMT_COUNT(words); i++) {
        assert_int_equal(lie(f, 0, 4, words[i]).status, words[i] ? SMT_FORMAT : SMT_OK); /* the model has no tokens */
        assert_int_equal(lie(f, 0, 8, words[i]).status, SMT_FORMAT);
        assert_int_equal(lie(f, 0, 12, words[i]).status, SMT_FORMAT);
        for (size_t offset = 4; offset <= 12; offset += 4) {
            verdict v = lie(f, 2, offset, words[i]);
            assert_true(v.status == SMT_OK && v.read < N_TOKENS);
            assert_true(v.held >= 256 && (v.different == 0 || offset == 4)); /* a wrong number of tokens shifts the later ones */
        }
    }
    assert_true(lie(f, 5, 4, 1).held == N_TOKENS && !lie(f, 5, 4, 1).whole);
    assert_true(lie(f, 2, 0, 0x444e4520).held == 256); /* "END " before the end */
}

/* Sealed chunks whose contents are wrong: ids beyond the experts, times that are none, texts that are longer than the chunk. */
static void test_lying_chunks(void **state) {
    (void)state;
    smt_fake_trace fake;
    smt_error err = {0};
    smt_fake_trace_begin(&shape, &fake);
    smt_trace_rows rows = smt_trace_rows_of(&fake.model, SMT_TRACE_VERSION);
    smt_trace_token token = *smt_fake_trace_next(&fake);
    token.text = "ab";
    token.text_bytes = 2;
    static const struct {
        size_t offset;
        uint8_t value;
    } lies[] = {{39, 0xff}, {43, 0xff}, {63, 0xff}, {68, 3}, {68, 1}, {72, 4}, {0, 0}};
    for (size_t i = 0; i < SMT_COUNT(lies); i++) {
        smt_str raw = {0}, out = {0};
        uint8_t row[128];
        assert_int_equal(rows.bytes, 75);
        SMT_ASSERT_OK(smt_trace_row_write(&rows, &token, row, &err), &err);
        bool honest = lies[i].offset == 0;
        row[lies[i].offset] = lies[i].value;
        SMT_ASSERT_OK(smt_str_append(&out, "SMTTRACE\2\0\0\0\0\0\0\0", 16, &err), &err);
        SMT_ASSERT_OK(smt_trace_model_write(&fake.model, &raw, &err), &err);
        SMT_ASSERT_OK(smt_trace_chunk_write(SMT_TRACE_MODEL, 0, &raw, &out, &err), &err);
        raw.bytes = 0;
        SMT_ASSERT_OK(smt_str_append(&raw, row, rows.bytes, &err), &err);
        SMT_ASSERT_OK(smt_str_append(&raw, "ab", 2, &err), &err);
        SMT_ASSERT_OK(smt_trace_chunk_write(SMT_TRACE_TOKENS, 1, &raw, &out, &err), &err);
        const smt_trace_token *got;
        smt_trace *trace;
        SMT_ASSERT_OK(smt_trace_parse(out.text, out.bytes, "lies", &trace, &err), &err);
        assert_int_equal(smt_trace_get(trace, 0, &got, &err), honest ? SMT_OK : SMT_FORMAT);
        smt_trace_free(trace);
        smt_str_free(&raw);
        smt_str_free(&out);
    }
    smt_fake_trace_end(&fake);
}

static void test_versions(void **state) {
    const file *f = *state;
    static const uint8_t versions[] = {0, SMT_TRACE_VERSION + 1};
    for (size_t i = 0; i < SMT_COUNT(versions); i++) {
        f->bytes[8] = versions[i];
        assert_int_equal(look(f, f->bytes, f->n, true).status, SMT_UNSUPPORTED);
    }
    f->bytes[8] = SMT_TRACE_VERSION;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncation),    cmocka_unit_test(test_lost_chunk),   cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_lying_headers), cmocka_unit_test(test_lying_chunks), cmocka_unit_test(test_versions),
    };
    return cmocka_run_group_tests(tests, make_file, free_file);
}
