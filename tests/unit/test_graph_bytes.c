/* test_graph_bytes.c: the bytes that a step reads, against parameter counts: with every matrix in F32 they are four times as many. */
#include "graph/graph.h"
#include "invented.h"
#include "model_support.h"

#include <math.h>

typedef struct fixture {
    smt_test_model opened;
    smt_items items;
} fixture;

static void open_tiny(fixture *f, const smt_tiny_options *options) {
    smt_error err;
    smt_caps caps = smt_invented_device(&(smt_invented){0});
    f->opened = smt_test_model_tiny(smt_tiny_deepseek2, options);
    SMT_ASSERT_OK(smt_items_create(f->opened.model, &caps, &f->items, &err), &err);
}

static void close_tiny(fixture *f) {
    smt_items_free(&f->items);
    smt_test_model_close(&f->opened);
}

static void check_near(double got, double want, double within) {
    if (fabs(got - want) > within) fail_msg("%.3f bytes, %.3f expected", got, want);
}

static double bytes_of(const fixture *f, uint32_t n_rows) { return smt_graph_weight_bytes(f->opened.model, &f->items, n_rows); }

/* One row uses the active parameters and its row of the embedding table, whether or not that table is the output head too. */
static void test_one_row(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        fixture f;
        open_tiny(&f, &(smt_tiny_options){.type = SMT_DTYPE_F32, .tied = tied});
        check_near(bytes_of(&f, 1), 4.0 * ((double)f.opened.model->n_params_active + f.opened.model->n_embd), 0.5);
        close_tiny(&f);
    }
}

/* Two rows share all but the embedding and the experts that only one of them chooses; very many rows read everything. */
static void test_many_rows(void **state) {
    (void)state;
    fixture f;
    open_tiny(&f, &(smt_tiny_options){.type = SMT_DTYPE_F32, .n_layers = 3, .n_experts = 8, .n_used = 3});
    const smt_model *m = f.opened.model;
    double expert = 3.0 * m->layers[2].gate_exps.rows * m->n_embd, layers = 2, touched = 8 * (1 - pow(5.0 / 8, 2));
    double more = layers * (touched - 3) * expert + m->n_embd;
    check_near(bytes_of(&f, 2) - bytes_of(&f, 1), 4 * more, 1);
    double table = (double)m->n_embd * m->n_vocab, rows = 1000;
    check_near(bytes_of(&f, 1000), 4 * ((double)m->n_params - table + rows * m->n_embd), 1);
    close_tiny(&f);
}

static void test_cache(void **state) {
    (void)state;
    fixture f;
    open_tiny(&f, &(smt_tiny_options){.type = SMT_DTYPE_F32});
    double row = smt_model_cache_row(f.opened.model), n_layers = f.opened.model->n_layers;
    check_near(smt_graph_cache_bytes(f.opened.model, false, 100, 1), 4 * row * n_layers * 101, 0.5);
    check_near(smt_graph_cache_bytes(f.opened.model, true, 0, 64), 2 * row * n_layers * 64, 0.5);
    close_tiny(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_row), cmocka_unit_test(test_many_rows),
                                       cmocka_unit_test(test_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
