/* view_stream.c: the text, token by token: what was, the current token on the accent's ground, and, in a replay, what is to come in a
 * fainter tone. It scrolls so that the current token stays in sight. A selected token has a frame. */
#include "view_app.h"

static int cell_width(const view_app *app) { return view_advance((view_font *)&app->font, FACE_MONO, 'm'); }

static int line_height(const view_app *app) { return view_line_height(&app->font, FACE_MONO) + view_px(&app->layout, 2); }

/* The lines' rectangle: below the title, within margins. */
static view_rect lines_rect(const view_app *app) {
    view_rect r = app->layout.regions[REGION_TEXT];
    int margin = view_px(&app->layout, 14), head = view_px(&app->layout, 26);
    if (r.h < head + line_height(app) || r.w <= 2 * margin) return (view_rect){r.x, r.y, 0, 0};
    int n = (r.h - head) / line_height(app);
    return (view_rect){r.x + margin, r.y + head, r.w - 2 * margin, n * line_height(app)};
}

/* The first line shown: the current token's line is kept in the lower third, or all is shown where it fits. A selected token moves
 * nothing: it was seen when it was clicked. */
static uint32_t first_line(const view_app *app, view_rect lines) {
    uint32_t n = (uint32_t)(lines.h / line_height(app)), token = view_current(app);
    if (n == 0 || token >= app->flow.n_tokens) return 0;
    uint32_t line = app->flow.spots[token].line, ahead = n / 3 + 1;
    return line + ahead > n ? line + ahead - n : 0;
}

static view_rect box_of(const view_app *app, view_rect lines, uint32_t first, view_spot spot) {
    int w = cell_width(app), h = line_height(app);
    return (view_rect){lines.x + (int)spot.column * w, lines.y + ((int)spot.line - (int)first) * h, w, h};
}

static uint32_t ink_of(const view_app *app, uint32_t token, uint32_t current) {
    if (token == current) return app->palette.on_accent;
    if (token > current) return app->palette.faint;
    return app->model.tokens[token].step_tokens > 1 ? app->palette.dim : app->palette.text; /* a prompt's, and the answer */
}

static void paint_token(view_app *app, view_rect lines, uint32_t first, uint32_t token, uint32_t current, uint32_t hovered) {
    view_walk walk;
    view_spot spot;
    uint32_t c, ink = ink_of(app, token, current);
    int thick = app->layout.scale >= 1.5 ? 2 : 1;
    view_walk_begin(&walk, &app->flow, &app->model, token);
    while (view_walk_next(&walk, &c, &spot)) {
        if (spot.line < first) continue;
        view_rect box = box_of(app, lines, first, spot);
        if (token == current) view_fill(&app->canvas, box, app->palette.accent);
        if (token == hovered || token == app->token)
            view_fill(&app->canvas, (view_rect){box.x, box.y + box.h - 2 * thick, box.w, 2 * thick},
                      token == app->token ? app->palette.mark : app->palette.faint);
        if (c == '\n' && (token == current || token == app->token)) c = 0x21b5;
        if (c != '\n' && c != '\t' && c != ' ') view_char(&app->canvas, &app->font, FACE_MONO, box.x, box.y, ink, c);
    }
}

static void paint_title(view_app *app) {
    view_rect r = app->layout.regions[REGION_TEXT];
    int margin = view_px(&app->layout, 14);
    view_rect box = {r.x + margin, r.y, r.w - 2 * margin, view_px(&app->layout, 22)};
    int width = view_text_in(&app->canvas, &app->font, FACE_BOLD, box, ALIGN_LEFT, app->palette.text, "Text");
    box.x += width + view_px(&app->layout, 12), box.w -= width + view_px(&app->layout, 12);
    if (app->token != NOTHING)
        view_text_in(&app->canvas, &app->font, FACE_SMALL, box, ALIGN_LEFT, app->palette.dim,
                     "the grid shows the selected token; Escape goes back to the current one");
    else if (app->model.n_tokens)
        view_text_in(&app->canvas, &app->font, FACE_SMALL, box, ALIGN_LEFT, app->palette.faint, "click a token to see its path");
    else if (app->source.ended && !app->source.failed)
        view_text_in(&app->canvas, &app->font, FACE_SMALL, box, ALIGN_LEFT, app->palette.dim,
                     "press Enter and write to the model");
}

void view_paint_text(view_app *app) {
    view_rect region = app->layout.regions[REGION_TEXT], before = app->canvas.clip, lines = lines_rect(app);
    view_fill(&app->canvas, region, app->palette.back);
    if (lines.w <= 0 || !view_flow_update(&app->flow, &app->model, (uint32_t)(lines.w / cell_width(app)), app->options.chat))
        return;
    paint_title(app);
    app->canvas.clip = view_common(before, lines);
    uint32_t first = first_line(app, lines), n = (uint32_t)(lines.h / line_height(app)), current = view_current(app);
    uint32_t hovered = view_token_at(app, app->mouse_x, app->mouse_y);
    for (uint32_t t = view_flow_first(&app->flow, first); t < app->flow.n_tokens && app->flow.spots[t].line < first + n + 1; t++)
        paint_token(app, lines, first, t, current, hovered);
    app->canvas.clip = before;
    view_paint_card_over(app, REGION_TEXT);
}

uint32_t view_token_at(const view_app *app, int x, int y) {
    view_rect lines = lines_rect(app);
    if (!view_inside(lines, x, y) || view_inside(view_card_over(app), x, y) || app->flow.columns == 0) return NOTHING;
    uint32_t first = first_line(app, lines), c;
    uint32_t line = first + (uint32_t)((y - lines.y) / line_height(app)), column = (uint32_t)((x - lines.x) / cell_width(app));
    for (uint32_t t = view_flow_first(&app->flow, line); t < app->flow.n_tokens && app->flow.spots[t].line <= line; t++) {
        view_walk walk;
        view_spot spot;
        view_walk_begin(&walk, &app->flow, &app->model, t);
        while (view_walk_next(&walk, &c, &spot))
            if (spot.line == line && spot.column == column) return t;
    }
    return NOTHING;
}
