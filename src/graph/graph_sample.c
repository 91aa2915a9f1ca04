/* graph_sample.c: the end of a step that draws its next token on the device: the best logit of every group, then the draw, which also turns
 * the step buffer into that of the next step (sample_draw.comp). Behind it the host has nothing to do but read the ring. */
#include "graph/graph_internal.h"

#include <draw.h>

/* One group for some tens of logits: the draw looks through all groups and then through the members of k of them, and both should be few. */
#define GROUPS_MOST     2048
#define PER_GROUP_LEAST 8

static smt_node sample_node(const smt_builder *b, uint32_t kernel, const struct sample_params *push, const char *label) {
    return (smt_node){.key = {.kernel = kernel, .windows = 1},
                      .layer = b->layer,
                      .push.sample = *push,
                      .groups = {1, 1, 1},
                      .indirect = SMT_NO_VALUE,
                      .label = label};
}

void smt_build_sample(smt_builder *b, uint32_t logits) {
    uint32_t n_vocab = b->model->n_vocab, per_group = smt_max_u32(smt_div_up(n_vocab, GROUPS_MOST), PER_GROUP_LEAST);
    uint32_t tiles = smt_div_up(n_vocab, SAMPLE_TILE * per_group);
    const struct sample_params push = {.n_vocab = n_vocab, .per_group = per_group, .n_groups = tiles * SAMPLE_TILE};
    uint32_t most =
        smt_max_u32(push.n_groups, DRAW_MOST * per_group); /* {key, id} of groups, later of the members of some of them */
    uint32_t best = smt_build_value(b, SMT_VALUE_SCRATCH, b->layer, 8ull * most);
    uint32_t ring = smt_build_value(b, SMT_VALUE_RING, UINT32_MAX, 4ull * SAMPLE_RING);
    smt_node top = sample_node(b, SMT_KERNEL_SAMPLE_TOP, &push, "best logits");
    top.buffers[0] = logits;
    top.buffers[1] = best;
    top.n_buffers = 2;
    top.writes = 1 << 1;
    top.groups[0] = tiles;
    smt_build_node(b, &top);
    smt_node draw = sample_node(b, SMT_KERNEL_SAMPLE_DRAW, &push, "draw");
    draw.buffers[0] = logits;
    draw.buffers[1] = best;
    draw.buffers[2] = b->step;
    draw.buffers[3] = ring;
    draw.n_buffers = 4;
    draw.writes = 1 << 1 | 1 << 2 | 1 << 3;
    smt_build_node(b, &draw);
}
