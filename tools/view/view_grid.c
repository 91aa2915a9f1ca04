/* view_grid.c: the main picture: every routed expert of every layer as a cell, in one pane or in three.
 *
 * A row of cells is made once, as one line of pixels, and copied downwards: filling a grid costs about as much as copying it, whatever
 * it shows, and so it is drawn anew in every frame that moves. Marks that lie over cells (frames of groups, the path of a token, what
 * is selected) come afterwards. */
#include "view_app.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a pane shows: one of two traces, or their difference. */
typedef enum side { THIS, OTHER, DIFFERENCE } side;

typedef struct painter {
    view_app *app;
    const view_pane *pane;
    side side;
    const view_model *model;
    const view_counts *counts;
    const view_fire *fire;
} painter;

static painter painter_of(view_app *app, uint32_t pane) {
    bool other = pane == OTHER;
    return (painter){app,
                     &app->layout.panes[pane],
                     (side)pane,
                     other ? &app->other : &app->model,
                     other ? &app->other_counts : &app->counts,
                     other ? &app->other_fire : &app->fire};
}

static view_rect row_rect(const painter *p, uint32_t layer) {
    view_rect r = view_cell(p->pane, layer, 0);
    return (view_rect){p->pane->cells.x, r.y, p->pane->cells.w, r.h};
}

/* ---- colours ---- */

static const uint32_t *ramp_of(const painter *p, uint32_t moe, uint32_t expert) {
    uint32_t place = p->model->shape->layers[moe].places[expert];
    return p->app->palette.ramps[place < VIEW_MAX_PLACES ? place : VIEW_MAX_PLACES - 1];
}

/* Load on a scale that ends at four times the mean and spreads what is below the mean over nearly half of it. */
static uint32_t load_level(double load) {
    double level = 255 * pow(load / 4, 0.6);
    return level > 255 ? 255 : (uint32_t)level;
}

static uint32_t difference_colour(const view_palette *palette, double difference) {
    double size = fabs(difference) > 1 ? 1 : sqrt(fabs(difference));
    return view_mix(palette->panel, difference > 0 ? palette->more : palette->less, (uint32_t)(256 * size));
}

static void row_colours(const painter *p, uint32_t moe, uint32_t *colours) {
    const view_app *app = p->app;
    uint32_t n = p->pane->n_experts;
    if (p->side != DIFFERENCE && app->show == SHOW_FIRE) {
        const uint8_t *levels = p->fire->levels + (size_t)moe * n;
        for (uint32_t e = 0; e < n; e++) colours[e] = ramp_of(p, moe, e)[levels[e]];
        return;
    }
    const smt_routing_layer *row = view_counts_layer(p->counts, moe), *other = NULL;
    if (p->side == DIFFERENCE) other = view_counts_layer(&app->other_counts, moe);
    for (uint32_t e = 0; e < n; e++) {
        double load = view_counts_load(p->counts, row, e);
        colours[e] = other ? difference_colour(&app->palette, load - view_counts_load(&app->other_counts, other, e))
                           : ramp_of(p, moe, e)[load_level(load)];
    }
}

/* ---- rows ---- */

/* One line of the row's pixels, then copies of it down to its height. */
static void fill_cells(const painter *p, uint32_t layer, const uint32_t *colours) {
    view_canvas *canvas = &p->app->canvas;
    view_rect seen = view_common(row_rect(p, layer), canvas->clip);
    if (seen.w == 0) return;
    uint32_t *line = canvas->pixels + (size_t)seen.y * (size_t)canvas->w;
    for (uint32_t e = 0; e < p->pane->n_experts; e++) {
        view_rect cell = view_common(view_cell(p->pane, layer, e), seen);
        for (int x = cell.x; x < cell.x + cell.w && cell.h; x++) line[x] = colours[e];
    }
    for (int y = 1; y < seen.h; y++)
        memcpy(line + (size_t)y * (size_t)canvas->w + seen.x, line + seen.x, (size_t)seen.w * sizeof *line);
}

static void dense_row(const painter *p, uint32_t layer) {
    view_app *app = p->app;
    view_rect r = row_rect(p, layer);
    view_fill(&app->canvas, r, app->palette.dense);
    if (r.h >= view_line_height(&app->font, FACE_SMALL))
        view_text_in(&app->canvas, &app->font, FACE_SMALL, view_inset(r, view_px(&app->layout, 8), 0), ALIGN_LEFT,
                     app->palette.faint, "dense layer: every token takes all of it");
}

/* A number on a cell that is wide enough: a choice's part of the token's weight in percent, or the load. */
static void cell_number(const painter *p, uint32_t layer, uint32_t expert, double value, bool bright) {
    char text[16];
    view_rect r = view_cell(p->pane, layer, expert);
    snprintf(text, sizeof text, p->app->show == SHOW_LOAD ? "%.1f" : "%.0f", value);
    if (r.h < view_line_height(&p->app->font, FACE_SMALL) || r.w < view_text_width(&p->app->font, FACE_SMALL, text)) return;
    uint32_t ink = bright != p->app->palette.light ? 0xff0b0d10 : 0xfff6f7f9;
    view_text_in(&p->app->canvas, &p->app->font, FACE_SMALL, r, ALIGN_MIDDLE, ink, text);
}

static void row_numbers(const painter *p, uint32_t layer, uint32_t moe) {
    const smt_trace_model *shape = p->model->shape;
    uint32_t token = view_shown(p->app);
    if (p->side == DIFFERENCE || token >= p->model->n_tokens ||
        p->pane->pitch_x < 2 * view_line_height(&p->app->font, FACE_SMALL) - 8)
        return;
    if (p->app->show == SHOW_LOAD) {
        const smt_routing_layer *row = view_counts_layer(p->counts, moe);
        for (uint32_t e = 0; e < shape->n_experts; e++) {
            double load = view_counts_load(p->counts, row, e);
            cell_number(p, layer, e, load, load_level(load) > 120);
        }
        return;
    }
    const uint16_t *experts = view_experts_of(p->model, token, moe);
    const float *weights = view_weights_of(p->model, token, moe);
    double sum = 0;
    for (uint32_t k = 0; k < shape->n_used; k++) sum += weights[k];
    for (uint32_t k = 0; k < shape->n_used && sum > 0; k++) cell_number(p, layer, experts[k], 100 * weights[k] / sum, true);
}

/* Groups that the token uses are framed, where the model chooses among groups. */
static void frame_groups(const painter *p, uint32_t layer, uint32_t moe) {
    const smt_trace_model *shape = p->model->shape;
    if (shape->n_groups <= 1 || p->side == DIFFERENCE || p->app->show != SHOW_FIRE || p->pane->pitch_y < 5) return;
    int thick = p->pane->gap_y > 1 ? 1 + p->pane->gap_y / 3 : 1;
    for (uint32_t g = 0; g < shape->n_groups; g++) {
        if (!p->fire->groups[(size_t)moe * shape->n_groups + g]) continue;
        view_rect first = view_cell(p->pane, layer, g * p->pane->group_size);
        view_rect last = view_cell(p->pane, layer, (g + 1) * p->pane->group_size - 1);
        view_rect all = {first.x - thick, first.y - thick, last.x + last.w - first.x + 2 * thick, first.h + 2 * thick};
        view_frame(&p->app->canvas, all, thick, p->app->palette.faint);
    }
}

static void paint_row(const painter *p, uint32_t layer, uint32_t *colours) {
    int32_t moe = p->model->moe_of_layer[layer];
    if (moe < 0) {
        dense_row(p, layer);
        return;
    }
    row_colours(p, (uint32_t)moe, colours);
    fill_cells(p, layer, colours);
    frame_groups(p, layer, (uint32_t)moe);
    row_numbers(p, layer, (uint32_t)moe);
}

/* ---- around the cells ---- */

static void paint_gutter(const painter *p) {
    view_app *app = p->app;
    int height = view_line_height(&app->font, FACE_SMALL);
    uint32_t every = 1;
    while ((int)every * p->pane->pitch_y < height) every = every == 1 ? 5 : every * 2;
    for (uint32_t l = 0; l < p->pane->n_layers; l++) {
        view_rect cell = view_cell(p->pane, l, 0);
        char number[16];
        snprintf(number, sizeof number, "%u", l);
        view_rect box = {p->pane->gutter.x, cell.y + (cell.h - height) / 2, p->pane->gutter.w - view_px(&app->layout, 8), height};
        bool seen = cell.y + cell.h > p->pane->cells.y && cell.y < p->pane->cells.y + p->pane->cells.h;
        if (!seen) continue;
        if (l % every == 0)
            view_text_in(&app->canvas, &app->font, FACE_SMALL, box, ALIGN_RIGHT,
                         l == app->layer ? app->palette.text : app->palette.faint, number);
        view_rect strip = {p->pane->shared.x, cell.y, p->pane->shared.w, cell.h};
        if (p->model->moe_of_layer[l] >= 0 && strip.w)
            view_fill(&app->canvas, view_common(strip, (view_rect){strip.x, p->pane->cells.y, strip.w, p->pane->cells.h}),
                      app->palette.shared);
    }
}

static void paint_axis(const painter *p) {
    view_app *app = p->app;
    const smt_trace_model *shape = p->model->shape;
    uint32_t step = p->pane->group_size;
    if (shape->n_groups <= 1)
        for (step = 1; (int)step * p->pane->pitch_x < view_px(&app->layout, 34);) step *= 2;
    for (uint32_t e = 0; e < shape->n_experts && shape->n_moe; e += step) {
        view_rect cell = view_cell(p->pane, 0, e);
        char words[32];
        bool wide = (int)step * p->pane->pitch_x > view_px(&app->layout, 60);
        if (shape->n_groups > 1)
            snprintf(words, sizeof words, wide ? "group %u" : "%u", e / step);
        else
            snprintf(words, sizeof words, "%u", e);
        view_rect box = {cell.x, p->pane->axis.y, (int)step * p->pane->pitch_x, p->pane->axis.h - view_px(&app->layout, 3)};
        if (box.x >= p->pane->axis.x && box.x + box.w / 2 < p->pane->axis.x + p->pane->axis.w)
            view_text_in(&app->canvas, &app->font, FACE_SMALL, box, ALIGN_LEFT, app->palette.faint, words);
    }
}

static void paint_title(const painter *p) {
    view_app *app = p->app;
    static const char *const single[] = {
        [SHOW_FIRE] = "Which experts the token uses", [SHOW_LOAD] = "How much each expert was used so far"};
    char words[600];
    if (!app->comparing)
        snprintf(words, sizeof words, "%s", single[app->show]);
    else if (p->side == DIFFERENCE)
        snprintf(words, sizeof words, "first less second: share of the choices so far");
    else
        snprintf(words, sizeof words, "%s: %s", p->side == THIS ? "first" : "second",
                 p->side == THIS ? app->options.replay : app->options.compare);
    view_rect left = p->pane->title;
    left.x = p->pane->cells.x;
    int width = view_text_in(&app->canvas, &app->font, FACE_BOLD, left, ALIGN_LEFT, app->palette.text, words);
    if (app->comparing || p->model->shape->n_moe == 0) return;
    static const char *const axes = "rows: layers, columns: routed experts";
    left.x += width + view_px(&app->layout, 12), left.w -= left.x - p->pane->title.x;
    view_text_in(&app->canvas, &app->font, FACE_SMALL, left, ALIGN_LEFT, app->palette.faint, axes);
}

/* ---- over the cells ---- */

/* The path of the selected token: from layer to layer through the expert with the largest weight. */
static uint32_t strongest(const view_model *model, uint32_t token, uint32_t moe) {
    const float *weights = view_weights_of(model, token, moe);
    uint32_t best = 0;
    for (uint32_t k = 1; k < model->shape->n_used; k++)
        if (weights[k] > weights[best]) best = k;
    return view_experts_of(model, token, moe)[best];
}

static void paint_path(const painter *p) {
    view_app *app = p->app;
    if (app->token == NOTHING || p->side != THIS || app->token >= p->model->n_tokens || app->show != SHOW_FIRE) return;
    double x0 = 0, y0 = 0, width = 1.6 * app->layout.scale;
    for (uint32_t l = 0; l < p->model->shape->n_moe; l++) {
        view_rect r = view_cell(p->pane, p->model->shape->layers[l].layer, strongest(p->model, app->token, l));
        double x = r.x + r.w / 2.0, y = r.y + r.h / 2.0;
        if (l > 0) view_line(&app->canvas, x0, y0, x, y, width, app->palette.mark);
        x0 = x, y0 = y;
    }
}

static void paint_marks(const painter *p) {
    view_app *app = p->app;
    int thick = app->layout.scale >= 1.5 ? 2 : 1;
    if (app->layer != NOTHING && app->expert != NOTHING && app->layer < p->pane->n_layers) {
        view_rect r = view_cell(p->pane, app->layer, app->expert);
        view_frame(&app->canvas, view_inset(r, -2 * thick, -2 * thick), 2 * thick, app->palette.mark);
    }
    const view_pane *pane;
    uint32_t layer, expert;
    if (view_hovered(app, &pane, &layer, &expert) && p->model->moe_of_layer[layer] >= 0)
        view_frame(&app->canvas, view_inset(view_cell(p->pane, layer, expert), -thick, -thick), thick, app->palette.text);
}

static void paint_pane(const painter *p, uint32_t *colours) {
    view_canvas *canvas = &p->app->canvas;
    view_rect before = canvas->clip;
    paint_title(p);
    canvas->clip = view_common(before, view_inset(p->pane->axis, -2, 0));
    paint_axis(p);
    canvas->clip = before;
    paint_gutter(p);
    canvas->clip = view_common(before, view_inset(p->pane->cells, -2, -2));
    for (uint32_t l = 0; l < p->pane->n_layers; l++) {
        view_rect r = row_rect(p, l);
        if (r.y + r.h > p->pane->cells.y && r.y < p->pane->cells.y + p->pane->cells.h) paint_row(p, l, colours);
    }
    view_paint_hops(p->app, p->pane);
    paint_path(p);
    paint_marks(p);
    canvas->clip = before;
    if (p->pane->gauges.w) view_paint_gauges(p->app, p->pane);
}

/* ---- the bubble beside the mouse ---- */

static void bubble_lines(const painter *p, uint32_t layer, uint32_t expert, char lines[4][160], int *n) {
    const smt_trace_model *shape = p->model->shape;
    int32_t moe = p->model->moe_of_layer[layer];
    *n = 0;
    if (moe < 0) {
        snprintf(lines[(*n)++], 160, "layer %u: dense, no experts to choose from", layer);
        return;
    }
    const smt_routing_layer *row = view_counts_layer(p->counts, (uint32_t)moe);
    const smt_trace_place *place = &shape->places[shape->layers[moe].places[expert]];
    uint32_t token = view_shown(p->app);
    snprintf(lines[(*n)++], 160, "layer %u, expert %u", layer, expert);
    snprintf(lines[(*n)++], 160, "chosen %llu times, %.2f of the mean", (unsigned long long)row->counts[expert],
             view_counts_load(p->counts, row, expert));
    if (p->side == DIFFERENCE) {
        const smt_routing_layer *its = view_counts_layer(&p->app->other_counts, (uint32_t)moe);
        snprintf(lines[(*n)++], 160, "in the second trace: %.2f of the mean",
                 view_counts_load(&p->app->other_counts, its, expert));
    }
    for (uint32_t k = 0; token < p->model->n_tokens && k < shape->n_used; k++)
        if (view_experts_of(p->model, token, (uint32_t)moe)[k] == expert)
            snprintf(lines[(*n)++], 160, "this token: weight %.3f, choice %u of %u",
                     (double)view_weights_of(p->model, token, (uint32_t)moe)[k], k + 1, shape->n_used);
    if (*n < 4) snprintf(lines[(*n)++], 160, "%s, %s memory", shape->devices[place->device], place->tier);
}

/* What the bars beside a layer say, in numbers. */
static void gauge_lines(const view_app *app, uint32_t layer, char lines[4][160], int *n) {
    const smt_trace_model *shape = app->model.shape;
    const smt_routing_layer *row = view_counts_layer(&app->counts, (uint32_t)app->model.moe_of_layer[layer]);
    *n = 3;
    snprintf(lines[0], 160, "layer %u, so far", layer);
    snprintf(lines[1], 160, "entropy of the choices: %.2f of %.2f bits", row->entropy, log2(shape->n_experts));
    snprintf(lines[2], 160, "busiest expert: %.1f\u00d7 the mean; %u never chosen", row->busiest, row->n_unused);
}

static bool over_gauge(const view_app *app, uint32_t *layer) {
    const view_pane *pane = &app->layout.panes[0];
    if (app->dragging || !view_inside(pane->gauges, app->mouse_x, app->mouse_y) || app->mouse_y < pane->cells.y) return false;
    return view_layer_at(pane, app->mouse_y, layer) && app->model.moe_of_layer[*layer] >= 0;
}

static void paint_bubble(view_app *app) {
    const view_pane *pane;
    uint32_t layer, expert;
    char lines[4][160];
    int n;
    if (view_hovered(app, &pane, &layer, &expert)) {
        painter p = painter_of(app, (uint32_t)(pane - app->layout.panes));
        bubble_lines(&p, layer, expert, lines, &n);
    } else if (over_gauge(app, &layer))
        gauge_lines(app, layer, lines, &n);
    else
        return;
    int w = 0, height = view_line_height(&app->font, FACE_SMALL) + view_px(&app->layout, 2), pad = view_px(&app->layout, 8);
    for (int i = 0; i < n; i++) {
        int width = view_text_width(&app->font, FACE_SMALL, lines[i]);
        if (width > w) w = width;
    }
    view_rect box = {app->mouse_x + 2 * pad, app->mouse_y + 2 * pad, w + 2 * pad, n * height + 2 * pad - 2},
              area = app->canvas.clip;
    if (box.x + box.w > area.x + area.w) box.x = app->mouse_x - pad - box.w;
    if (box.y + box.h > area.y + area.h) box.y = app->mouse_y - pad - box.h;
    view_round(&app->canvas, view_inset(box, -1, -1), view_px(&app->layout, 6), app->palette.faint);
    view_round(&app->canvas, box, view_px(&app->layout, 5), app->palette.panel);
    for (int i = 0; i < n; i++)
        view_text(&app->canvas, &app->font, FACE_SMALL, box.x + pad, box.y + pad - 1 + i * height,
                  i == 0 ? app->palette.text : app->palette.dim, lines[i]);
}

bool view_hovered(const view_app *app, const view_pane **pane, uint32_t *layer, uint32_t *expert) {
    if (view_inside(view_card_over(app), app->mouse_x, app->mouse_y)) return false;
    for (uint32_t i = 0; i < app->layout.n_panes && !app->dragging; i++) {
        *pane = &app->layout.panes[i];
        if (view_cell_at(*pane, app->mouse_x, app->mouse_y, layer, expert)) return true;
    }
    return false;
}

void view_paint_grid(view_app *app) {
    uint32_t *colours = malloc((app->model.shape->n_experts + 1) * sizeof *colours);
    view_fill(&app->canvas, app->layout.regions[REGION_GRID], app->palette.back);
    for (uint32_t i = 0; colours && i < app->layout.n_panes; i++) {
        painter p = painter_of(app, i);
        paint_pane(&p, colours);
    }
    view_paint_card_over(app, REGION_GRID);
    paint_bubble(app);
    free(colours);
}
