/* view_palette.c: the themes; see view_palette.h. The hues of the safe palettes are Okabe's and Ito's, which people with any of the
 * usual colour blindnesses tell apart. */
#include "view_palette.h"
#include "view_draw.h"

#include <string.h>

enum { N_HUES = 7 };

static const uint32_t hues_dark[N_HUES] = {0xff2ec4b6, 0xffff9f5a, 0xffa78bfa, 0xff60a5fa, 0xfff472b6, 0xffa3d65c, 0xffe8c547};
static const uint32_t hues_light[N_HUES] = {0xff0b8f84, 0xffd9641e, 0xff6d4fd0, 0xff2563c9, 0xffc2327f, 0xff5b8c1a, 0xffa68200};
static const uint32_t hues_safe[N_HUES] = {0xff56b4e9, 0xffe69f00, 0xff009e73, 0xffcc79a7, 0xfff0e442, 0xff0072b2, 0xffd55e00};
static const uint32_t hues_safe_light[N_HUES] = {0xff0072b2, 0xffd55e00, 0xff009e73, 0xffcc79a7,
                                                 0xff8a7a00, 0xff56b4e9, 0xffe69f00};

static void ground(view_palette *p) {
    if (p->light) {
        p->back = 0xfffbfaf8, p->panel = 0xfff3f1ed, p->line = 0xffdedad2;
        p->text = 0xff1f2328, p->dim = 0xff5f6670, p->faint = 0xff9a9fa8;
        p->accent = 0xffffd24d, p->on_accent = 0xff1f2328, p->mark = 0xffb8320a;
        p->shared = 0xff9aa0a8, p->dense = 0xffe6e3dc;
    } else {
        p->back = 0xff0e1116, p->panel = 0xff151a21, p->line = 0xff272e38;
        p->text = 0xffe7eaef, p->dim = 0xff98a1b0, p->faint = 0xff5d6675;
        p->accent = 0xffffd166, p->on_accent = 0xff14161a, p->mark = 0xffffd166;
        p->shared = 0xff7d8695, p->dense = 0xff1c222b;
    }
    p->more = p->safe ? 0xffe69f00 : 0xffff8f4a;
    p->slow = p->safe ? p->text : p->light ? 0xffc8102e : 0xfff5384f;
    p->less = p->safe ? (p->light ? 0xff0072b2 : 0xff56b4e9) : 0xff4a9dff;
}

uint32_t view_tier_rank(const char *tier) {
    static const char *const tiers[] = {"device", "device+host", "host"};
    uint32_t rank = 0;
    while (rank < 3 && strcmp(tier, tiers[rank])) rank++;
    return rank;
}

/* Idle, faint glow, the plain colour at three quarters, and beyond it towards the end of the scale that is furthest from the ground. */
static void make_ramp(const view_palette *p, uint32_t colour, uint32_t ramp[VIEW_LEVELS]) {
    uint32_t idle = view_mix(p->back, colour, p->light ? 34 : 36),
             peak = view_mix(colour, p->light ? 0xff000000 : 0xffffffff, 176);
    for (uint32_t level = 0; level < VIEW_LEVELS; level++)
        ramp[level] = level < 176 ? view_mix(idle, colour, level * 256 / 176) : view_mix(colour, peak, (level - 176) * 256 / 79);
}

static uint32_t place_colour(const view_palette *p, uint32_t device, const char *tier) {
    static const uint32_t grey_share[] = {0, 60, 150, 205};
    const uint32_t *hues = p->safe ? (p->light ? hues_safe_light : hues_safe) : p->light ? hues_light : hues_dark;
    return view_mix(hues[device % N_HUES], p->light ? 0xff8c919a : 0xff8b94a3, grey_share[view_tier_rank(tier)]);
}

void view_palette_make(view_palette *palette, const smt_trace_model *shape, bool light, bool safe) {
    *palette = (view_palette){.light = light, .safe = safe};
    ground(palette);
    for (uint32_t i = 0; i < VIEW_MAX_PLACES; i++) {
        const smt_trace_place *place = i < shape->n_places ? &shape->places[i] : NULL;
        palette->places[i] = place ? place_colour(palette, place->device, place->tier) : palette->dim;
        make_ramp(palette, palette->places[i], palette->ramps[i]);
    }
    uint32_t first = place_colour(palette, 0, "device");
    palette->phases[SMT_PHASE_BETWEEN] = palette->faint;
    palette->phases[SMT_PHASE_PREPARE] = palette->more;
    palette->phases[SMT_PHASE_DEVICE] = first;
    palette->phases[SMT_PHASE_READ] = safe ? 0xffcc79a7 : palette->less; /* there, `less` is the device's hue */
}
