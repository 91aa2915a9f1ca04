/* view_app.h: the program's state, and the pieces that work on it.
 *
 * One frame: the source adds what is new (view_source), playing moves on (view_play), the counts follow, and those regions are drawn
 * anew whose content changed (view_paint). Input changes the state and nothing else (view_input). All of it runs on the thread of the
 * window; only the live source has a thread of its own, behind the library's observer, which never waits for us. */
#ifndef VIEW_APP_H
#define VIEW_APP_H

#include "view_flow.h"
#include "view_font.h"
#include "view_layout.h"
#include "view_model.h"
#include "view_options.h"
#include "view_palette.h"

#include <stddef.h>

/* ---- where tokens come from ---- */

#define VIEW_MAX_HEAPS 32

typedef struct view_heap {
    char name[64];
    uint64_t held, used,
        budget; /* what the model and its buffers take; all of this process, 0: not known; what the driver allows */
} view_heap;

typedef struct view_source {
    const smt_trace_model *shape;
    bool live;
    bool ended;       /* nothing more will come by itself */
    char status[160]; /* one line: "loading", "generating", what went wrong */
    bool failed;
    bool wrong;                      /* what failed is the user's choice of a device */
    view_heap heaps[VIEW_MAX_HEAPS]; /* in use, of all devices, as they are now; live only */
    uint32_t n_heaps;
    void *own; /* the source's own state */
} view_source;

/* view_replay.c. A message and false where the file is none; the tokens are all there at once. */
bool view_replay_open(view_source *source, const char *path, view_model *model, char *message, size_t capacity);
void view_replay_close(view_source *source);

/* view_live.c. Loads the model (which takes its time); generates on a thread of its own. */
bool view_live_open(view_source *source, const view_options *options, view_model *model, char *message, size_t capacity);
/* Takes over what was observed since. False without memory. */
bool view_live_poll(view_source *source, view_model *model);
/* Begins to write, when somebody can see it. False without a thread. */
bool view_live_begin(view_source *source);
/* The next words of the text or conversation. False while the model still writes. */
bool view_live_say(view_source *source, const char *words);
/* Ends the generation at its next token and waits for that. */
void view_live_close(view_source *source);

/* ---- state ---- */

typedef struct view_playing {
    double at;           /* the playhead, in tokens: the whole part is the current token */
    double speed;        /* tokens a second */
    bool paused, follow; /* follow: the playhead stays at the newest token */
} view_playing;

typedef enum view_show { SHOW_FIRE, SHOW_LOAD, SHOW_COUNT } view_show;

#define NOTHING UINT32_MAX

typedef struct view_app {
    view_options options;
    view_source source, other_source; /* other: the trace compared with */
    view_model model, other;
    view_model whole;  /* all tokens, while `model` has those of one session */
    uint32_t session;  /* the one shown; NOTHING: all */
    uint32_t n_sifted; /* tokens of `whole` that were looked at */
    view_counts counts, other_counts;
    view_fire fire, other_fire;
    bool comparing;

    view_playing playing;
    view_show show;
    view_camera camera;
    uint32_t layer, expert; /* selected, or NOTHING; layers without experts have expert NOTHING */
    uint32_t token;         /* selected, or NOTHING */
    bool help, quit;
    bool save_picture, save_statistics; /* once this frame is drawn */
    int mouse_x, mouse_y;               /* -1: not over the window */
    bool dragging, panned, scrubbing;
    bool typing; /* keys are letters of `typed`, until Enter sends them or Escape drops them */
    char typed[2000];
    char notice[200]; /* in the status line until notice_until */
    double notice_until, now;

    view_canvas canvas;
    view_font font;
    view_palette palette;
    view_layout layout;
    view_flow flow;
    uint64_t keys[REGION_COUNT]; /* what each region showed when it was last drawn */
    uint64_t frame;
} view_app;

/* view_app.c */
bool view_app_open(view_app *app, const view_options *options, char *message, size_t capacity);
void view_app_close(view_app *app);
/* A new size of the picture in pixels. False without memory or fonts. */
bool view_app_resize(view_app *app, int w, int h, double scale, char *message, size_t capacity);
/* After anything that moves things about: theme, zoom, panes. */
void view_app_relayout(view_app *app);
/* Moves on by `seconds` and draws what changed. False without memory. */
bool view_app_frame(view_app *app, double seconds);
SYSTEM_PRINTF(2, 3) void view_say(view_app *app, const char *format, ...);

/* The current token; 0 where there is none yet. */
uint32_t view_current(const view_app *app);
/* What a token shows: the selected one, else the current. */
uint32_t view_shown(const view_app *app);

/* view_play.c */
void view_play_advance(view_app *app, double seconds);
void view_play_seek(view_app *app, double token);
void view_play_step(view_app *app, int tokens);
void view_play_toggle(view_app *app);
void view_play_speed(view_app *app, double factor);

/* view_filter.c: false without memory */
bool view_filter_set(view_app *app, uint32_t session);
bool view_filter_next(view_app *app);          /* the next session, after the last all of them */
bool view_filter_follow(view_app *app);        /* takes over what is new */
view_model *view_filter_filled(view_app *app); /* what the source adds to */

/* view_input.c */
union SDL_Event;
void view_input(view_app *app, const union SDL_Event *event, double pixels_per_point);
extern const char *const view_help[][2]; /* key, what it does; ended by NULL */

/* ---- drawing: each fills its region (view_app.c decides when) ---- */

void view_paint_grid(view_app *app);                          /* view_grid.c */
void view_paint_gauges(view_app *app, const view_pane *pane); /* view_gauges.c */
void view_paint_hops(view_app *app, const view_pane *pane);   /* view_hops.c */
/* What was brought to a device for the tokens up to one, a column each; as high as the largest hop to any device among them. */
void view_paint_hop_history(view_app *app, view_rect rect, uint32_t token, uint32_t device);
void view_paint_text(view_app *app);                       /* view_stream.c */
uint32_t view_token_at(const view_app *app, int x, int y); /* the token of the text at a point */
/* Where the card of what is selected lies in windows too narrow for a side: over the text, or over the grids where there is none; else w 0.
 */
view_rect view_card_over(const view_app *app);
void view_paint_card_over(view_app *app, view_region region); /* if it lies there */
void view_paint_side(view_app *app);                          /* view_panels.c */
void view_paint_card(view_app *app, view_rect rect);          /* view_card.c */
int view_legend_height(view_app *app, int w);                 /* what the card takes where nothing is selected */
void view_paint_header(view_app *app);                        /* view_bars.c, as the next three */
void view_paint_timeline(view_app *app);
void view_paint_status(view_app *app);
void view_paint_help(view_app *app);

/* The plain colour of what lies on a device, in its fastest memory. */
uint32_t view_device_colour(const view_app *app, uint32_t device);
/* Numbers for people: "12.3 MB", "1,234". */
void view_write_time(char *text, size_t capacity, double seconds); /* "12 \u00b5s", "3.40 ms" */
void view_write_bytes(char *text, size_t capacity, double bytes);
void view_write_count(char *text, size_t capacity, uint64_t count);
/* Tokens a second around a token: of the last steps of one token each, or of its own step where that had more. 0: not known. */
double view_speed_at(const view_app *app, uint32_t token);
/* The cell of a pane under the mouse. */
bool view_hovered(const view_app *app, const view_pane **pane, uint32_t *layer, uint32_t *expert);

/* view_export.c: false with a message. */
bool view_export_png(const view_app *app, const char *path, char *message, size_t capacity);
bool view_export_csv(const view_app *app, const char *path, char *message, size_t capacity);
/* JSON: where everything was drawn in the last frame, for programs that look at the picture. */
bool view_export_regions(const view_app *app, const char *path, char *message, size_t capacity);

/* view_window.c, view_headless.c: the whole run; the exit status. */
int view_run_window(view_app *app);
int view_run_headless(view_app *app);

#endif
