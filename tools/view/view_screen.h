/* view_screen.h: where the canvas goes: a window, or memory that stands for one.
 *
 * A GPU shows a texture. Where a processor would have to play the GPU, which it may need for the model, rows of pixels that changed go to
 * the window's own memory instead, and nothing else is copied. Used by the thread of the window alone. */
#ifndef VIEW_SCREEN_H
#define VIEW_SCREEN_H

#include "view_draw.h"

struct SDL_Window;
struct SDL_Renderer;
struct SDL_Texture;

typedef struct view_screen {
    struct SDL_Window *window;
    struct SDL_Renderer *renderer; /* NULL: the window's memory */
    struct SDL_Texture *texture;   /* with a renderer: of w x h */
    int w, h;                      /* pixels of the picture; 0 before the first view_screen_follow */
    double density;                /* pixels for a point */
    bool whole;                    /* the window shows nothing of the picture yet, or has lost it */
} view_screen;

/* A window of so many points, or, hidden, memory of so many pixels. False: SDL_GetError says why; close all the same. */
bool view_screen_open(view_screen *screen, int w, int h, bool hidden);
void view_screen_close(view_screen *screen);
/* Takes over the window's size; *out_changed: it is another one. False as above. */
bool view_screen_follow(view_screen *screen, bool *out_changed);
/* What has changed of the canvas, which has the screen's size. */
void view_screen_show(view_screen *screen, view_canvas *canvas);

/* Processor time of the calling thread. */
double view_processor_seconds(void);

#endif
