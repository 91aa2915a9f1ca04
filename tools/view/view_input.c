/* view_input.c: keys and mouse. What each key does is in the table `keys`, in words for the help in view_help. */
#include "view_app.h"

#include <SDL.h>

#include <string.h>

const char *const view_help[][2] = {{"Space", "pause, go on"},
                                    {"\u2190  \u2192", "one token back or on; with Shift ten"},
                                    {"\u2191  \u2193", "faster, slower"},
                                    {"Home  End", "the first token; the newest one"},
                                    {"M", "the token's experts, or the load so far"},
                                    {"Wheel, +  \u2212  0", "zoom in, out, everything"},
                                    {"Drag, W A S D", "move about when zoomed in"},
                                    {"Click", "an expert or a token: what it is; again: let go"},
                                    {"Escape", "let go of what is selected"},
                                    {"Enter", "live: write on, or answer; Enter again sends it"},
                                    {"F", "one session of several; again: the next one"},
                                    {"T  B", "light or dark; colours for colour-blind eyes"},
                                    {"P  C", "save the picture (PNG), the statistics (CSV)"},
                                    {"H  F1", "this help"},
                                    {"Q", "quit"},
                                    {NULL, NULL}};

/* ---- moving about ---- */

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

/* ---- writing ---- */

static void begin_typing(view_app *app) {
    if (!app->source.live)
        view_say(app, "a trace has no model that could answer");
    else if (!app->source.ended || app->source.failed)
        view_say(app, app->source.failed ? "the model has stopped" : "the model is still writing");
    else {
        app->typing = true;
        app->typed[0] = 0;
        SDL_StartTextInput();
    }
}

static void end_typing(view_app *app, bool send) {
    app->typing = false;
    SDL_StopTextInput();
    if (send && app->typed[0] && !view_live_say(&app->source, app->typed)) view_say(app, "the model is still writing");
    if (send) view_play_seek(app, app->model.n_tokens); /* to where it goes on */
    if (send) app->playing.paused = false;
}

static void type_key(view_app *app, SDL_Keycode key) {
    size_t n = strlen(app->typed);
    if (key == SDLK_RETURN || key == SDLK_KP_ENTER) end_typing(app, true);
    if (key == SDLK_ESCAPE) end_typing(app, false);
    if (key != SDLK_BACKSPACE || n == 0) return;
    while (n > 1 && ((unsigned char)app->typed[n - 1] & 0xc0) == 0x80) n--; /* a whole character */
    app->typed[n - 1] = 0;
}

static void type_text(view_app *app, const char *text) {
    size_t n = strlen(app->typed);
    if (app->typing && n + strlen(text) < sizeof app->typed) memcpy(app->typed + n, text, strlen(text) + 1);
}

/* ---- one function a key, or one for several keys with a number each ---- */

static void toggle(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    view_play_toggle(app);
}

static void step(view_app *app, double tokens, bool shift) { view_play_step(app, (int)(shift ? 10 * tokens : tokens)); }

static void faster(view_app *app, double factor, bool shift) {
    (void)shift;
    view_play_speed(app, factor);
}

static void seek(view_app *app, double share, bool shift) {
    (void)shift;
    view_play_seek(app, share * app->model.n_tokens);
}

static void show_other(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    app->show = (view_show)((app->show + 1) % SHOW_COUNT);
}

static void zoom_middle(view_app *app, double factor, bool shift) {
    (void)shift;
    zoom(app, -1, -1, factor);
}

static void see_all(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    app->camera = (view_camera){.zoom = 1};
    view_app_relayout(app);
}

static void pan_across(view_app *app, double points, bool shift) {
    (void)shift;
    pan(app, (int)(points * app->layout.scale), 0);
}

static void pan_down(view_app *app, double points, bool shift) {
    (void)shift;
    pan(app, 0, (int)(points * app->layout.scale));
}

static void escape(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    let_go(app);
}

static void write_on(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    begin_typing(app);
}

static void next_session(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    if (!view_filter_next(app)) app->quit = true;
}

/* 0: the ground, 1: the hues. */
static void theme(view_app *app, double what, bool shift) {
    (void)shift;
    bool light = app->palette.light != (what == 0), safe = app->palette.safe != (what == 1);
    view_palette_make(&app->palette, app->model.shape, light, safe);
    view_app_relayout(app);
}

static void save_picture(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    app->save_picture = true;
}

static void save_statistics(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    app->save_statistics = true;
}

static void help(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    app->help = !app->help;
    view_app_relayout(app);
}

static void quit(view_app *app, double unused, bool shift) {
    (void)unused, (void)shift;
    app->quit = true;
}

static const struct {
    SDL_Keycode key;
    void (*act)(view_app *app, double number, bool shift);
    double number;
} keys[] = {
    {SDLK_SPACE, toggle, 0},
    {SDLK_LEFT, step, -1},
    {SDLK_RIGHT, step, 1},
    {SDLK_UP, faster, 2},
    {SDLK_DOWN, faster, 0.5},
    {SDLK_HOME, seek, 0},
    {SDLK_END, seek, 1},
    {SDLK_m, show_other, 0},
    {SDLK_PLUS, zoom_middle, 1.5},
    {SDLK_KP_PLUS, zoom_middle, 1.5},
    {SDLK_EQUALS, zoom_middle, 1.5},
    {SDLK_MINUS, zoom_middle, 1 / 1.5},
    {SDLK_KP_MINUS, zoom_middle, 1 / 1.5},
    {SDLK_0, see_all, 0},
    {SDLK_KP_0, see_all, 0},
    {SDLK_a, pan_across, 60},
    {SDLK_d, pan_across, -60},
    {SDLK_w, pan_down, 60},
    {SDLK_s, pan_down, -60},
    {SDLK_ESCAPE, escape, 0},
    {SDLK_RETURN, write_on, 0},
    {SDLK_KP_ENTER, write_on, 0},
    {SDLK_f, next_session, 0},
    {SDLK_t, theme, 0},
    {SDLK_b, theme, 1},
    {SDLK_p, save_picture, 0},
    {SDLK_c, save_statistics, 0},
    {SDLK_h, help, 0},
    {SDLK_F1, help, 0},
    {SDLK_q, quit, 0},
};

static void on_key(view_app *app, SDL_Keycode key, bool shift) {
    if (app->typing) {
        type_key(app, key);
        return;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].key == key) keys[i].act(app, keys[i].number, shift);
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
    case SDL_TEXTINPUT:
        type_text(app, event->text.text);
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
