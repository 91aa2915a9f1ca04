/* view_card.c: the lower part of the side: what the selected expert or token is, else how to read the picture. */
#include "view_app.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct writer {
    view_app *app;
    view_rect rect; /* what is left of the card */
} writer;

static int line_height(const writer *w) { return view_line_height(&w->app->font, FACE_SMALL) + view_px(&w->app->layout, 3); }

/* A line of two parts; nothing where the card is full. */
static void line(writer *w, view_face face, uint32_t colour, const char *left, const char *right) {
    view_app *app = w->app;
    int height = face == FACE_SMALL ? line_height(w) : view_px(&app->layout, 21);
    if (w->rect.h < height) return;
    view_rect row = {w->rect.x, w->rect.y, w->rect.w, height};
    int right_w = right ? view_text_width(&app->font, FACE_SMALL, right) + view_px(&app->layout, 8) : 0;
    if (right) view_text_in(&app->canvas, &app->font, FACE_SMALL, row, ALIGN_RIGHT, app->palette.text, right);
    row.w -= right_w;
    view_text_in(&app->canvas, &app->font, face, row, ALIGN_LEFT, colour, left);
    w->rect.y += height, w->rect.h -= height;
}

/* ---- the selected expert ---- */

typedef struct use {
    int32_t id;
    uint32_t token, count; /* an example, and how often this id came here */
    float most;            /* the example's weight: the largest */
    double sum;
} use;

static int by_sum(const void *a, const void *b) {
    double x = ((const use *)a)->sum, y = ((const use *)b)->sum;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int by_id(const void *a, const void *b) {
    const use *x = a, *y = b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : x->token < y->token ? -1 : x->token > y->token;
}

/* Ids that this expert got, by the sum of their weights. *out is the caller's. Returns how many; 0 without memory too. */
static uint32_t collect_uses(const view_app *app, uint32_t moe, uint32_t expert, use **out) {
    uint32_t n = 0, n_used = app->model.shape->n_used, kept = 0;
    use *uses = malloc(((size_t)app->counts.n + 1) * sizeof *uses);
    *out = uses;
    for (uint32_t t = 0; uses && t < app->counts.n; t++)
        for (uint32_t k = 0; k < n_used; k++)
            if (view_experts_of(&app->model, t, moe)[k] == expert) {
                float weight = view_weights_of(&app->model, t, moe)[k];
                uses[n++] = (use){app->model.tokens[t].id, t, 1, weight, (double)weight};
            }
    if (n == 0) return 0;
    qsort(uses, n, sizeof *uses, by_id);
    for (uint32_t i = 1; i < n; i++) {
        use *last = &uses[kept], *next = &uses[i];
        if (last->id != next->id) {
            uses[++kept] = *next;
            continue;
        }
        last->count++;
        last->sum += next->sum;
        if (next->most > last->most) last->most = next->most, last->token = next->token;
    }
    qsort(uses, ++kept, sizeof *uses, by_sum);
    return kept;
}

/* The token with what stands around it. */
static void context_of(const view_app *app, uint32_t token, char *words, size_t capacity) {
    char piece[64];
    size_t used = 0;
    words[0] = 0;
    for (uint32_t t = token > 3 ? token - 3 : 0; t <= token + 2 && t < app->model.n_tokens; t++) {
        view_token_words(&app->model, t, piece, sizeof piece);
        int n = snprintf(words + used, capacity - used, t == token ? "[%s]" : "%s", piece);
        if (n < 0 || (size_t)n >= capacity - used) break;
        used += (size_t)n;
    }
}

static void expert_figures(writer *w, uint32_t moe) {
    view_app *app = w->app;
    const smt_trace_model *shape = app->model.shape;
    const smt_trace_layer *layer = &shape->layers[moe];
    const smt_trace_place *place = &shape->places[layer->places[app->expert]];
    const smt_routing_layer *row = view_counts_layer(&app->counts, moe);
    uint64_t count = row->counts[app->expert];
    char text[160], bytes[32];
    snprintf(text, sizeof text, "%.2f\u00d7 the mean", view_counts_load(&app->counts, row, app->expert));
    line(w, FACE_SMALL, app->palette.dim, "load", text);
    snprintf(text, sizeof text, "%.1f %% of tokens", app->counts.n ? 100.0 * (double)count / app->counts.n : 0);
    line(w, FACE_SMALL, app->palette.dim, "chosen for", text);
    snprintf(text, sizeof text, "%.3f", count ? row->weights[app->expert] / (double)count : 0);
    line(w, FACE_SMALL, app->palette.dim, "mean weight when chosen", text);
    view_write_bytes(bytes, sizeof bytes, (double)layer->expert_bytes);
    line(w, FACE_SMALL, app->palette.dim, "size", bytes);
    snprintf(text, sizeof text, "%s memory of %s", place->tier, shape->devices[place->device]);
    line(w, FACE_SMALL, app->palette.dim, text, NULL);
}

static void expert_card(writer *w) {
    view_app *app = w->app;
    int32_t moe = app->model.moe_of_layer[app->layer];
    char text[256], words[200];
    use *uses;
    snprintf(text, sizeof text, "Layer %u, expert %u", app->layer, app->expert);
    line(w, FACE_BOLD, app->palette.text, text, NULL);
    expert_figures(w, (uint32_t)moe);
    w->rect.y += view_px(&app->layout, 6), w->rect.h -= view_px(&app->layout, 6);
    line(w, FACE_SMALL, app->palette.text, "Its tokens by weight, each with an example", NULL);
    uint32_t n = collect_uses(app, (uint32_t)moe, app->expert, &uses);
    for (uint32_t i = 0; i < n && i < 24; i++) {
        context_of(app, uses[i].token, words, sizeof words);
        snprintf(text, sizeof text, "%u\u00d7", uses[i].count);
        line(w, FACE_SMALL, app->palette.dim, words, text);
    }
    free(uses);
}

/* ---- the selected token ---- */

static void token_card(writer *w) {
    view_app *app = w->app;
    const smt_trace_model *shape = app->model.shape;
    const view_token *t = &app->model.tokens[app->token];
    char text[256], words[64], right[64];
    view_token_words(&app->model, app->token, words, sizeof words);
    snprintf(text, sizeof text, "Token %u: %s", app->token, words);
    line(w, FACE_BOLD, app->palette.text, text, NULL);
    snprintf(text, sizeof text, "id %d, position %u", t->id, t->index);
    line(w, FACE_SMALL, app->palette.dim, text, NULL);
    for (uint32_t l = 0; l < shape->n_moe; l++) {
        const uint16_t *experts = view_experts_of(&app->model, app->token, l);
        const float *weights = view_weights_of(&app->model, app->token, l);
        size_t used = 0;
        text[0] = 0;
        for (uint32_t k = 0; k < shape->n_used && used < sizeof text - 8; k++)
            used += (size_t)snprintf(text + used, sizeof text - used, k ? " %u" : "%u", experts[k]);
        if (l + 1 < shape->n_moe && w->rect.h < 2 * line_height(w)) {
            snprintf(text, sizeof text, "%u more layers: see the line in the grid", shape->n_moe - l);
            line(w, FACE_SMALL, app->palette.faint, text, NULL);
            break;
        }
        snprintf(words, sizeof words, "%u:  ", shape->layers[l].layer);
        snprintf(right, sizeof right, "%.2f", shape->n_used ? (double)weights[0] : 0);
        char both[sizeof text + sizeof words];
        snprintf(both, sizeof both, "%s%s", words, text);
        line(w, FACE_SMALL, app->palette.dim, both, right);
    }
}

/* ---- how to read it ---- */

static void ramp(writer *w) {
    view_app *app = w->app;
    view_rect box = {w->rect.x, w->rect.y, w->rect.w, view_px(&app->layout, 10)};
    if (w->rect.h < box.h * 3) return;
    for (int x = 0; x < box.w; x++) {
        uint32_t colour = app->palette.ramps[0][(uint32_t)(x * 255 / box.w)];
        if (app->comparing) {
            double side = 2.0 * x / box.w - 1;
            colour = view_mix(app->palette.panel, side > 0 ? app->palette.more : app->palette.less,
                              (uint32_t)(256 * (side < 0 ? -side : side)));
        }
        view_fill(&app->canvas, (view_rect){box.x + x, box.y, 1, box.h}, colour);
    }
    w->rect.y += box.h + view_px(&app->layout, 3), w->rect.h -= box.h + view_px(&app->layout, 3);
    static const char *const left[] = {[SHOW_FIRE] = "idle, afterglow", [SHOW_LOAD] = "never chosen"};
    static const char *const right[] = {[SHOW_FIRE] = "chosen, by weight", [SHOW_LOAD] = "4\u00d7 the mean"};
    if (app->comparing)
        line(w, FACE_SMALL, app->palette.dim, "more in the second", "more in the first");
    else
        line(w, FACE_SMALL, app->palette.dim, left[app->show], right[app->show]);
}

static void legend(writer *w) {
    view_app *app = w->app;
    const smt_trace_model *shape = app->model.shape;
    char text[160];
    line(w, FACE_BOLD, app->palette.text, "How to read this", NULL);
    ramp(w);
    if (shape->n_moe) {
        snprintf(text, sizeof text, "Each token uses %u of %u experts in a layer.", shape->n_used, shape->n_experts);
        line(w, FACE_SMALL, app->palette.dim, text, NULL);
    }
    if (shape->n_groups > 1) {
        snprintf(text, sizeof text, "Frames: its experts' groups, at most %u of %u.", shape->n_groups_used, shape->n_groups);
        line(w, FACE_SMALL, app->palette.dim, text, NULL);
    }
    if (shape->n_shared && shape->n_moe)
        line(w, FACE_SMALL, app->palette.dim, "Strip at the left: shared experts, used by all.", NULL);
    line(w, FACE_SMALL, app->palette.dim, "Colour: the device; greyer: slower memory.", NULL);
    line(w, FACE_SMALL, app->palette.dim, "Click an expert or a token. H: all keys.", NULL);
}

int view_legend_height(view_app *app, int w) {
    writer all = {app, {0, 0, w, INT_MAX / 2}};
    view_rect before = app->canvas.clip;
    app->canvas.clip = (view_rect){0, 0, 0, 0};
    legend(&all);
    app->canvas.clip = before;
    return all.rect.y;
}

view_rect view_card_over(const view_app *app) {
    view_rect text = app->layout.regions[REGION_TEXT], grid = app->layout.regions[REGION_GRID];
    bool chosen = app->token != NOTHING || app->layer != NOTHING, over_text = text.h > 0;
    view_rect r = over_text ? text : grid;
    if (!chosen || app->layout.regions[REGION_SIDE].w || r.h < view_px(&app->layout, 60)) return (view_rect){r.x, r.y, 0, 0};
    int w = view_px(&app->layout, 300), most = r.w * 3 / 5, h = over_text ? r.h : r.h * 3 / 5;
    if (w > most) w = most;
    return (view_rect){r.x + r.w - w, r.y + r.h - h, w, h};
}

void view_paint_card_over(view_app *app, view_region region) {
    view_rect card = view_card_over(app), r = app->layout.regions[region];
    if (card.w == 0 || !view_inside(r, card.x, card.y)) return;
    view_fill(&app->canvas, card, app->palette.panel);
    view_frame(&app->canvas, card, 1, app->palette.line);
    view_paint_card(app, view_inset(card, view_px(&app->layout, 12), view_px(&app->layout, 6)));
}

void view_paint_card(view_app *app, view_rect rect) {
    writer w = {app, rect};
    if (app->token != NOTHING && app->token < app->model.n_tokens)
        token_card(&w);
    else if (app->layer != NOTHING && app->expert != NOTHING && app->model.moe_of_layer[app->layer] >= 0)
        expert_card(&w);
    else
        legend(&w);
}
