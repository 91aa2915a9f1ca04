/* view_layout.c: see view_layout.h. */
#include "view_layout.h"

#include <math.h>

/* Of the design, in points. */
enum {
    HEADER = 50,
    TIMELINE = 30,
    STATUS = 24,
    SIDE = 316,
    SIDE_FROM = 820, /* narrower windows have no side panels */
    MARGIN = 14,
    TITLE = 22,
    AXIS = 18,
    GUTTER = 30,
    GAUGES = 200, /* what they need for numbers; narrow where the cells would be small: */
    GAUGES_LEAST = 100,
    GAUGES_MOST = 330, /* of what the cells leave */
    CELL_SMALL = 8,
    TEXT_LEAST = 132,
    CELL_MOST_W = 60,
    CELL_MOST_H = 40,
    HOP = 19,
    ZOOM_MOST = 90 /* width of a cell at the largest zoom */
};

static int least(int a, int b) { return a < b ? a : b; }
static int most(int a, int b) { return a > b ? a : b; }

static int group_gap_of(int pitch) { return pitch >= 12 ? pitch / 3 : pitch >= 3 ? 2 : 1; }

static uint32_t group_size_of(const smt_trace_model *shape) {
    return shape->n_groups > 1 ? shape->n_experts / shape->n_groups : shape->n_experts ? shape->n_experts : 1;
}

static int breadth(const smt_trace_model *shape, int pitch) {
    int n_gaps = shape->n_experts ? (int)((shape->n_experts - 1) / group_size_of(shape)) : 0;
    return (int)shape->n_experts * pitch + n_gaps * group_gap_of(pitch);
}

static int gap_of(int pitch) { return pitch >= 24 ? 3 : pitch >= 10 ? 2 : pitch >= 3 ? 1 : 0; }

/* The largest pitches that show everything in w x h. */
static void fit(const smt_trace_model *shape, const view_layout *layout, int w, int h, int *pitch_x, int *pitch_y) {
    int x = view_px(layout, CELL_MOST_W), n = most(1, (int)shape->n_layers);
    while (x > 1 && breadth(shape, x) > w) x--;
    int y = most(1, least(most(view_px(layout, CELL_MOST_H), least(2 * x, layout->cell_high)), h / n));
    *pitch_x = x;
    *pitch_y = most(1, least(y, most(x * 3, view_px(layout, 6))));
}

static void clamp_camera(view_camera *camera, int total, int seen, double *at) {
    double last = total > seen ? (double)(total - seen) / total : 0;
    if (camera->zoom <= 1) last = total > seen ? last : 0;
    *at = *at < 0 ? 0 : *at > last ? last : *at;
}

/* Breadth kept free for the gauges of a pane whose cells may take `w` with them. */
static int gauges_breadth(const view_layout *layout, const smt_trace_model *shape, int w, int h) {
    int x, y, wide = view_px(layout, GAUGES);
    if (w < view_px(layout, GAUGES_MOST)) return 0;
    fit(shape, layout, w - wide, h, &x, &y);
    return x >= view_px(layout, CELL_SMALL) ? wide : view_px(layout, GAUGES_LEAST);
}

/* The device that has a whole layer; UINT32_MAX: several have. */
static uint32_t device_of(const smt_trace_model *shape, uint32_t moe) {
    const uint16_t *places = shape->layers[moe].places;
    uint32_t device = shape->places[places[0]].device;
    for (uint32_t e = 1; e < shape->n_experts; e++)
        if (shape->places[places[e]].device != device) return UINT32_MAX;
    return device;
}

/* In low panes the strips of the hops have no room for words, but they never take more than a quarter. */
static void find_bands(view_pane *pane, const view_layout *layout, const smt_trace_model *shape, int h) {
    uint32_t above = shape->n_moe ? device_of(shape, 0) : UINT32_MAX;
    for (uint32_t l = 1; l < shape->n_moe && pane->n_bands < VIEW_MAX_BANDS; l++) {
        uint32_t device = device_of(shape, l);
        if (device != above && device != UINT32_MAX && above != UINT32_MAX)
            pane->bands[pane->n_bands++] = (view_band){shape->layers[l].layer, device};
        above = device;
    }
    if (pane->n_bands) pane->band_gap = least(view_px(layout, HOP), h / 4 / (int)pane->n_bands);
}

/* Divides a pane's rectangle. Margins, title and axis are outside of what zooms and pans. */
static void divide(view_pane *pane, const view_layout *layout, const smt_trace_model *shape, bool alone, view_camera *camera) {
    view_rect r = pane->rect;
    int title = view_px(layout, TITLE), axis = view_px(layout, AXIS), gutter = view_px(layout, GUTTER);
    int shared = shape->n_shared && shape->n_moe ? view_px(layout, 14) : 0;
    int left = r.x + gutter + shared + (shared ? view_px(layout, 6) : 0);
    int h = r.h - title - axis, x, y;
    if (alone) find_bands(pane, layout, shape, h);
    int hops = (int)pane->n_bands * pane->band_gap;
    int gauge_w = alone ? gauges_breadth(layout, shape, r.x + r.w - left, h - hops) : 0, w = r.x + r.w - gauge_w - left;
    fit(shape, layout, w, h - hops, &x, &y);
    x = (int)fmin(round(x * camera->zoom), fmax(x, ZOOM_MOST * layout->scale));
    y = (int)fmin(round(y * camera->zoom), fmax(y, ZOOM_MOST * layout->scale));
    pane->n_experts = shape->n_experts;
    pane->n_layers = shape->n_layers;
    pane->group_size = group_size_of(shape);
    pane->pitch_x = x, pane->pitch_y = y;
    pane->gap_x = gap_of(x), pane->gap_y = gap_of(y);
    pane->group_gap = group_gap_of(x);
    pane->total_w = most(breadth(shape, x), shape->n_moe ? 1 : w);
    pane->total_h = (int)shape->n_layers * y + hops;
    pane->title = (view_rect){r.x, r.y, r.w, title};
    pane->axis = (view_rect){left, r.y + title, least(w, pane->total_w), axis};
    pane->cells = (view_rect){left, r.y + title + axis, least(w, pane->total_w), least(h, pane->total_h)};
    pane->gutter = (view_rect){r.x, pane->cells.y, gutter, pane->cells.h};
    pane->shared = (view_rect){r.x + gutter, pane->cells.y, shared, pane->cells.h};
    int gauge_x = left + pane->cells.w + view_px(layout, 18);
    if (gauge_w)
        pane->gauges =
            (view_rect){gauge_x, pane->axis.y, least(r.x + r.w - gauge_x, view_px(layout, GAUGES_MOST)), axis + pane->cells.h};
    clamp_camera(camera, pane->total_w, pane->cells.w, &camera->x);
    clamp_camera(camera, pane->total_h, pane->cells.h, &camera->y);
    pane->off_x = (int)(camera->x * pane->total_w);
    pane->off_y = (int)(camera->y * pane->total_h);
}

/* How high the grid is when it takes only what it needs of `h`. */
static int needed_height(const view_layout *layout, const smt_trace_model *shape, int w, int h, uint32_t n_panes) {
    view_pane pane = {.rect = {0, 0, w, h}};
    view_camera all = {.zoom = 1};
    if (n_panes > 1) return h;
    divide(&pane, layout, shape, true, &all);
    return least(h, pane.cells.y + pane.cells.h);
}

static void place_panes(view_layout *layout, view_rect area, const smt_trace_model *shape, uint32_t n, view_camera *camera) {
    int gap = view_px(layout, 16), x1, y1, x2, y2, head = view_px(layout, TITLE + AXIS), side = view_px(layout, GUTTER + 20);
    int third_w = (area.w - 2 * gap) / 3, third_h = (area.h - 2 * gap) / 3;
    fit(shape, layout, third_w - side, area.h - head, &x1, &y1);
    fit(shape, layout, area.w - side, third_h - head, &x2, &y2);
    bool across = least(x1, y1) >= least(x2, y2) && breadth(shape, x1) <= third_w - side;
    for (uint32_t i = 0; i < n; i++) {
        view_rect r = area;
        if (n > 1 && across) r = (view_rect){area.x + (int)i * (third_w + gap), area.y, third_w, area.h};
        if (n > 1 && !across) r = (view_rect){area.x, area.y + (int)i * (third_h + gap), area.w, third_h};
        layout->panes[i] = (view_pane){.rect = r};
        divide(&layout->panes[i], layout, shape, n == 1, camera);
    }
    layout->n_panes = n;
}

void view_layout_make(view_layout *layout, int w, int h, double scale, const smt_trace_model *shape, uint32_t n_panes,
                      view_camera *camera) {
    *layout = (view_layout){.scale = scale};
    int header = view_px(layout, HEADER), status = view_px(layout, STATUS), timeline = view_px(layout, TIMELINE);
    int side = w >= view_px(layout, SIDE_FROM) ? view_px(layout, SIDE) : 0, margin = view_px(layout, MARGIN);
    int bottom = h - status - timeline, main_w = w - side;
    view_rect *r = layout->regions;
    r[REGION_HEADER] = (view_rect){0, 0, main_w, header};
    r[REGION_SIDE] = (view_rect){main_w, 0, side, bottom};
    r[REGION_TIMELINE] = (view_rect){0, bottom, w, timeline};
    r[REGION_STATUS] = (view_rect){0, h - status, w, status};
    layout->track = view_inset(r[REGION_TIMELINE], margin, view_px(layout, 11));
    int room = most(1, bottom - header - (n_panes > 1 ? 0 : view_px(layout, TEXT_LEAST)));
    layout->cell_high =
        view_px(layout, floor(0.4 * room / scale / most(1, (int)shape->n_layers))); /* whole points: scales alike */
    int grid = needed_height(layout, shape, main_w - 2 * margin, room, n_panes) + (n_panes > 1 ? 0 : view_px(layout, 10));
    grid = least(grid, bottom - header);
    r[REGION_GRID] = (view_rect){0, header, main_w, grid};
    r[REGION_TEXT] = (view_rect){0, header + grid, main_w, most(0, bottom - header - grid)};
    view_rect area = {margin, header, main_w - 2 * margin, grid};
    place_panes(layout, area, shape, n_panes, camera);
}

static int hops_above(const view_pane *pane, uint32_t layer) {
    uint32_t n = 0;
    while (n < pane->n_bands && pane->bands[n].layer <= layer) n++;
    return (int)n * pane->band_gap;
}

view_rect view_cell(const view_pane *pane, uint32_t layer, uint32_t expert) {
    int y = pane->cells.y - pane->off_y + (int)layer * pane->pitch_y + hops_above(pane, layer),
        h = most(1, pane->pitch_y - pane->gap_y);
    if (expert == UINT32_MAX) return (view_rect){pane->cells.x - pane->off_x, y, pane->total_w - pane->gap_x, h};
    int x = pane->cells.x - pane->off_x + (int)expert * pane->pitch_x + (int)(expert / pane->group_size) * pane->group_gap;
    return (view_rect){x, y, most(1, pane->pitch_x - pane->gap_x), h};
}

view_rect view_hop_strip(const view_pane *pane, uint32_t band) {
    int below = view_cell(pane, pane->bands[band].layer, 0).y, h = most(1, pane->band_gap - pane->gap_y);
    return (view_rect){pane->cells.x, below - pane->gap_y - h, pane->cells.w, h};
}

bool view_layer_at(const view_pane *pane, int y, uint32_t *layer) {
    int at = y - pane->cells.y + pane->off_y;
    for (uint32_t i = 0; i < pane->n_bands; i++) {
        int first = (int)pane->bands[i].layer * pane->pitch_y; /* of the band, without what was taken off */
        if (at < first) break;
        if (at < first + pane->band_gap) return false;
        at -= pane->band_gap;
    }
    if (at < 0) return false;
    *layer = (uint32_t)(at / pane->pitch_y);
    return *layer < pane->n_layers;
}

bool view_cell_at(const view_pane *pane, int x, int y, uint32_t *layer, uint32_t *expert) {
    if (!view_inside(pane->cells, x, y) || pane->n_experts == 0) return false;
    int at = x - pane->cells.x + pane->off_x, group_w = (int)pane->group_size * pane->pitch_x + pane->group_gap;
    int group = at / group_w, inside = (at % group_w) / pane->pitch_x;
    if (inside >= (int)pane->group_size) inside = (int)pane->group_size - 1;
    *expert = (uint32_t)(group * (int)pane->group_size + inside);
    return *expert < pane->n_experts && view_layer_at(pane, y, layer);
}

void view_camera_zoom(view_camera *camera, const view_pane *pane, int x, int y, double factor) {
    double fx = (double)(x - pane->cells.x), fy = (double)(y - pane->cells.y);
    double at_x = (pane->off_x + fx) / pane->total_w, at_y = (pane->off_y + fy) / pane->total_h;
    double zoom = fmin(fmax(camera->zoom * factor, 1), 64);
    factor = zoom / camera->zoom;
    camera->zoom = zoom;
    camera->x = at_x - fx / (pane->total_w * factor);
    camera->y = at_y - fy / (pane->total_h * factor);
}

void view_camera_pan(view_camera *camera, const view_pane *pane, int dx, int dy) {
    camera->x -= (double)dx / pane->total_w;
    camera->y -= (double)dy / pane->total_h;
}
