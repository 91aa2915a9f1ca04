/* view_hops.c: what the host carries from device to device, made to be seen: a slow hop is otherwise only a slow model.
 *
 * Where devices have layers of their own, a strip lies over the first layer of each but the first, with the hop to it: its bar is the hop's
 * part of the step's time, and in the colour of a warning where that is more than a tenth (view_hop_is_slow). Where devices share layers
 * there is no such place, and only the history at the side tells. */
#include "view_app.h"

#include <stdio.h>

static uint32_t hop_colour(const view_app *app, uint32_t token, uint32_t device) {
    return view_hop_is_slow(&app->model, token, device) ? app->palette.slow : view_device_colour(app, device);
}

static void paint_strip(view_app *app, view_rect strip, uint32_t token, uint32_t device) {
    const view_model *m = &app->model;
    double seconds = (double)m->hop_s[view_device_at(m, token, device)], step = view_step_seconds(&m->tokens[token]);
    double share = step > 0 ? seconds / step : 0;
    uint32_t colour = hop_colour(app, token, device);
    bool slow = view_hop_is_slow(m, token, device);
    char words[300], bytes[32], time[32];
    int w = (int)(strip.w * (share > 1 ? 1 : share) + 0.5), least = view_px(&app->layout, 2);
    view_fill(&app->canvas, strip, app->palette.panel);
    if (seconds > 0) /* what there is can be seen */
        view_fill(&app->canvas, (view_rect){strip.x, strip.y, w > least ? w : least, strip.h},
                  view_mix(app->palette.panel, colour, 160));
    if (strip.h < view_line_height(&app->font, FACE_SMALL)) return;
    view_write_bytes(bytes, sizeof bytes, m->hop_bytes[view_device_at(m, token, device)]);
    view_write_time(time, sizeof time, seconds);
    snprintf(words, sizeof words, "%s to %.160s: %s for %s, %.1f %% of the step", slow ? "slow hop" : "hop",
             m->shape->devices[device], time, bytes, 100 * share);
    view_text_in(&app->canvas, &app->font, FACE_SMALL, view_inset(strip, view_px(&app->layout, 8), 0), ALIGN_LEFT,
                 slow ? app->palette.text : app->palette.dim, words);
}

void view_paint_hops(view_app *app, const view_pane *pane) {
    uint32_t token = view_shown(app);
    for (uint32_t i = 0; i < pane->n_bands && token < app->model.n_tokens; i++)
        paint_strip(app, view_hop_strip(pane, i), token, pane->bands[i].device);
}

void view_paint_hop_history(view_app *app, view_rect rect, uint32_t token, uint32_t device) {
    const view_model *m = &app->model;
    int breadth = view_px(&app->layout, 2), room = rect.w / breadth;
    uint32_t n = token + 1 < (uint32_t)room ? token + 1 : (uint32_t)room, first = token + 1 - n;
    float top = 0;
    for (size_t i = view_device_at(m, first, 0); i < view_device_at(m, token + 1, 0); i++)
        if (m->hop_s[i] > top) top = m->hop_s[i];
    view_fill(&app->canvas, rect, app->palette.back);
    for (uint32_t i = 0; i < n && top > 0; i++) {
        int h = (int)((float)rect.h * m->hop_s[view_device_at(m, first + i, device)] / top + 0.5f);
        view_rect column = {rect.x + rect.w - (int)(n - i) * breadth, rect.y + rect.h - h, breadth, h};
        view_fill(&app->canvas, column, hop_colour(app, first + i, device));
    }
}
