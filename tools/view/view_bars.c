/* view_bars.c: what frames the picture: the header over it, timeline and status below, the help above everything. */
#include "system.h"
#include "view_app.h"

#include <stdio.h>
#include <string.h>

/* ---- header ---- */

static void shape_words(const smt_trace_model *shape, char *words, size_t capacity) {
    size_t used = (size_t)snprintf(words, capacity, "%u layers", shape->n_layers);
    if (shape->n_moe == 0) {
        snprintf(words + used, capacity - used, ", dense: no experts");
        return;
    }
    used += (size_t)snprintf(words + used, capacity - used, "  \u00b7  %u experts, %u chosen", shape->n_experts, shape->n_used);
    if (shape->n_shared) used += (size_t)snprintf(words + used, capacity - used, " + %u shared", shape->n_shared);
    if (shape->n_groups > 1) snprintf(words + used, capacity - used, "  \u00b7  %u groups", shape->n_groups);
}

static void state_words(const view_app *app, char *words, size_t capacity) {
    const view_playing *play = &app->playing;
    if (app->source.live && app->model.n_tokens == 0)
        snprintf(words, capacity, "live");
    else if (play->paused)
        snprintf(words, capacity, "paused");
    else if (app->source.live && view_current(app) + 1 == app->model.n_tokens)
        snprintf(words, capacity, app->source.ended ? "live, ended" : "live");
    else
        snprintf(words, capacity, "%g tokens/s", play->speed);
}

void view_paint_header(view_app *app) {
    view_rect r = app->layout.regions[REGION_HEADER];
    const smt_trace_model *shape = app->model.shape;
    int margin = view_px(&app->layout, 14);
    char words[200], position[120], now[24], all[24], session[32] = "";
    view_fill(&app->canvas, r, app->palette.back);
    view_rect row = {r.x + margin, r.y + view_px(&app->layout, 8), r.w - 2 * margin, view_px(&app->layout, 28)};
    view_write_count(now, sizeof now, app->model.n_tokens ? view_current(app) + 1 : 0);
    view_write_count(all, sizeof all, app->model.n_tokens);
    state_words(app, words, sizeof words);
    if (app->session != NOTHING) snprintf(session, sizeof session, " of session %u", app->session);
    snprintf(position, sizeof position, "token %s of %s%s", now, all, session);
    int right = view_text_in(&app->canvas, &app->font, FACE_BODY, row, ALIGN_RIGHT, app->palette.text, position);
    row.w -= right + view_px(&app->layout, 16);
    uint32_t colour = app->playing.paused ? app->palette.mark : app->palette.dim;
    row.w -= view_text_in(&app->canvas, &app->font, FACE_BODY, row, ALIGN_RIGHT, colour, words) + view_px(&app->layout, 16);
    const char *name = *shape->name ? shape->name : *shape->architecture ? shape->architecture : "model";
    int left = view_text_in(&app->canvas, &app->font, FACE_BOLD, row, ALIGN_LEFT, app->palette.text, name);
    left += view_px(&app->layout, 14);
    shape_words(shape, words, sizeof words);
    view_text_in(&app->canvas, &app->font, FACE_BODY, (view_rect){row.x + left, row.y, row.w - left, row.h}, ALIGN_LEFT,
                 app->palette.dim, words);
}

/* ---- timeline ---- */

void view_paint_timeline(view_app *app) {
    view_rect r = app->layout.regions[REGION_TIMELINE], track = app->layout.track;
    uint32_t n = app->model.n_tokens;
    view_fill(&app->canvas, r, app->palette.panel);
    view_fill(&app->canvas, (view_rect){r.x, r.y, r.w, 1}, app->palette.line);
    view_round(&app->canvas, track, track.h / 2, app->palette.line);
    if (n == 0) return;
    double share = n > 1 ? app->playing.at / (n - 1) : 1;
    int x = track.x + (int)(track.w * (share > 1 ? 1 : share));
    view_round(&app->canvas, (view_rect){track.x, track.y, x - track.x, track.h}, track.h / 2, app->palette.faint);
    if (app->token != NOTHING) {
        int at = track.x + (int)((double)track.w * app->token / (n > 1 ? n - 1 : 1));
        view_fill(&app->canvas, (view_rect){at - 1, track.y - 3, 3, track.h + 6}, app->palette.mark);
    }
    int knob = view_px(&app->layout, 6);
    view_round(&app->canvas, (view_rect){x - knob, track.y + track.h / 2 - knob, 2 * knob, 2 * knob}, knob, app->palette.accent);
}

/* ---- status ---- */

static void status_words(const view_app *app, char *words, size_t capacity) {
    char token[80];
    uint32_t hovered = view_token_at(app, app->mouse_x, app->mouse_y);
    if (app->now < app->notice_until)
        snprintf(words, capacity, "%s", app->notice);
    else if (hovered != NOTHING) {
        const view_token *t = &app->model.tokens[hovered];
        view_token_words(&app->model, hovered, token, sizeof token);
        snprintf(words, capacity, "token %u \u201c%s\u201d: id %d, session %u, position %u, %.2f ms%s", hovered, token, t->id,
                 t->session, t->index, 1000 * view_step_seconds(t) / t->step_tokens,
                 t->step_tokens > 1 ? " (its part of a longer step)" : "");
    } else if (app->source.live)
        snprintf(words, capacity, "%s", app->source.status);
    else
        snprintf(words, capacity, "replay of %s%s%s", system_base_name(app->options.replay), app->model.damage ? ": " : "",
                 app->model.damage ? app->model.damage : "");
}

/* The end of what is being written, with the cursor. */
static void paint_typed(view_app *app, view_rect row) {
    const char *label = app->options.chat ? "message: " : "write on: ", *from = app->typed;
    row.x += view_text_in(&app->canvas, &app->font, FACE_BOLD, row, ALIGN_LEFT, app->palette.mark, label);
    row.w -= row.x - view_px(&app->layout, 14);
    while (view_text_width(&app->font, FACE_BODY, from) > row.w - 4) view_next_char(&from, from + strlen(from));
    row.x += view_text_in(&app->canvas, &app->font, FACE_BODY, row, ALIGN_LEFT, app->palette.text, from);
    view_fill(&app->canvas, (view_rect){row.x + 1, row.y + 4, view_px(&app->layout, 2), row.h - 8}, app->palette.mark);
}

/* As many keys as there is room for beside the words. */
static const char *hints_beside(view_app *app, int room, const char *words) {
    static const char *const hints[] = {"space: pause   \u2190 \u2192: step   wheel: zoom   M: load   H: all keys",
                                        "H: all keys"};
    room -= view_text_width(&app->font, FACE_SMALL, words) + view_px(&app->layout, 20);
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (view_text_width(&app->font, FACE_SMALL, hints[i]) <= room) return hints[i];
    return "";
}

void view_paint_status(view_app *app) {
    view_rect r = app->layout.regions[REGION_STATUS];
    char words[700], dropped[64];
    view_fill(&app->canvas, r, app->palette.panel);
    view_rect row = view_inset(r, view_px(&app->layout, 14), 0);
    if (app->typing) {
        paint_typed(app, row);
        return;
    }
    if (app->model.dropped) {
        snprintf(dropped, sizeof dropped, "%llu tokens not shown", (unsigned long long)app->model.dropped);
        row.w -= view_text_in(&app->canvas, &app->font, FACE_SMALL, row, ALIGN_RIGHT, app->palette.more, dropped) +
                 view_px(&app->layout, 20);
    }
    status_words(app, words, sizeof words);
    const char *hints = hints_beside(app, row.w, words);
    int right = view_text_in(&app->canvas, &app->font, FACE_SMALL, row, ALIGN_RIGHT, app->palette.faint, hints);
    row.w -= right ? right + view_px(&app->layout, 20) : 0;
    view_text_in(&app->canvas, &app->font, FACE_SMALL, row, ALIGN_LEFT, app->source.failed ? app->palette.more : app->palette.dim,
                 words);
}

/* ---- help ---- */

void view_paint_help(view_app *app) {
    int n = 0, line = view_px(&app->layout, 21), pad = view_px(&app->layout, 24), keys = view_px(&app->layout, 150);
    while (view_help[n][0]) n++;
    view_rect box = {0, 0, view_px(&app->layout, 560), (n + 2) * line + 2 * pad};
    box.x = (app->canvas.w - box.w) / 2, box.y = (app->canvas.h - box.h) / 2;
    view_round(&app->canvas, view_inset(box, -1, -1), view_px(&app->layout, 11), app->palette.faint);
    view_round(&app->canvas, box, view_px(&app->layout, 10), app->palette.panel);
    view_rect row = {box.x + pad, box.y + pad, box.w - 2 * pad, line};
    view_text_in(&app->canvas, &app->font, FACE_BOLD, row, ALIGN_LEFT, app->palette.text, "Keys and mouse");
    row.y += 2 * line;
    for (int i = 0; i < n; i++, row.y += line) {
        view_text_in(&app->canvas, &app->font, FACE_BODY, (view_rect){row.x, row.y, keys, line}, ALIGN_LEFT, app->palette.text,
                     view_help[i][0]);
        view_text_in(&app->canvas, &app->font, FACE_BODY, (view_rect){row.x + keys, row.y, row.w - keys, line}, ALIGN_LEFT,
                     app->palette.dim, view_help[i][1]);
    }
}
