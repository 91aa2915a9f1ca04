/* view_gauges.c: two bars beside each layer of the grid: how evenly its experts were chosen, and how far the busiest is above the mean.
 *
 * Evenness is the entropy of the choices over the greatest possible, 100 % where all experts are chosen alike. The load bar ends at four
 * times the mean; beyond twice the mean it takes the colour of a warning, because that layer waits for one expert. */
#include "view_app.h"

#include <math.h>
#include <stdio.h>

typedef struct gauge {
    view_rect column;
    const char *title;
} gauge;

static void paint_bar(view_app *app, view_rect column, view_rect row, double share, uint32_t colour, const char *words) {
    int height = view_line_height(&app->font, FACE_SMALL), pad = view_px(&app->layout, 4);
    int thick = row.h < view_px(&app->layout, 7) ? row.h : view_px(&app->layout, 7);
    bool numbers = row.h >= height && column.w > view_px(&app->layout, 70);
    view_rect box = {column.x, row.y + (row.h - thick) / 2, column.w, thick};
    if (numbers) box.w -= view_px(&app->layout, 36);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    view_fill(&app->canvas, box, app->palette.panel);
    view_fill(&app->canvas, (view_rect){box.x, box.y, (int)(box.w * share + 0.5), box.h}, colour);
    if (!numbers) return;
    view_rect right = {box.x + box.w + pad, row.y + (row.h - height) / 2, column.x + column.w - box.x - box.w - pad, height};
    view_text_in(&app->canvas, &app->font, FACE_SMALL, right, ALIGN_RIGHT, app->palette.dim, words);
}

static void paint_layer(view_app *app, const view_pane *pane, const gauge gauges[2], uint32_t layer, uint32_t moe) {
    const smt_routing_layer *row = view_counts_layer(&app->counts, moe);
    double most = log2(app->model.shape->n_experts), even = most > 0 ? row->entropy / most : 1;
    view_rect cell = view_cell(pane, layer, 0);
    char words[32];
    if (app->counts.n == 0) return;
    snprintf(words, sizeof words, "%.0f %%", 100 * even);
    paint_bar(app, gauges[0].column, cell, even, view_mix(app->palette.panel, app->palette.less, 150), words);
    snprintf(words, sizeof words, "%.1f\u00d7", row->busiest);
    uint32_t colour = row->busiest > 2 ? view_mix(app->palette.panel, app->palette.more, 190) : app->palette.faint;
    paint_bar(app, gauges[1].column, cell, row->busiest / 4, colour, words);
}

void view_paint_gauges(view_app *app, const view_pane *pane) {
    view_rect r = pane->gauges, before = app->canvas.clip;
    int axis = pane->axis.h, half = (r.w - view_px(&app->layout, 14)) / 2;
    bool narrow = half < view_text_width(&app->font, FACE_SMALL, "evenness");
    gauge gauges[2] = {{{r.x, r.y + axis, half, r.h - axis}, narrow ? "even" : "evenness"},
                       {{r.x + r.w - half, r.y + axis, half, r.h - axis}, narrow ? "top" : "busiest"}};
    for (int i = 0; i < 2; i++)
        view_text_in(&app->canvas, &app->font, FACE_SMALL,
                     (view_rect){gauges[i].column.x, r.y, half, axis - view_px(&app->layout, 3)}, ALIGN_LEFT, app->palette.faint,
                     gauges[i].title);
    app->canvas.clip = view_common(before, (view_rect){r.x, r.y + axis, r.w, r.h - axis});
    for (uint32_t moe = 0; moe < app->model.shape->n_moe; moe++)
        paint_layer(app, pane, gauges, app->model.shape->layers[moe].layer, moe);
    app->canvas.clip = before;
}
