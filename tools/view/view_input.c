/* view_input.c: keys and mouse. What they mean is in one table of keys, which the help shows too, and in a few functions for the mouse. */
#include "view_app.h"

#include <SDL.h>

#include <stdio.h>

const char *const view_help[][2] = {{"Space", "pause, go on"},
                                    {"\u2190  \u2192", "one token back or on; with Shift ten"},
                                    {"\u2191  \u2193", "faster, slower"},
                                    {"Home  End", "the first token; the newest one"},
                                    {"M", "the token's experts, or the load so far"},
                                    {"Wheel, +  \u2212  0", "zoom in, out, everything"},
                                    {"Drag, W A S D", "move about when zoomed in"},
                                    {"Click", "an expert or a token: what it is; again: let go"},
                                    {"Escape", "let go of what is selected"},
                                    {"T  B", "light or dark; colours for colour-blind eyes"},
                                    {"P  C", "save the picture (PNG), the statistics (CSV)"},
                                    {"H  F1", "this help"},
                                    {"Q", "quit"},
                                    {NULL, NULL}};

/* ---- keys ---- */

static void save(view_app *app, bool (*export)(const view_app *, const char *, char *, size_t), const char *kind) {
    char path[64], message[160];
    snprintf(path, sizeof path, "seamount-view-%u.%s", view_current(app) + 1, kind);
    if (export(app, path, message, sizeof message))
        view_say(app, "saved %s", path);
    else
        view_say(app, "%s", message);
}

static void zoom(view_app *app, int x, int y, double factor) {
    for (uint32_t i = 0; i < app->layout.n_panes; i++) {
        const view_pane *pane = &app->layout.panes[i];
        bool inside = view_inside(pane->cells, x, y);
        if (!inside && (x >= 0 || i > 0)) continue;
        if (!inside) x = pane->cells.x + pane->cells.w / 2, y = pane->cells.y + pane->cells.h / 2;
        view_camera_zoom(&app->camera, pane, x, y, factor);
        view_app_relayout(app);
        return;
    }
}

static void pan(view_app *app, int dx, int dy) {
    view_camera_pan(&app->camera, &app->layout.panes[0], dx, dy);
    view_app_relayout(app);
}

static void let_go(view_app *app) {
    if (app->help)
        app->help = false;
    else
        app->layer = app->expert = app->token = NOTHING;
    view_app_relayout(app);
}

static void theme(view_app *app, bool light, bool safe) {
    view_palette_make(&app->palette, app->model.shape, light, safe);
    view_app_relayout(app);
}

static void on_key(view_app *app, SDL_Keycode key, bool shift) {
    int steps = shift ? 10 : 1, far = view_px(&app->layout, 60);
    switch (key) {
    case SDLK_SPACE:
        view_play_toggle(app);
        break;
    case SDLK_LEFT:
        view_play_step(app, -steps);
        break;
    case SDLK_RIGHT:
        view_play_step(app, steps);
        break;
    case SDLK_UP:
        view_play_speed(app, 2);
        break;
    case SDLK_DOWN:
        view_play_speed(app, 0.5);
        break;
    case SDLK_HOME:
        view_play_seek(app, 0);
        break;
    case SDLK_END:
        view_play_seek(app, app->model.n_tokens);
        break;
    case SDLK_m:
        app->show = (view_show)((app->show + 1) % SHOW_COUNT);
        break;
    case SDLK_PLUS:
    case SDLK_KP_PLUS:
    case SDLK_EQUALS:
        zoom(app, -1, -1, 1.5);
        break;
    case SDLK_MINUS:
    case SDLK_KP_MINUS:
        zoom(app, -1, -1, 1 / 1.5);
        break;
    case SDLK_0:
    case SDLK_KP_0:
        app->camera = (view_camera){.zoom = 1};
        view_app_relayout(app);
        break;
    case SDLK_a:
        pan(app, far, 0);
        break;
    case SDLK_d:
        pan(app, -far, 0);
        break;
    case SDLK_w:
        pan(app, 0, far);
        break;
    case SDLK_s:
        pan(app, 0, -far);
        break;
    case SDLK_ESCAPE:
        let_go(app);
        break;
    case SDLK_t:
        theme(app, !app->palette.light, app->palette.safe);
        break;
    case SDLK_b:
        theme(app, app->palette.light, !app->palette.safe);
        break;
    case SDLK_p:
        save(app, view_export_png, "png");
        break;
    case SDLK_c:
        save(app, view_export_csv, "csv");
        break;
    case SDLK_h:
    case SDLK_F1:
        app->help = !app->help;
        view_app_relayout(app);
        break;
    case SDLK_q:
        app->quit = true;
        break;
    default:
        break;
    }
}

/* ---- mouse ---- */

static void seek_to(view_app *app, int x) {
    double share = (double)(x - app->layout.track.x) / app->layout.track.w;
    view_play_seek(app, share * app->model.n_tokens);
}

static void select_at(view_app *app, int x, int y) {
    const view_pane *pane;
    uint32_t layer, expert, token = view_token_at(app, x, y);
    if (token != NOTHING)
        app->token = token == app->token ? NOTHING : token;
    else if (view_hovered(app, &pane, &layer, &expert) && app->model.moe_of_layer[layer] >= 0) {
        bool again = layer == app->layer && expert == app->expert;
        app->layer = again ? NOTHING : layer;
        app->expert = again ? NOTHING : expert;
        app->token = NOTHING;
    }
}

static void on_press(view_app *app, int x, int y) {
    if (app->help) {
        let_go(app);
    } else if (view_inside(app->layout.regions[REGION_TIMELINE], x, y) && app->model.n_tokens) {
        app->scrubbing = true;
        seek_to(app, x);
    } else {
        app->dragging = view_inside(app->layout.regions[REGION_GRID], x, y);
        app->panned = false;
        if (!app->dragging) select_at(app, x, y);
    }
}

/* A press on the grid is a selection unless the mouse moved before it was let go. */
static void on_release(view_app *app, int x, int y) {
    bool click = app->dragging && !app->panned;
    app->dragging = app->scrubbing = false;
    if (click) select_at(app, x, y);
}

static void on_motion(view_app *app, int x, int y) {
    int dx = x - app->mouse_x, dy = y - app->mouse_y;
    if (app->scrubbing) seek_to(app, x);
    if (app->dragging && (app->panned || dx * dx + dy * dy > 4)) {
        app->panned = true;
        pan(app, dx, dy);
    }
    if (!app->dragging || app->panned) app->mouse_x = x, app->mouse_y = y;
}

void view_input(view_app *app, const SDL_Event *event, double pixels_per_point) {
    double k = pixels_per_point;
    switch (event->type) {
    case SDL_QUIT:
        app->quit = true;
        break;
    case SDL_KEYDOWN:
        on_key(app, event->key.keysym.sym, event->key.keysym.mod & KMOD_SHIFT);
        break;
    case SDL_MOUSEMOTION:
        on_motion(app, (int)(event->motion.x * k), (int)(event->motion.y * k));
        break;
    case SDL_MOUSEBUTTONDOWN:
        app->mouse_x = (int)(event->button.x * k), app->mouse_y = (int)(event->button.y * k);
        if (event->button.button == SDL_BUTTON_LEFT) on_press(app, app->mouse_x, app->mouse_y);
        break;
    case SDL_MOUSEBUTTONUP:
        if (event->button.button == SDL_BUTTON_LEFT) on_release(app, (int)(event->button.x * k), (int)(event->button.y * k));
        break;
    case SDL_MOUSEWHEEL:
        zoom(app, app->mouse_x, app->mouse_y, event->wheel.y > 0 ? 1.25 : 0.8);
        break;
    case SDL_WINDOWEVENT:
        if (event->window.event == SDL_WINDOWEVENT_LEAVE) app->mouse_x = app->mouse_y = -1;
        break;
    default:
        break;
    }
}
