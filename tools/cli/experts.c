/* experts.c: `--expert-use`: how often each routed expert was chosen during a generation, layers added up, as one line of bars.
 *
 *   experts: ▃▅▂█▁▄…  1.2 % to 6.0 % of 2304 choices, 3.1 % would be even
 *
 * The ids come from the evaluations themselves, so that nothing is computed twice; prompt and answer both count. */
#include "cli.h"

#include <stdlib.h>

#define BARS_MOST 64 /* columns of the line: with more experts each bar stands for several neighbours */

bool cli_expert_use_begin(const smt_model_info *model, cli_expert_use *use) {
    *use = (cli_expert_use){.n_experts = model->n_experts,
                            .n_ids = (size_t)(model->n_layers - model->n_dense_layers) * model->n_experts_used};
    if (model->n_experts == 0) return true;
    use->counts = calloc(model->n_experts, sizeof *use->counts);
    return use->counts != NULL;
}

void cli_expert_use_add(cli_expert_use *use, const int32_t *ids, size_t n_tokens) {
    for (size_t i = 0; ids && i < use->n_ids * n_tokens; i++) use->counts[ids[i]]++;
}

json_t *cli_expert_use_json(const cli_expert_use *use) {
    json_t *list = json_array();
    for (uint32_t e = 0; e < use->n_experts; e++) json_array_append_new(list, json_integer((json_int_t)use->counts[e]));
    return list;
}

void cli_expert_use_print(const cli_expert_use *use) {
    static const char *const bars[] = {".", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (use->n_experts == 0) {
        fputs("experts: none, this model is dense\n", stderr);
        return;
    }
    uint64_t total = 0, least = UINT64_MAX, most = 0, tallest = 0, heights[BARS_MOST] = {0};
    uint32_t n_bars = use->n_experts < BARS_MOST ? use->n_experts : BARS_MOST;
    for (uint32_t e = 0; e < use->n_experts; e++) {
        uint64_t count = use->counts[e];
        total += count;
        if (count < least) least = count;
        if (count > most) most = count;
        heights[(uint64_t)e * n_bars / use->n_experts] += count;
    }
    if (total == 0) return;
    for (uint32_t i = 0; i < n_bars; i++)
        if (heights[i] > tallest) tallest = heights[i];
    fputs("experts: ", stderr);
    for (uint32_t i = 0; i < n_bars; i++) fputs(bars[(heights[i] * 8 + tallest - 1) / tallest], stderr);
    fprintf(stderr, "  each %.1f %% to %.1f %% of %llu choices, %.1f %% would be even\n", 100.0 * (double)least / (double)total,
            100.0 * (double)most / (double)total, (unsigned long long)total, 100.0 / use->n_experts);
}

void cli_expert_use_end(cli_expert_use *use) {
    free(use->counts);
    *use = (cli_expert_use){0};
}
