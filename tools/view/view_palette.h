/* view_palette.h: every colour of the picture, light or dark, for all eyes or for colour-blind ones.
 *
 * Colour says where an expert lies: the hue is the device, and the slower the memory the greyer it is. Brightness says how much of a
 * token the expert got. Both together are a ramp per place, made once per theme, which drawing looks up. */
#ifndef VIEW_PALETTE_H
#define VIEW_PALETTE_H

#include "seamount.h"

#define VIEW_MAX_PLACES 32 /* places beyond share the last ramp */
#define VIEW_LEVELS     256

typedef struct view_palette {
    bool light, safe;
    uint32_t back, panel, line, text, dim, faint; /* from the window's ground to its lettering */
    uint32_t accent, on_accent;                   /* the current token and the playhead */
    uint32_t mark;                                /* what is selected, the path of a token */
    uint32_t more, less;                          /* the two sides of a difference */
    uint32_t slow;                                /* a hop that holds up its step: no device's hue */
    uint32_t shared, dense;
    uint32_t phases[SMT_PHASE_COUNT];
    uint32_t places[VIEW_MAX_PLACES];             /* the plain colour of a place */
    uint32_t ramps[VIEW_MAX_PLACES][VIEW_LEVELS]; /* from an idle expert to the strongest choice */
} view_palette;

/* Colours for the places of a model. */
void view_palette_make(view_palette *palette, const smt_trace_model *shape, bool light, bool safe);
/* How fast a tier is: 0 the fastest. Unknown words count as the slowest. */
uint32_t view_tier_rank(const char *tier);

#endif
