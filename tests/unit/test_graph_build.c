/* test_graph_build.c: the nodes of a step, for small models and for the released ones in full size: every read has a write before
 * it, what lives at once lies apart, bindings are within the device's reach, parts cover their matrices, segments cover the
 * nodes. */
#include "graph/graph.h"
#include "invented.h"
#include "model_support.h"
#include "run/run.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

typedef struct fixture {
    smt_gguf *file;
    smt_model *model;
    smt_caps caps;
    smt_items items;
    smt_graph_shape shape;
    smt_graph *graph;
} fixture;

static bool open_big(fixture *f, const smt_big_shape *shape) {
    smt_test_model opened;
    if (!smt_test_model_big(shape, &opened)) return false;
    *f = (fixture){.file = opened.file, .model = opened.model};
    return true;
}

static void open_tiny(fixture *f, smt_tiny_maker make_file, const smt_tiny_options *options) {
    smt_test_model opened = smt_test_model_tiny(make_file, options);
    *f = (fixture){.file = opened.file, .model = opened.model};
}

static void use_device(fixture *f, const smt_invented *device) {
    smt_error err;
    smt_items_free(&f->items);
    f->caps = smt_invented_device(device);
    SMT_ASSERT_OK(smt_items_create(f->model, &f->caps, &f->items, &err), &err);
}

static void close_model(fixture *f) {
    smt_items_free(&f->items);
    smt_model_free(f->model);
    smt_gguf_free(f->file);
}

/* ---- what holds for every graph ---- */

static void check_scratch(const fixture *f) {
    const smt_graph *g = f->graph;
    for (size_t i = 0; i < g->n_values; i++) {
        const smt_value *a = &g->values[i];
        if (a->kind != SMT_VALUE_SCRATCH || a->first_node == UINT32_MAX) continue;
        assert_int_equal(a->offset % f->caps.storage_align, 0);
        assert_true(a->offset + a->bytes <= g->parts[0].scratch_bytes);
        assert_true(a->bytes <= f->items.window_limit);
        for (size_t j = 0; j < i; j++) {
            const smt_value *b = &g->values[j];
            if (b->kind != SMT_VALUE_SCRATCH || b->first_node > a->last_node || a->first_node > b->last_node) continue;
            if (a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes)
                fail_msg("values %zu and %zu (layers %u, %u) share bytes", i, j, a->layer, b->layer);
        }
    }
}

/* A node reads only what the host wrote or an earlier node did. Marks what it writes. */
static void check_reads(const smt_graph *g, uint32_t index, bool *written, bool *cache_written) {
    const smt_node *node = &g->nodes[index];
    for (uint32_t i = 0; i <= node->n_buffers; i++) {
        uint32_t value = i < node->n_buffers ? node->buffers[i] : node->indirect;
        bool write = i < node->n_buffers && (node->writes >> i & 1);
        if (value == SMT_NO_VALUE) continue;
        assert_in_range(value, 0, g->n_values - 1);
        const smt_value *v = &g->values[value];
        if (!write && v->kind == SMT_VALUE_SCRATCH && !written[value])
            fail_msg("node %u (%s) reads value %u", index, node->label, value);
        bool given = v->kind == SMT_VALUE_CAPTURE && g->shape.embeddings && index == 0;
        if (!write) assert_true(given || (v->kind != SMT_VALUE_LOGITS && v->kind != SMT_VALUE_CAPTURE));
        bool draws = v->kind == SMT_VALUE_RING || (v->kind == SMT_VALUE_STEP && index + 1 == g->n_nodes); /* for the next step */
        if (write)
            assert_true(v->kind == SMT_VALUE_SCRATCH || v->kind == SMT_VALUE_LOGITS || v->kind == SMT_VALUE_CAPTURE ||
                        v->kind == SMT_VALUE_COUNTER || (draws && g->shape.sample));
        if (v->kind == SMT_VALUE_SCRATCH) assert_true(v->first_node <= index && index <= v->last_node);
    }
    for (uint32_t i = 0; i < node->n_buffers; i++)
        if (node->buffers[i] != SMT_NO_VALUE && (node->writes >> i & 1)) written[node->buffers[i]] = true;
    if (node->windows == SMT_WINDOWS_CACHE) {
        if (!node->writes_windows) assert_true(cache_written[node->layer]);
        cache_written[node->layer] |= node->writes_windows;
    }
}

static void check_bindings(const fixture *f, const smt_node *node) {
    uint32_t n = 0;
    if (node->windows == SMT_WINDOWS_CACHE) n = f->graph->parts[0].n_cache_windows;
    if (node->windows == SMT_WINDOWS_EXPERTS) n = f->items.layers[node->layer].n_windows;
    for (uint32_t i = 0; node->windows == SMT_WINDOWS_ITEMS && i < 2; i++) {
        if (node->items[i] == SMT_NO_VALUE) continue;
        assert_in_range(node->items[i], 0, f->items.n_items - 1);
        assert_true(f->items.items[node->items[i]].bytes <= f->caps.max_storage_range);
        n++;
    }
    if (!node->copy && n > node->key.windows)
        fail_msg("%s binds %u windows, its kernel has %u", node->label, n, node->key.windows);
    for (int i = 0; !node->copy && i < 3; i++) assert_in_range(node->groups[i], 1, f->caps.max_group_count[i]);
}

/* A matrix product stays inside its item, and writes inside its rows. */
static void check_matmul(const fixture *f, const smt_node *node) {
    const struct matmul_params *p = &node->push.matmul;
    if (node->key.expert) {
        const smt_expert_layout *l = &f->items.layers[node->layer];
        assert_true((p->rows - 1) * (uint64_t)p->row_bytes + p->row_bytes <= l->stride);
        return;
    }
    const smt_item *item = &f->items.items[node->items[0]];
    uint64_t last_plane = (uint64_t)(node->groups[2] - 1) * p->w_batch_off16 * 16;
    assert_true(p->w_off16 * 16ull + last_plane + (uint64_t)p->rows * p->row_bytes <= item->bytes);
    assert_int_equal(p->rows * node->groups[2], item->rows); /* the planes lie one after another, without a remainder */
    assert_int_equal(last_plane, (uint64_t)p->rows * (node->groups[2] - 1) * p->row_bytes);
    assert_true(node->groups[0] * smt_kernel_matmul_rows(&f->caps, node->key.columns, node->key.gated) >= p->rows);
    assert_true(p->y_row + p->rows + (node->groups[2] - 1) * p->y_batch <= p->y_stride);
}

/* Every node once, in order; those in parts every workgroup once. */
static void check_segments(const smt_graph *g) {
    uint32_t next = 0, part = 0; /* of node `next`: workgroups that the segments before have */
    for (size_t i = 0; i < g->n_segments; i++) {
        const smt_segment *s = &g->segments[i];
        assert_int_equal(s->first, next);
        assert_int_equal(s->from, part);
        assert_true(s->last > next);
        if (s->to) {
            assert_int_equal(s->last, next + 1);
            assert_in_range(s->to, part + 1, g->nodes[next].groups[s->axis]);
        }
        part = s->to < g->nodes[next].groups[s->axis] ? s->to : 0;
        if (!part) next = s->last;
    }
    assert_int_equal(next, g->n_nodes);
    assert_int_equal(part, 0);
}

static uint32_t count_nodes(const smt_graph *g, const char *label) {
    uint32_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += strcmp(g->nodes[i].label, label) == 0;
    return n;
}

/* Parts of the output head and of the embedding table: every vocabulary row once. */
static void check_vocabulary(const fixture *f) {
    uint32_t head = 0, embed = 0;
    for (size_t i = 0; i < f->graph->n_nodes; i++) {
        const smt_node *node = &f->graph->nodes[i];
        if (strcmp(node->label, "output head") == 0) {
            assert_int_equal(node->push.matmul.y_row, head);
            head += node->push.matmul.rows;
        } else if (strcmp(node->label, "embed") == 0) {
            assert_int_equal(node->push.embed.row0, embed);
            embed += node->push.embed.rows;
        }
    }
    assert_int_equal(embed, f->model->n_vocab);
    assert_int_equal(head, f->shape.out_rows ? f->model->n_vocab : 0);
}

/* Captures lie in the capture value, apart from each other. */
static void check_captures(const fixture *f) {
    const smt_graph *g = f->graph;
    uint64_t total = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const smt_node *a = &g->nodes[i];
        if (!a->copy) continue;
        if (i == 0 && f->shape.embeddings) { /* the way in: what is captured first, and all of it */
            assert_int_equal(g->values[a->buffers[0]].kind, SMT_VALUE_CAPTURE);
            assert_int_equal(a->copy_bytes, smt_graph_capture_hidden(f->model, f->shape.rows, 1));
            continue;
        }
        total += a->copy_bytes;
        assert_true(a->copy_to + a->copy_bytes <= g->values[a->buffers[1]].bytes);
        assert_true(a->copy_bytes <= g->values[a->buffers[0]].bytes);
        for (size_t j = 0; j < i; j++) {
            const smt_node *b = &g->nodes[j];
            if (b->copy && g->values[b->buffers[1]].kind == SMT_VALUE_CAPTURE)
                assert_true(a->copy_to + a->copy_bytes <= b->copy_to || b->copy_to + b->copy_bytes <= a->copy_to);
        }
    }
    uint64_t hidden = 4ull * f->shape.rows * f->model->n_embd * (f->model->n_layers + 2);
    uint64_t all = smt_graph_capture_bytes(f->model, f->shape.rows);
    assert_int_equal(total, (f->shape.keep_hidden ? hidden : 0) + (f->shape.keep_routing ? all - hidden : 0));
}

static void make(fixture *f, const smt_graph_shape *shape) {
    smt_error err;
    f->shape = *shape;
    SMT_ASSERT_OK(smt_graph_create(f->model, &f->items, &f->caps, shape, &f->graph, &err), &err);
}

/* Copies of the routing wait for nothing that the next layer does not wait for as well: whoever looks on costs no stage. */
static void check_routing_stages(fixture *f, const smt_graph_shape *shape) {
    smt_graph_shape plain = *shape;
    uint32_t stages = smt_graph_stages(f->graph).stages;
    smt_graph *kept = f->graph;
    plain.keep_routing = false;
    make(f, &plain);
    assert_int_equal(smt_graph_stages(f->graph).stages, stages);
    smt_graph_free(f->graph);
    f->graph = kept;
    f->shape = *shape;
}

static uint64_t check_shape(fixture *f, const smt_graph_shape *shape) {
    make(f, shape);
    const smt_graph *g = f->graph;
    if (shape->keep_routing) check_routing_stages(f, shape);
    bool *written = smt_alloc(g->n_values, 1), *cache_written = smt_alloc(f->model->n_layers, 1);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        check_reads(g, i, written, cache_written);
        check_bindings(f, &g->nodes[i]);
        if (!g->nodes[i].copy && g->nodes[i].key.kernel == SMT_KERNEL_MATMUL) check_matmul(f, &g->nodes[i]);
    }
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == SMT_VALUE_LOGITS ||
            (g->values[i].kind == SMT_VALUE_CAPTURE && (shape->keep_hidden || (shape->keep_routing && f->model->n_experts))))
            assert_true(written[i]);
    for (uint32_t i = 0; i < f->model->n_layers; i++) assert_true(cache_written[i]);
    check_scratch(f);
    check_segments(g);
    check_vocabulary(f);
    check_captures(f);
    uint64_t scratch = g->parts[0].scratch_bytes;
    smt_free(written);
    smt_free(cache_written);
    smt_graph_free(f->graph);
    return scratch;
}

/* A fifth of the 24 forms of a step, which one goes round with the number of rows, from `turn` on: so a model meets all forms, and with another turn
 * each in other rows; and the form that draws a token. A runner plans its scratch from that and those without captures: the others must not need
 * more. */
static void check_shapes(fixture *f, uint32_t n_ctx, uint32_t n_batch, uint32_t turn) {
    for (int f16 = 0; f16 < 2; f16++) {
        uint64_t planned = 0, most = 0;
        for (uint32_t rows = n_batch;; rows = rows > 8 ? rows / 2 : 1, turn++) {
            smt_graph_shape shape = {.rows = rows, .n_ctx = n_ctx, .n_blocks = smt_div_up(n_ctx, SMT_BLOCK), .cache_f16 = f16};
            shape.split = rows == 1;
            shape.out_rows = 1;
            shape.sample = true;
            uint64_t draws = check_shape(f, &shape);
            if (draws > planned) planned = draws;
            shape.sample = false;
            for (uint32_t form = 0; form < 24; form++) { /* 0: all logits and no captures */
                if (form != 0 && form % 5 != turn % 5) continue;
                shape.out_rows = form % 3 == 0 ? rows : form % 3 - 1;
                shape.keep_hidden = form / 3 % 2;
                shape.keep_routing = form / 6 % 2;
                shape.embeddings = form / 12;
                uint64_t scratch = check_shape(f, &shape);
                if (form == 0 && scratch > planned) planned = scratch;
                if (scratch > most) most = scratch;
            }
            if (rows == 1) break;
        }
        assert_true(most <= planned);
    }
}

/* ---- models ---- */

static void test_tiny(void **state) {
    (void)state;
    const struct {
        smt_tiny_maker make_file;
        smt_tiny_options options;
    } models[] = {{smt_tiny_deepseek2, {.type = SMT_DTYPE_F32}},
                  {smt_tiny_deepseek2, {.type = SMT_DTYPE_Q4_K, .q_lora = true, .sigmoid = true, .n_experts = 12}},
                  {smt_tiny_deepseek2, {.type = SMT_DTYPE_Q8_0, .old_layout = true, .tied = true}},
                  {smt_tiny_deepseek2, {.type = SMT_DTYPE_Q4_K, .fused = true, .ahead = true}},
                  {smt_tiny_deepseek, {.type = SMT_DTYPE_Q4_K}},
                  {smt_tiny_deepseek, {.type = SMT_DTYPE_F16, .small = true, .gqa = true, .biases = true}},
                  {smt_tiny_llama, {.type = SMT_DTYPE_Q6_K, .gqa = true, .biases = true, .divisors = true}},
                  {smt_tiny_llama, {.type = SMT_DTYPE_F16, .tied = true}}};
    const smt_invented devices[] = {{0}, {.range = 128 * MIB, .unified = true, .storage_align = 256}};
    for (size_t i = 0; i < SMT_COUNT(models); i++) {
        fixture f;
        open_tiny(&f, models[i].make_file, &models[i].options);
        for (size_t j = 0; j < SMT_COUNT(devices); j++) {
            use_device(&f, &devices[j]);
            check_shapes(&f, 4096, 64, (uint32_t)(i + j));
        }
        close_model(&f);
    }
}

static void test_v2_lite(void **state) {
    (void)state;
    fixture f;
    smt_big_shape shape = smt_big_v2_lite;
    shape.type = SMT_DTYPE_Q6_K; /* its output head has 172 MB */
    if (!open_big(&f, &shape)) skip();
    use_device(&f, &(smt_invented){.range = 128 * MIB, .unified = true});
    check_shapes(&f, 32768, 64, 0);
    make(&f, &(smt_graph_shape){.rows = 1, .out_rows = 1, .n_ctx = 4096, .n_blocks = 16, .split = true});
    assert_int_equal(count_nodes(f.graph, "output head"), 2);
    assert_int_equal(count_nodes(f.graph, "embed"), 2);
    smt_graph_free(f.graph);
    use_device(&f, &(smt_invented){0});
    make(&f, &(smt_graph_shape){.rows = 1, .out_rows = 1, .n_ctx = 4096, .n_blocks = 16, .split = true});
    assert_int_equal(count_nodes(f.graph, "output head"), 1);
    smt_graph_free(f.graph);
    close_model(&f);
}

/* Texel windows reach beyond storage buffers; where the kernels read none, no item may. */
static void test_texel_windows(void **state) {
    (void)state;
    static const struct {
        bool wave;
        uint32_t heads, windows;
    } cases[] = {{false, 1, 1}, {true, 2, 4}};
    fixture f;
    smt_big_shape shape = smt_big_v2_lite;
    shape.type = SMT_DTYPE_Q6_K;
    if (!open_big(&f, &shape)) skip();
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        use_device(&f, &(smt_invented){.range = 128 * MIB, .unified = true, .texels = true, .wave = cases[i].wave});
        make(&f, &(smt_graph_shape){.rows = 1, .out_rows = 1, .n_ctx = 4096, .n_blocks = 16, .split = true});
        assert_int_equal(count_nodes(f.graph, "output head"), cases[i].heads);
        assert_int_equal(f.items.layers[1].n_windows, cases[i].windows);
        for (uint32_t j = 0; j < f.items.n_items; j++) assert_true(!cases[i].wave || f.items.items[j].bytes <= 128 * MIB);
        smt_graph_free(f.graph);
    }
    close_model(&f);
}

/* Every released model that has experts, with latent attention and without. */
static void test_models_with_experts(void **state) {
    (void)state;
    for (size_t i = 0; smt_big_models[i].name; i++) {
        fixture f;
        smt_big_shape shape = smt_big_models[i];
        if (!shape.n_experts) continue;
        shape.type = SMT_DTYPE_Q4_K;
        if (!open_big(&f, &shape)) skip();
        use_device(&f, &(smt_invented){.device_bytes = 1024 * GIB});
        check_shapes(&f, 8192, 8, (uint32_t)i);
        close_model(&f);
    }
}

/* ---- stages ---- */

/* One token through a layer with experts: at most 9 dependent stages, 10 with a low-rank query, where the experts are summed while their down
 * products are made; combine and norm are two more elsewhere. What stands in a stage is independent, so dispatches are bounded apart. */
static void check_stages_of(fixture *f, smt_family family, bool fast) {
    f->caps.family = family;
    make(f, &(smt_graph_shape){.rows = 1, .out_rows = 1, .n_ctx = 4096, .n_blocks = 16, .split = true, .fast = fast});
    smt_graph_effort whole = smt_graph_stages(f->graph), sum = smt_graph_layer_stages(f->graph, UINT32_MAX);
    for (uint32_t i = 0; i < f->model->n_layers; i++) {
        const smt_model_layer *layer = &f->model->layers[i];
        smt_graph_effort own = smt_graph_layer_stages(f->graph, i);
        uint32_t more = (layer->q_a.tensor != NULL) + (layer->moe && family == SMT_FAMILY_WAVE ? 2 : 0);
        if (own.stages > (layer->moe ? 9 : 7) + more || own.dispatches > 13 + more)
            fail_msg("layer %u takes %u dispatches in %u stages", i, own.dispatches, own.stages);
        sum.stages += own.stages;
        sum.dispatches += own.dispatches;
    }
    assert_int_equal(whole.stages, sum.stages);
    assert_int_equal(whole.dispatches, sum.dispatches);
    assert_int_equal(whole.dispatches, f->graph->n_nodes);
    smt_graph_free(f->graph);
}

static void check_stages(fixture *f) {
    check_stages_of(f, SMT_FAMILY_ROWS, false);
    check_stages_of(f, SMT_FAMILY_WAVE, false);
    check_stages_of(f, SMT_FAMILY_WAVE, true);
}

static void test_stages(void **state) {
    (void)state;
    const smt_tiny_options tiny[] = {{.type = SMT_DTYPE_F32},
                                     {.type = SMT_DTYPE_Q4_K, .q_lora = true, .sigmoid = true, .n_experts = 12},
                                     {.type = SMT_DTYPE_Q8_0, .old_layout = true, .tied = true}};
    for (size_t i = 0; i < SMT_COUNT(tiny); i++) {
        fixture f;
        open_tiny(&f, smt_tiny_deepseek2, &tiny[i]);
        use_device(&f, &(smt_invented){0});
        check_stages(&f);
        close_model(&f);
    }
    for (size_t i = 0; smt_big_models[i].name; i++) {
        fixture f;
        if (!smt_big_models[i].n_experts) continue;
        if (!open_big(&f, &smt_big_models[i])) skip();
        use_device(&f, &(smt_invented){.device_bytes = 1024 * GIB});
        check_stages(&f);
        close_model(&f);
    }
}

/* ---- precision ---- */

static uint32_t count_fast(fixture *f, smt_family family, uint32_t rows, bool fast, uint32_t *products) {
    uint32_t n = 0;
    f->caps.family = family;
    make(f, &(smt_graph_shape){.rows = rows, .out_rows = 1, .n_ctx = 512, .n_blocks = 2, .split = rows == 1, .fast = fast});
    *products = 0;
    for (size_t i = 0; i < f->graph->n_nodes; i++) {
        const smt_kernel_key *key = &f->graph->nodes[i].key;
        if (f->graph->nodes[i].copy || (key->kernel != SMT_KERNEL_MATMUL && key->kernel != SMT_KERNEL_MOE_DOWN)) continue;
        *products += smt_quant_has_codes((smt_dtype)key->type);
        n += key->fast;
        if (key->fast) assert_true(smt_quant_has_codes((smt_dtype)key->type));
    }
    smt_graph_free(f->graph);
    return n;
}

/* Every product of a type that has codes, in the GPU family, where it is wanted. */
static void test_fast(void **state) {
    (void)state;
    static const smt_dtype types[] = {SMT_DTYPE_Q4_K, SMT_DTYPE_F16};
    for (size_t i = 0; i < SMT_COUNT(types); i++) {
        fixture f;
        open_tiny(&f, smt_tiny_deepseek2, &(smt_tiny_options){.type = types[i], .q_lora = true});
        use_device(&f, &(smt_invented){0});
        for (uint32_t rows = 1; rows <= 64; rows *= 8) {
            uint32_t products;
            assert_int_equal(count_fast(&f, SMT_FAMILY_WAVE, rows, false, &products), 0);
            assert_int_equal(count_fast(&f, SMT_FAMILY_ROWS, rows, true, &products), 0);
            assert_int_equal(count_fast(&f, SMT_FAMILY_WAVE, rows, true, &products), products);
            assert_true(types[i] == SMT_DTYPE_F16 ? products == 0 : products > 10);
        }
        close_model(&f);
    }
}

static uint32_t count_coop(fixture *f, uint32_t rows, bool fast, bool coop, uint32_t *products) {
    uint32_t n = 0;
    make(f, &(smt_graph_shape){.rows = rows, .out_rows = rows, .n_ctx = 512, .n_blocks = 2, .fast = fast, .coop = coop});
    *products = 0;
    for (size_t i = 0; i < f->graph->n_nodes; i++) {
        const smt_kernel_key *key = &f->graph->nodes[i].key;
        if (f->graph->nodes[i].copy || key->kernel != SMT_KERNEL_MATMUL) continue;
        *products += key->columns == 64 && key->type != SMT_DTYPE_F32;
        n += key->coop;
        if (key->coop) assert_true(key->windows == 4 && key->columns == 64 && !key->fast && key->type != SMT_DTYPE_F32);
    }
    smt_graph_free(f->graph);
    return n;
}

/* Cooperative matrices take the products of 64 columns where device and user agree; the router's, in float32, stay as they are. */
static void test_coop(void **state) {
    (void)state;
    static const smt_dtype types[] = {SMT_DTYPE_Q4_K, SMT_DTYPE_F16};
    for (size_t i = 0; i < SMT_COUNT(types); i++) {
        fixture f;
        uint32_t products;
        open_tiny(&f, smt_tiny_deepseek2, &(smt_tiny_options){.type = types[i], .q_lora = true});
        use_device(&f, &(smt_invented){0});
        f.caps.family = SMT_FAMILY_WAVE;
        assert_int_equal(count_coop(&f, 512, true, true, &products), 0);
        f.caps.coop = (smt_coop_shape){16, 16, 16};
        assert_int_equal(count_coop(&f, 512, true, true, &products), products);
        assert_true(products > 10);
        assert_int_equal(count_coop(&f, 512, true, false, &products), 0);
        assert_int_equal(count_coop(&f, 512, false, true, &products), 0);
        assert_int_equal(count_coop(&f, 32, true, true, &products), 0);
        f.caps.family = SMT_FAMILY_ROWS;
        assert_int_equal(count_coop(&f, 512, true, true, &products), 0);
        close_model(&f);
    }
}

/* ---- segments, limits, failures ---- */

/* No segment is beyond the bound, unless a single workgroup is, or a copy; the work is that of all nodes. */
static void check_cut(smt_graph *g, double most) {
    smt_error err;
    double total = 0, nodes = 0;
    SMT_ASSERT_OK(smt_graph_cut(g, &most, &err), &err);
    check_segments(g);
    for (size_t i = 0; i < g->n_nodes; i++) nodes += g->nodes[i].work;
    for (size_t i = 0; i < g->n_segments; i++) {
        const smt_segment *s = &g->segments[i];
        total += s->work;
        assert_true(s->work <= most || s->to == s->from + 1 || s->last == s->first + 1);
        if (s->to == 0 && s->work > most) assert_true(s->work <= 1e4);
    }
    assert_true(total >= nodes * 0.999 && total <= nodes * 1.001 + 1e4 * (double)g->n_nodes);
}

/* A finer bound makes more submissions: a long prefill can be cancelled at many borders. */
static void test_segments(void **state) {
    (void)state;
    fixture f;
    if (!open_big(&f, &smt_big_v2_lite)) skip();
    use_device(&f, &(smt_invented){.unified = true});
    for (uint32_t rows = 1; rows <= 512; rows *= 8) {
        size_t before = 0;
        make(&f, &(smt_graph_shape){.rows = rows, .out_rows = 1, .n_ctx = 4096, .n_blocks = 16, .split = rows == 1});
        for (double most = 1e13; most > 1e6 * rows; most /= 30) {
            check_cut(f.graph, most);
            assert_true(f.graph->n_segments >= before);
            before = f.graph->n_segments;
        }
        assert_in_range(before, 100, 200000);
        smt_graph_free(f.graph);
    }
    use_device(&f, &(smt_invented){0});
    make(&f, &(smt_graph_shape){.rows = 1, .out_rows = 1, .n_ctx = 4096, .n_blocks = 16, .split = true});
    assert_int_equal(f.graph->n_segments, 1); /* one token is one submission on a GPU */
    smt_graph_free(f.graph);
    close_model(&f);
}

static void test_refuses(void **state) {
    (void)state;
    fixture f;
    smt_error err;
    smt_graph *graph;
    open_tiny(&f, smt_tiny_deepseek2, &(smt_tiny_options){.type = SMT_DTYPE_F32});
    use_device(&f, &(smt_invented){.range = 128 * MIB});
    smt_graph_shape shape = {
        .rows = 1, .n_ctx = 4096, .n_blocks = 16 * 512, .split = true}; /* 278528 bytes a block: 481 to a window */
    assert_int_equal(smt_graph_create(f.model, &f.items, &f.caps, &shape, &graph, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "8192 blocks"));
    assert_non_null(strstr(err.message, "134217728"));
    assert_null(graph);
    shape.n_blocks = 16 * 481;
    SMT_ASSERT_OK(smt_graph_create(f.model, &f.items, &f.caps, &shape, &graph, &err), &err);
    smt_graph_free(graph);
    shape = (smt_graph_shape){.rows = 1 << 16, .n_ctx = 4096, .n_blocks = 16}; /* 136 MiB of queries */
    assert_int_equal(smt_graph_create(f.model, &f.items, &f.caps, &shape, &graph, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "65536 rows"));
    assert_null(graph);
    close_model(&f);
}

/* ---- several devices ---- */

/* A node names values of its own device alone; the host's goes from one to another, and stands between them. */
static void check_node_devices(const smt_graph *g, uint32_t index) {
    const smt_node *node = &g->nodes[index];
    if (node->host) {
        const smt_value *from = &g->values[node->buffers[0]], *to = &g->values[node->buffers[1]];
        assert_true(from->kind == SMT_VALUE_HOP_OUT && to->kind == SMT_VALUE_HOP_IN);
        assert_int_equal(to->device, node->device);
        assert_int_equal(from->device + 1, node->device);
        assert_int_equal(g->nodes[index - 1].device, from->device);
        assert_true(node->copy_bytes <= from->bytes && node->copy_bytes <= to->bytes);
        return;
    }
    if (index) assert_true(g->nodes[index - 1].device == node->device);
    for (uint32_t i = 0; i < node->n_buffers; i++)
        if (node->buffers[i] != SMT_NO_VALUE) assert_int_equal(g->values[node->buffers[i]].device, node->device);
    if (node->indirect != SMT_NO_VALUE) assert_int_equal(g->values[node->indirect].device, node->device);
}

static void check_split_segments(const smt_graph *g) {
    uint32_t at = 0;
    for (size_t i = 0; i < g->n_segments; i++) {
        const smt_segment *s = &g->segments[i];
        if (s->from == 0) assert_int_equal(s->first, at);
        at = s->last;
        if (s->host) assert_int_equal(s->last - s->first, 1);
        for (uint32_t n = s->first; n < s->last; n++) {
            assert_int_equal(g->nodes[n].device, s->device);
            assert_true((g->nodes[n].host != SMT_HOST_NONE) == s->host);
        }
    }
    assert_int_equal(at, g->n_nodes);
}

/* The same work as on one device, each layer where its items are, one hop at each border. */
static void check_split(const fixture *f, const smt_graph_device *devices, uint32_t n, const smt_graph_shape *shape) {
    smt_graph *g, *whole;
    smt_error err;
    uint32_t hops = 0, stages = 0;
    double most[3] = {1e5, 1e5, 1e5};
    SMT_ASSERT_OK(smt_graph_create(f->model, &f->items, &f->caps, shape, &whole, &err), &err);
    SMT_ASSERT_OK(smt_graph_create_split(f->model, devices, n, shape, &g, &err), &err);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const smt_node *node = &g->nodes[i];
        check_node_devices(g, i);
        hops += node->host == SMT_HOST_HOP;
        const smt_items_range *range = &devices[node->device].items->range;
        if (node->layer != UINT32_MAX && !node->host && !node->copy)
            assert_true(node->layer >= range->first && node->layer < range->last);
    }
    assert_int_equal(hops, n - 1);
    for (uint32_t i = 0; i < n; i++) {
        stages += smt_graph_device_stages(g, i).stages;
        assert_true((g->parts[i].hop_in > 0) == (i > 0) && (g->parts[i].hop_out > 0) == (i + 1 < n));
        assert_true(g->parts[i].scratch_bytes > 0);
    }
    assert_int_equal(stages, smt_graph_stages(g).stages);
    /* where one row's norm is made by the product before it, the border makes it apart */
    uint32_t dispatches = smt_graph_stages(g).dispatches, alone = smt_graph_stages(whole).dispatches;
    assert_in_range(dispatches, alone, alone + (shape->rows == 1 ? n - 1 : 0));
    check_split_segments(g);
    SMT_ASSERT_OK(smt_graph_cut(g, most, &err), &err);
    check_split_segments(g);
    smt_graph_free(whole);
    smt_graph_free(g);
}

static void test_split(void **state) {
    (void)state;
    static const smt_graph_shape shapes[] = {
        {.rows = 1, .out_rows = 1, .n_ctx = 512, .n_blocks = 2, .split = true},
        {.rows = 64, .out_rows = 1, .n_ctx = 512, .n_blocks = 2, .cache_f16 = true, .keep_hidden = true, .keep_routing = true},
    };
    fixture f;
    smt_error err;
    if (!open_big(&f, &smt_big_v2_lite)) skip();
    use_device(&f, &(smt_invented){0});
    uint32_t n_layers = f.model->n_layers;
    for (uint32_t n = 2; n <= 3; n++) {
        smt_items items[3];
        smt_graph_device devices[3];
        for (uint32_t i = 0; i < n; i++) {
            const smt_items_range range = {
                .first = i * n_layers / n, .last = (i + 1) * n_layers / n, .embedding = i == 0, .head = i + 1 == n};
            SMT_ASSERT_OK(smt_items_create_range(f.model, &f.caps, &range, &items[i], &err), &err);
            devices[i] = (smt_graph_device){&items[i], &f.caps};
        }
        for (size_t i = 0; i < SMT_COUNT(shapes); i++) check_split(&f, devices, n, &shapes[i]);
        for (uint32_t i = 0; i < n; i++) smt_items_free(&items[i]);
    }
    close_model(&f);
}

static void test_no_memory(void **state) {
    (void)state;
    fixture f;
    smt_error err;
    smt_graph *graph = NULL;
    open_tiny(&f, smt_tiny_deepseek2, &(smt_tiny_options){.type = SMT_DTYPE_F32});
    use_device(&f, &(smt_invented){0});
    const smt_graph_shape shape = {.rows = 8, .out_rows = 8, .n_ctx = 512, .n_blocks = 2, .keep_hidden = true};
    uint64_t n = 0;
    for (smt_status status = SMT_MEMORY; status; assert_true(n < 200)) {
        smt_mem_fail_after(++n);
        status = smt_graph_create(f.model, &f.items, &f.caps, &shape, &graph, &err);
        smt_mem_fail_after(0);
        assert_true(status == SMT_OK || status == SMT_MEMORY);
        assert_true((status == SMT_OK) == (graph != NULL));
    }
    assert_true(n > 5);
    smt_graph_free(graph);
    smt_graph_free(NULL);
    close_model(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiny),          cmocka_unit_test(test_v2_lite),
        cmocka_unit_test(test_texel_windows), cmocka_unit_test(test_models_with_experts),
        cmocka_unit_test(test_stages),        cmocka_unit_test(test_fast),
        cmocka_unit_test(test_coop),          cmocka_unit_test(test_segments),
        cmocka_unit_test(test_refuses),       cmocka_unit_test(test_split),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
