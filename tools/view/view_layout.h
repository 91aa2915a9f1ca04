/* view_layout.h: where everything is: regions of the window, and the geometry of the grids in them. Pure: sizes in, rectangles out.
 *
 *   +--------------------------------------------+-----------+
 *   | header: the model, and how playing goes    |           |
 *   +--------------------------------------------+   side    |
 *   | grid(s): layers downwards, experts across, |  panels   |
 *   |          entropy and load of each layer    |           |
 *   +--------------------------------------------+           |
 *   | text                                       |           |
 *   +--------------------------------------------+-----------+
 *   | timeline                                               |
 *   | status                                                 |
 *   +--------------------------------------------------------+
 *
 * A pane is one grid. Cells are whole pixels wide and high at every zoom, so that equal experts look equal. Comparing two traces takes
 * three panes, side by side or one above the other, whichever leaves larger cells. One pane alone has strips between the layers of
 * different devices (view_band). */
#ifndef VIEW_LAYOUT_H
#define VIEW_LAYOUT_H

#include "seamount.h"
#include "view_draw.h"

typedef enum view_region {
    REGION_HEADER,
    REGION_GRID,
    REGION_TEXT,
    REGION_SIDE,
    REGION_TIMELINE,
    REGION_STATUS,
    REGION_COUNT
} view_region;

#define VIEW_MAX_PANES 3
#define VIEW_MAX_BANDS 16 /* more devices' hops are not shown between their layers */

/* The part of the model that is in sight. */
typedef struct view_camera {
    double zoom; /* 1: everything */
    double x, y; /* what stands at the pane's upper left, as a share of the whole picture's size */
} view_camera;
/* The first of the layers of a device, where those above it are another's: activations hop here. */
typedef struct view_band {
    uint32_t layer, device;
} view_band;

typedef struct view_pane {
    view_rect rect, title, axis, gutter, shared, cells, gauges; /* gauges: w 0 where there is no room or no need */
    int pitch_x, pitch_y;                                       /* from a cell to the next */
    int gap_x, gap_y;                                           /* of which is empty */
    int group_gap;                                              /* empty between groups, besides */
    int total_w, total_h;                                       /* of the whole picture at this zoom */
    int off_x, off_y;                                           /* what of it is left and above of the cells' rectangle */
    uint32_t n_experts, n_layers, group_size;
    view_band bands[VIEW_MAX_BANDS]; /* none where several panes leave no room, or where devices share layers */
    uint32_t n_bands;
    int band_gap; /* empty above each of these layers, besides */
} view_pane;

typedef struct view_layout {
    double scale;
    int cell_high; /* what a layer may take of a high window */
    view_rect regions[REGION_COUNT];
    view_rect track; /* the part of the timeline that stands for the tokens */
    view_pane panes[VIEW_MAX_PANES];
    uint32_t n_panes;
} view_layout;

static inline int view_px(const view_layout *layout, double points) { return (int)(points * layout->scale + 0.5); }

/* n_panes: 1 or 3. The camera is brought back to where something can be seen. */
void view_layout_make(view_layout *layout, int w, int h, double scale, const smt_trace_model *shape, uint32_t n_panes,
                      view_camera *camera);

/* The cell of an expert; layers without experts take the whole breadth: expert UINT32_MAX. May lie outside pane->cells. */
view_rect view_cell(const view_pane *pane, uint32_t layer, uint32_t expert);
/* What is at a point: false outside the cells. On a gap it is the cell before. */
bool view_cell_at(const view_pane *pane, int x, int y, uint32_t *layer, uint32_t *expert);
/* The layer at a height; false beyond the last and where something hops. */
bool view_layer_at(const view_pane *pane, int y, uint32_t *layer);
/* Where the hop to a band is drawn: over its first layer, as broad as the cells. */
view_rect view_hop_strip(const view_pane *pane, uint32_t band);
/* Zooms by a factor so that what is at the point stays there. */
void view_camera_zoom(view_camera *camera, const view_pane *pane, int x, int y, double factor);
void view_camera_pan(view_camera *camera, const view_pane *pane, int dx, int dy);

#endif
