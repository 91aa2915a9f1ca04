/* view_app.c: the state's life, and one frame; see view_app.h.
 *
 * Each region has a key: a hash of everything that its picture depends on. It is drawn anew when the key is another one, and only then.
 * Figures at the side would be unreadable at sixty changes a second: while playing they take part in every SIDE_EVERY-th frame only. */
#include "view_app.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SIDE_EVERY = 6, NOTICE_SECONDS = 4 };

void view_say(view_app *app, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(app->notice, sizeof app->notice, format, list);
    va_end(list);
    app->notice_until = app->now + NOTICE_SECONDS;
}

/* ---- life ---- */

static bool same_shape(const smt_trace_model *a, const smt_trace_model *b) {
    if (a->n_layers != b->n_layers || a->n_experts != b->n_experts || a->n_used != b->n_used || a->n_moe != b->n_moe)
        return false;
    for (uint32_t i = 0; i < a->n_moe; i++)
        if (a->layers[i].layer != b->layers[i].layer) return false;
    return true;
}

static bool open_other(view_app *app, char *message, size_t capacity) {
    const char *path = app->options.compare;
    if (!path) return true;
    app->comparing = true;
    if (!view_replay_open(&app->other_source, path, &app->other, message, capacity)) return false;
    const smt_trace_model *a = app->model.shape, *b = app->other.shape;
    if (same_shape(a, b) && a->n_moe > 0) return view_fire_init(&app->other_fire, b);
    snprintf(message, capacity, "%s: %u layers of %u experts, %u used, are not comparable with %u layers of %u, %u used", path,
             b->n_moe, b->n_experts, b->n_used, a->n_moe, a->n_experts, a->n_used);
    return false;
}

static bool open_session(view_app *app, uint32_t session, char *message, size_t capacity) {
    if (!view_filter_set(app, session)) return false;
    snprintf(message, capacity, "%s has no tokens of session %u", app->options.replay, session);
    return app->model.n_tokens > 0;
}

bool view_app_open(view_app *app, const view_options *options, char *message, size_t capacity) {
    *app = (view_app){.options = *options,
                      .layer = NOTHING,
                      .expert = NOTHING,
                      .token = NOTHING,
                      .session = NOTHING,
                      .mouse_x = -1,
                      .mouse_y = -1};
    app->camera.zoom = 1;
    bool opened = options->replay ? view_replay_open(&app->source, options->replay, &app->model, message, capacity)
                                  : view_live_open(&app->source, options, &app->model, message, capacity);
    if (!opened || !open_other(app, message, capacity)) return false;
    app->playing = (view_playing){.speed = options->speed > 0 ? options->speed : 30,
                                  .follow = app->source.live && options->speed <= 0,
                                  .paused = options->paused};
    snprintf(message, capacity, "out of memory");
    if (options->session >= 0 && !open_session(app, (uint32_t)options->session, message, capacity)) return false;
    if (app->model.n_tokens) app->playing.at = options->at < app->model.n_tokens ? (double)options->at : app->model.n_tokens - 1;
    app->show = options->load_map ? SHOW_LOAD : SHOW_FIRE;
    view_palette_make(&app->palette, app->model.shape, options->light, options->safe);
    snprintf(message, capacity, "out of memory");
    return view_fire_init(&app->fire, app->model.shape);
}

void view_app_close(view_app *app) {
    if (app->source.live)
        view_live_close(&app->source);
    else
        view_replay_close(&app->source);
    view_replay_close(&app->other_source);
    view_counts_free(&app->counts);
    view_counts_free(&app->other_counts);
    view_fire_free(&app->fire);
    view_fire_free(&app->other_fire);
    view_model_free(&app->model);
    view_model_free(&app->whole);
    view_model_free(&app->other);
    view_flow_free(&app->flow);
    view_font_close(&app->font);
    view_canvas_free(&app->canvas);
}

void view_app_relayout(view_app *app) {
    double scale = app->layout.scale > 0 ? app->layout.scale : 1;
    view_layout_make(&app->layout, app->canvas.w, app->canvas.h, scale, app->model.shape, app->comparing ? 3 : 1, &app->camera);
    memset(app->keys, 0, sizeof app->keys);
}

bool view_app_resize(view_app *app, int w, int h, double scale, char *message, size_t capacity) {
    snprintf(message, capacity, "out of memory for a picture of %d x %d", w, h);
    if (!view_canvas_resize(&app->canvas, w, h)) return false;
    if (scale != app->layout.scale) {
        view_font_close(&app->font);
        if (!view_font_open(&app->font, app->options.font_dir, scale, message, capacity)) return false;
    }
    app->layout.scale = scale;
    view_app_relayout(app);
    return true;
}

/* ---- what a region shows ---- */

static uint64_t mix(uint64_t hash, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    return hash;
}

static uint64_t mix_number(uint64_t hash, uint64_t number) { return mix(hash, &number, sizeof number); }

static uint64_t key_of(const view_app *app, view_region region) {
    uint64_t key = 14695981039346656037u, moving = !app->playing.paused;
    bool hovered = view_inside(app->layout.regions[region], app->mouse_x, app->mouse_y);
    bool noticed = app->now < app->notice_until;
    key = mix_number(key, app->model.n_tokens);
    key = mix_number(key, (uint64_t)app->layer << 32 | app->expert);
    key = mix_number(key, (uint64_t)app->token << 32 | (uint64_t)app->show << 1 | app->playing.paused);
    if (region == REGION_SIDE && moving && app->model.n_tokens) return mix_number(key, app->frame / SIDE_EVERY);
    key = mix_number(key, view_current(app));
    if (region == REGION_SIDE) key = mix(key, app->source.heaps, app->source.n_heaps * sizeof *app->source.heaps);
    if (region == REGION_GRID || region == REGION_TIMELINE) key = mix(key, &app->playing.at, sizeof app->playing.at);
    if (hovered || region == REGION_STATUS)
        key = mix_number(key, (uint64_t)(uint32_t)app->mouse_x << 32 | (uint32_t)app->mouse_y);
    if (region == REGION_HEADER) key = mix(key, &app->playing, sizeof app->playing);
    if (region == REGION_STATUS || region == REGION_HEADER) key = mix(key, app->source.status, strlen(app->source.status));
    if (region == REGION_STATUS && app->typing) key = mix(mix_number(key, 1), app->typed, strlen(app->typed));
    if (region == REGION_STATUS && noticed) key = mix(key, app->notice, strlen(app->notice));
    return key;
}

static void (*const painters[REGION_COUNT])(view_app *) = {
    [REGION_HEADER] = view_paint_header, [REGION_GRID] = view_paint_grid,         [REGION_TEXT] = view_paint_text,
    [REGION_SIDE] = view_paint_side,     [REGION_TIMELINE] = view_paint_timeline, [REGION_STATUS] = view_paint_status};

static void paint(view_app *app) {
    if (app->help) memset(app->keys, 0, sizeof app->keys); /* it lies over the others */
    for (int i = 0; i < REGION_COUNT; i++) {
        uint64_t key = key_of(app, (view_region)i);
        if (key == app->keys[i] || app->layout.regions[i].w == 0) continue;
        app->keys[i] = key;
        app->canvas.clip = app->layout.regions[i];
        painters[i](app);
        view_touch(&app->canvas, app->layout.regions[i]);
    }
    app->canvas.clip = (view_rect){0, 0, app->canvas.w, app->canvas.h};
    if (app->help) view_paint_help(app);
}

/* ---- a frame ---- */

/* The faster it plays, the slower a token's glow fades: else nothing of it would be seen. */
static double decay_of(const view_app *app) {
    double per_frame = app->playing.paused || app->playing.follow ? 1 : app->playing.speed / 60;
    return pow(0.66, 1 / fmin(fmax(per_frame, 1), 12));
}

static bool follow_counts(view_app *app) {
    uint32_t current = view_current(app), n = app->model.n_tokens ? current + 1 : 0;
    bool alone = app->token != NOTHING;
    double part = alone ? 0 : app->playing.at - floor(app->playing.at), decay = decay_of(app);
    if (!view_counts_seek(&app->counts, &app->model, n)) return false;
    view_fire_at(&app->fire, &app->model, view_shown(app), part, decay, alone);
    if (!app->comparing) return true;
    uint32_t other = n < app->other.n_tokens ? n : app->other.n_tokens;
    view_fire_at(&app->other_fire, &app->other, view_shown(app), part, decay, alone);
    return view_counts_seek(&app->other_counts, &app->other, other);
}

static void tell_saved(view_app *app, bool saved, const char *path, const char *message) {
    view_say(app, "%s%s", saved ? "saved " : "", saved ? path : message);
}

/* What keys asked for: of the state that they made, so not before it is drawn. */
static void save(view_app *app) {
    char path[64], message[160];
    if (app->save_picture) {
        snprintf(path, sizeof path, "seamount-view-%u.png", view_current(app) + 1);
        tell_saved(app, view_export_png(app, path, message, sizeof message), path, message);
    }
    if (app->save_statistics) {
        snprintf(path, sizeof path, "seamount-view-%u.csv", view_current(app) + 1);
        tell_saved(app, view_export_csv(app, path, message, sizeof message), path, message);
    }
    app->save_picture = app->save_statistics = false;
}

bool view_app_frame(view_app *app, double seconds) {
    app->now += seconds;
    app->frame++;
    if (app->source.live && !view_live_poll(&app->source, view_filter_filled(app))) return false;
    if (!view_filter_follow(app)) return false;
    view_play_advance(app, seconds);
    if (!follow_counts(app)) return false;
    paint(app);
    save(app);
    return true;
}
