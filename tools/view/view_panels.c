/* view_panels.c: the side: speed and its parts, devices, memory, cache, balance; below them the card (view_card.c).
 *
 * Every panel is a function that draws at *y and moves it down by what it took. Figures are those of the shown token and of the tokens
 * before it, so they are right wherever the playhead stands. */
#include "view_app.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct column {
    view_app *app;
    int x, w, y;
} column;

enum { WINDOW = 32 }; /* tokens that the rates are measured over */

/* ---- figures ---- */

void view_write_bytes(char *text, size_t capacity, double bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    for (; bytes >= 999.5 && unit < 4; unit++) bytes /= 1000;
    snprintf(text, capacity, unit == 0 || bytes >= 99.95 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void view_write_time(char *text, size_t capacity, double seconds) {
    bool small = seconds < 0.999e-3;
    snprintf(text, capacity, small ? "%.0f \u00b5s" : "%.2f ms", seconds * (small ? 1e6 : 1e3));
}

void view_write_count(char *text, size_t capacity, uint64_t count) {
    char digits[32], out[48];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count), used = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = 0;
    snprintf(text, capacity, "%s", out);
}

double view_speed_at(const view_app *app, uint32_t token) {
    const view_token *t = &app->model.tokens[token];
    double seconds = view_step_seconds(t), tokens = t->step_tokens;
    if (t->step_tokens == 1)
        for (uint32_t i = 1; i < WINDOW && i <= token && app->model.tokens[token - i].step_tokens == 1; i++, tokens++)
            seconds += view_step_seconds(&app->model.tokens[token - i]);
    return seconds > 0 ? tokens / seconds : 0;
}

uint32_t view_device_colour(const view_app *app, uint32_t device) {
    const smt_trace_model *shape = app->model.shape;
    uint32_t colour = app->palette.dim, rank = UINT32_MAX;
    for (uint32_t p = 0; p < shape->n_places && p < VIEW_MAX_PLACES; p++) {
        uint32_t its = view_tier_rank(shape->places[p].tier);
        if (shape->places[p].device == device && its < rank) colour = app->palette.places[p], rank = its;
    }
    return colour;
}

/* ---- pieces ---- */

static int small(const view_app *app) { return view_line_height(&app->font, FACE_SMALL); }

static void heading(column *c, const char *words) {
    view_app *app = c->app;
    view_text_in(&app->canvas, &app->font, FACE_BOLD, (view_rect){c->x, c->y, c->w, view_px(&app->layout, 18)}, ALIGN_LEFT,
                 app->palette.text, words);
    c->y += view_px(&app->layout, 21);
}

/* Words at the left, a figure at the right. */
static void pair(column *c, uint32_t chip, const char *words, const char *figure) {
    view_app *app = c->app;
    int height = small(app) + view_px(&app->layout, 3), side = view_px(&app->layout, 8), left = 0;
    if (chip) {
        view_round(&app->canvas, (view_rect){c->x, c->y + (height - side) / 2, side, side}, side / 4, chip);
        left = side + view_px(&app->layout, 6);
    }
    int figure_w = view_text_width(&app->font, FACE_SMALL, figure) + view_px(&app->layout, 8);
    view_text_in(&app->canvas, &app->font, FACE_SMALL, (view_rect){c->x + left, c->y, c->w - left - figure_w, height}, ALIGN_LEFT,
                 app->palette.dim, words);
    view_text_in(&app->canvas, &app->font, FACE_SMALL, (view_rect){c->x, c->y, c->w, height}, ALIGN_RIGHT, app->palette.text,
                 figure);
    c->y += height;
}

static void part_of_bar(view_app *app, view_rect box, double share, uint32_t colour) {
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    int w = (int)(box.w * share + 0.5);
    if (w > 0) view_round(&app->canvas, (view_rect){box.x, box.y, w > box.h ? w : box.h, box.h}, box.h / 2, colour);
}

/* A bar over another one. */
static void bar_over(column *c, double behind, uint32_t behind_colour, double share, uint32_t colour) {
    view_app *app = c->app;
    view_rect box = {c->x, c->y + view_px(&app->layout, 1), c->w, view_px(&app->layout, 6)};
    view_round(&app->canvas, box, box.h / 2, app->palette.line);
    part_of_bar(app, box, behind, behind_colour);
    part_of_bar(app, box, share, colour);
    c->y += view_px(&app->layout, 11);
}

static void bar(column *c, double share, uint32_t colour) { bar_over(c, 0, colour, share, colour); }

static void space(column *c, double points) { c->y += view_px(&c->app->layout, points); }

/* ---- panels ---- */

static void speed_panel(column *c, uint32_t token) {
    view_app *app = c->app;
    const view_token *t = &app->model.tokens[token];
    double speed = view_speed_at(app, token), total = view_step_seconds(t);
    static const char *const names[SMT_PHASE_COUNT] = {"between steps", "prepare", "device", "read back"};
    char text[64];
    snprintf(text, sizeof text, speed >= 99.5 ? "%.0f" : "%.1f", speed);
    if (speed <= 0) snprintf(text, sizeof text, "\u2013");
    int width = view_text(&app->canvas, &app->font, FACE_BIG, c->x, c->y - view_px(&app->layout, 4), app->palette.text, text);
    view_rect beside = {c->x + width + view_px(&app->layout, 8), c->y, c->w, view_px(&app->layout, 30)};
    if (t->step_tokens > 1)
        snprintf(text, sizeof text, "tokens/s, a step of %u tokens", t->step_tokens);
    else
        snprintf(text, sizeof text, "tokens/s, one at a time");
    view_text_in(&app->canvas, &app->font, FACE_SMALL, beside, ALIGN_LEFT, app->palette.dim, text);
    space(c, 32);
    view_rect box = {c->x, c->y, c->w, view_px(&app->layout, 8)};
    view_fill(&app->canvas, box, app->palette.line);
    for (int i = 0, x = 0; i < SMT_PHASE_COUNT && total > 0; i++) {
        int w = (int)(box.w * (double)t->phase_s[i] / total + 0.5);
        view_fill(&app->canvas, view_common(box, (view_rect){box.x + x, box.y, w, box.h}), app->palette.phases[i]);
        x += w;
    }
    space(c, 12);
    for (int i = 0; i < SMT_PHASE_COUNT; i++) {
        snprintf(text, sizeof text, "%.2f ms", 1000 * (double)t->phase_s[i]);
        pair(c, app->palette.phases[i], names[i], text);
    }
    space(c, 12);
}

/* What the host carried to a device, now and for the tokens before. */
static void hop_lines(column *c, uint32_t token, uint32_t device) {
    view_app *app = c->app;
    const view_model *m = &app->model;
    size_t at = view_device_at(m, token, device);
    view_rect history = {c->x, c->y, c->w, view_px(&app->layout, 18)};
    char bytes[32], words[64], figure[64];
    if (m->hop_bytes[at] == 0) return;
    view_write_bytes(bytes, sizeof bytes, m->hop_bytes[at]);
    snprintf(words, sizeof words, view_hop_is_slow(m, token, device) ? "slow hop: %s brought to it" : "hop: %s brought to it",
             bytes);
    view_write_time(figure, sizeof figure, (double)m->hop_s[at]);
    pair(c, 0, words, figure);
    history.y = c->y + view_px(&app->layout, 1);
    view_paint_hop_history(app, history, token, device);
    c->y = history.y + history.h + view_px(&app->layout, 5);
}

static void device_panel(column *c, uint32_t token) {
    view_app *app = c->app;
    const smt_trace_model *shape = app->model.shape;
    double total = view_step_seconds(&app->model.tokens[token]);
    char words[160], bytes[32], figure[64];
    heading(c, shape->n_devices > 1 ? "Devices" : "Device");
    for (uint32_t d = 0; d < shape->n_devices; d++) {
        double busy = (double)app->model.device_s[(size_t)token * shape->n_devices + d];
        uint32_t chip = view_device_colour(app, d);
        snprintf(words, sizeof words, "%s", shape->devices[d]);
        snprintf(figure, sizeof figure, "%.0f %% busy", total > 0 ? 100 * busy / total : 0.0);
        pair(c, chip, words, figure);
        bar(c, total > 0 ? busy / total : 0, chip);
        view_write_bytes(bytes, sizeof bytes, view_token_bytes(&app->model, token, d));
        snprintf(figure, sizeof figure, "%.2f ms", 1000 * busy);
        snprintf(words, sizeof words, "%s of experts read for the token", bytes);
        pair(c, 0, words, figure);
        hop_lines(c, token, d);
    }
    space(c, 12);
}

/* Bytes of routed experts at each place. */
static double place_bytes(const smt_trace_model *shape, uint32_t place) {
    double bytes = 0;
    for (uint32_t l = 0; l < shape->n_moe; l++)
        for (uint32_t e = 0; e < shape->n_experts; e++)
            if (shape->layers[l].places[e] == place) bytes += (double)shape->layers[l].expert_bytes;
    return bytes;
}

static void memory_panel(column *c, uint32_t token) {
    view_app *app = c->app;
    const smt_trace_model *shape = app->model.shape;
    char words[160], figure[80];
    double all = 0, here;
    (void)token; /* it is the same for all, as in the next panel */
    if (shape->n_moe == 0) return;
    heading(c, "Where the experts lie");
    for (uint32_t p = 0; p < shape->n_places; p++) all += place_bytes(shape, p);
    for (uint32_t p = 0; p < shape->n_places && p < VIEW_MAX_PLACES; p++) {
        if ((here = place_bytes(shape, p)) <= 0) continue;
        view_write_bytes(figure, sizeof figure, here);
        snprintf(words, sizeof words, shape->n_devices > 1 ? "%s memory, %s" : "%s memory", shape->places[p].tier,
                 shape->devices[shape->places[p].device]);
        pair(c, app->palette.places[p], words, figure);
        bar(c, here / all, app->palette.places[p]);
    }
    space(c, 12);
}

/* Live: what the model holds of each heap's budget of now, beyond nine tenths in the colour of a warning; fainter behind it the whole
 * process. */
static void heap_panel(column *c, uint32_t token) {
    view_app *app = c->app;
    char figure[80], held[32], budget[32];
    (void)token;
    if (app->source.n_heaps == 0) return;
    heading(c, "Memory held, of the budget now");
    for (uint32_t i = 0; i < app->source.n_heaps; i++) {
        const view_heap *heap = &app->source.heaps[i];
        double budget_bytes = heap->budget ? (double)heap->budget : 1, share = (double)heap->held / budget_bytes;
        uint32_t colour = share > 0.9 ? app->palette.more : app->palette.dim;
        view_write_bytes(held, sizeof held, (double)heap->held);
        view_write_bytes(budget, sizeof budget, (double)heap->budget);
        snprintf(figure, sizeof figure, "%s of %s", held, budget);
        pair(c, 0, heap->name, figure);
        bar_over(c, (double)heap->used / budget_bytes, app->palette.faint, share, colour);
    }
    space(c, 12);
}

static void cache_panel(column *c, uint32_t token) {
    view_app *app = c->app;
    const smt_trace_model *shape = app->model.shape;
    uint32_t held = app->model.tokens[token].index + 1;
    char figure[64], bytes[32];
    heading(c, "Cache");
    view_write_bytes(bytes, sizeof bytes, (double)held * (double)shape->cache_bytes);
    snprintf(figure, sizeof figure, "%u of %u", held, shape->n_ctx);
    pair(c, 0, "positions held", figure);
    bar(c, shape->n_ctx ? (double)held / shape->n_ctx : 0, app->palette.less);
    if (shape->cache_bytes) pair(c, 0, "latent cache", bytes);
    space(c, 12);
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The mean over the layers of their loads, each layer's sorted: a flat line at 1 where all experts are used alike. */
static void load_curve(column *c) {
    view_app *app = c->app;
    uint32_t n = app->model.shape->n_experts, n_moe = app->model.shape->n_moe;
    double *mean = calloc(n + 1, sizeof *mean), *row = calloc(n + 1, sizeof *row);
    view_rect box = {c->x, c->y, c->w, view_px(&app->layout, 46)};
    for (uint32_t l = 0; mean && row && l < n_moe; l++) {
        const smt_routing_layer *layer = view_counts_layer(&app->counts, l);
        for (uint32_t e = 0; e < n; e++) row[e] = view_counts_load(&app->counts, layer, e);
        qsort(row, n, sizeof *row, descending);
        for (uint32_t e = 0; e < n; e++) mean[e] += row[e] / n_moe;
    }
    double top = mean && mean[0] > 2 ? mean[0] : 2;
    view_fill(&app->canvas, box, app->palette.back);
    for (int x = 0; mean && row && x < box.w; x++) {
        int h = (int)(box.h * mean[(uint64_t)x * n / (uint64_t)box.w] / top + 0.5);
        view_fill(&app->canvas, (view_rect){box.x + x, box.y + box.h - h, 1, h}, app->palette.ramps[0][130]);
    }
    view_fill(&app->canvas, (view_rect){box.x, box.y + box.h - (int)(box.h / top), box.w, 1}, app->palette.dim);
    free(mean);
    free(row);
    c->y += box.h + view_px(&app->layout, 4);
}

static void balance_panel(column *c, uint32_t token) {
    view_app *app = c->app;
    const smt_trace_model *shape = app->model.shape;
    (void)token; /* app->counts are those up to it */
    if (shape->n_moe == 0) return;
    double entropy = 0, busiest = 0;
    uint32_t unused = 0, at = 0;
    for (uint32_t l = 0; l < shape->n_moe; l++) {
        const smt_routing_layer *layer = view_counts_layer(&app->counts, l);
        entropy += layer->entropy / shape->n_moe;
        unused += layer->n_unused;
        if (layer->busiest > busiest) busiest = layer->busiest, at = layer->layer;
    }
    char words[96], figure[64];
    heading(c, "Balance so far");
    load_curve(c);
    pair(c, 0, "from the most to the least used; line: mean", "");
    snprintf(figure, sizeof figure, "%.2f of %.2f bits", entropy, log2(shape->n_experts));
    pair(c, 0, "entropy of the choices, mean", figure);
    snprintf(words, sizeof words, "busiest expert, in layer %u", at);
    snprintf(figure, sizeof figure, "%.1f\u00d7 the mean", busiest);
    pair(c, 0, words, figure);
    snprintf(figure, sizeof figure, "%u of %u", unused, shape->n_moe * shape->n_experts);
    pair(c, 0, "never chosen", figure);
    space(c, 12);
}

/* From top to bottom; where there is no room for all, those of the highest rank are left out first. */
static const struct panel {
    void (*paint)(column *c, uint32_t token);
    uint32_t rank;
} panels[] = {{speed_panel, 0}, {device_panel, 1}, {memory_panel, 5}, {heap_panel, 2}, {cache_panel, 4}, {balance_panel, 3}};
enum { N_PANELS = sizeof panels / sizeof *panels };

/* What a panel takes, by drawing it where nothing can be drawn. */
static int height_of(const struct panel *panel, column c, uint32_t token) {
    view_rect before = c.app->canvas.clip;
    int from = c.y;
    c.app->canvas.clip = (view_rect){0, 0, 0, 0};
    panel->paint(&c, token);
    c.app->canvas.clip = before;
    return c.y - from;
}

/* How many ranks of panels fit above a card. */
static uint32_t ranks_that_fit(const column *c, uint32_t token, int room) {
    uint32_t n = 0;
    int heights[N_PANELS] = {0};
    for (int i = 0; i < N_PANELS; i++) heights[panels[i].rank] = height_of(&panels[i], *c, token);
    while (n < N_PANELS && (n == 0 || heights[n] <= room)) room -= heights[n++];
    return n;
}

void view_paint_side(view_app *app) {
    view_rect r = app->layout.regions[REGION_SIDE];
    int margin = view_px(&app->layout, 16), gap = view_px(&app->layout, 8);
    if (r.w == 0) return;
    view_fill(&app->canvas, r, app->palette.panel);
    view_fill(&app->canvas, (view_rect){r.x, r.y, 1, r.h}, app->palette.line);
    column c = {app, r.x + margin, r.w - 2 * margin, r.y + view_px(&app->layout, 14)};
    int bottom = r.y + r.h - view_px(&app->layout, 6);
    if (app->model.n_tokens) {
        bool chosen = app->layer != NOTHING || app->token != NOTHING; /* then the card needs all it can get */
        int card = chosen ? r.h / 2 : view_legend_height(app, c.w);
        uint32_t token = view_shown(app), n = ranks_that_fit(&c, token, bottom - c.y - gap - card);
        if (chosen && n > 2) n = 2;
        for (int i = 0; i < N_PANELS; i++)
            if (panels[i].rank < n) panels[i].paint(&c, token);
    }
    view_fill(&app->canvas, (view_rect){c.x, c.y - gap / 2, c.w, 1}, app->palette.line);
    c.y += gap;
    view_paint_card(app, (view_rect){c.x, c.y, c.w, bottom - c.y});
}
