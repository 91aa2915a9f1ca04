/* view_draw.h: the picture as plain memory, and the few shapes that everything on it is made of.
 *
 * The program draws with the processor into one canvas of 32-bit pixels (0xAARRGGBB, alpha unused) and hands SDL only the rectangles
 * that changed: so the picture is the same with every driver, in a window or without one, and a screenshot is a copy of it. Shapes
 * are cut at the canvas's clip rectangle. view_touch notes what has to be handed over. */
#ifndef VIEW_DRAW_H
#define VIEW_DRAW_H

#include <stdbool.h>
#include <stdint.h>

typedef struct view_rect {
    int x, y, w, h;
} view_rect;

#define VIEW_MAX_DIRTY 16

typedef struct view_canvas {
    uint32_t *pixels; /* [h, w], owned */
    int w, h;
    view_rect clip;
    view_rect dirty[VIEW_MAX_DIRTY]; /* changed since the last hand-over; where they would be too many, the last one grows */
    int n_dirty;
} view_canvas;

/* False without memory; then the canvas is as before. The new picture is black, the clip all of it. */
bool view_canvas_resize(view_canvas *canvas, int w, int h);
void view_canvas_free(view_canvas *canvas);
void view_touch(view_canvas *canvas, view_rect rect);

static inline bool view_inside(view_rect r, int x, int y) { return x >= r.x && x < r.x + r.w && y >= r.y && y < r.y + r.h; }
view_rect view_common(view_rect a, view_rect b); /* w and h are 0 where they have nothing in common */
static inline view_rect view_inset(view_rect r, int dx, int dy) {
    return (view_rect){r.x + dx, r.y + dy, r.w > 2 * dx ? r.w - 2 * dx : 0, r.h > 2 * dy ? r.h - 2 * dy : 0};
}

/* share of b in 256ths, 0..256 */
static inline uint32_t view_mix(uint32_t a, uint32_t b, uint32_t share) {
    uint32_t rb = ((a & 0xff00ffu) * (256 - share) + (b & 0xff00ffu) * share) >> 8 & 0xff00ffu;
    uint32_t g = ((a & 0x00ff00u) * (256 - share) + (b & 0x00ff00u) * share) >> 8 & 0x00ff00u;
    return 0xff000000u | rb | g;
}

void view_fill(view_canvas *canvas, view_rect rect, uint32_t colour);
/* The border of a rectangle, inside it. */
void view_frame(view_canvas *canvas, view_rect rect, int thickness, uint32_t colour);
/* A rectangle with smooth round corners. */
void view_round(view_canvas *canvas, view_rect rect, int radius, uint32_t colour);
/* A smooth line; width in pixels. */
void view_line(view_canvas *canvas, double x0, double y0, double x1, double y1, double width, uint32_t colour);
/* `colour` through a mask of coverages [h, stride]. */
void view_mask(view_canvas *canvas, int x, int y, const uint8_t *mask, int w, int h, int stride, uint32_t colour);

#endif
