/* plan_advice.c: what would make a model fit: a shorter context, slots for experts that stay in the file, smaller types, more memory for the
 * experts' tier. Each is tried with a plan of its own before it is said, but for the types, which are a matter of proportion. */
#include "plan_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CTX_LEAST 256

void smt_plan_size_words(double bytes, char text[SMT_PLAN_SIZE_WORDS]) {
    bool large = bytes >= 1073741824;
    double size = bytes / (large ? 1073741824 : 1048576);
    snprintf(text, SMT_PLAN_SIZE_WORDS, "%.1f %s", ceil(size * 10) / 10, large ? "GiB" : "MiB");
}

/* One way to make it fit. */
static void say(smt_placement *p, const char *words) {
    static const char first[] = ". It would fit with ";
    size_t used = strlen(p->why);
    snprintf(p->why + used, sizeof p->why - used, "%s%s", strstr(p->why, first) ? ", or with " : first, words);
}

/* out_tok_s: predicted; or NULL. */
static bool would_fit(const smt_model *model, const smt_plan_request *request, double *out_tok_s) {
    smt_placement *other;
    if (smt_plan_attempt(model, request, &other, NULL) != SMT_OK) return false;
    bool fits = other->fits;
    if (out_tok_s) *out_tok_s = other->forecast.decode_tok_s;
    smt_plan_free(other);
    return fits;
}

/* The longest context, in halves of the one asked for, that fits; 0: none does. */
static uint32_t fitting_context(const smt_placement *p, const smt_plan_request *request) {
    smt_plan_demand demand = p->demand;
    smt_plan_request other = *request;
    other.demand = &demand;
    demand.n_ctx = CTX_LEAST;
    if (!request->demand || p->demand.n_ctx <= CTX_LEAST || !would_fit(p->model, &other, NULL)) return 0;
    for (uint32_t n_ctx = p->demand.n_ctx / 2; n_ctx > CTX_LEAST; n_ctx /= 2) {
        demand.n_ctx = n_ctx;
        demand.n_batch = smt_min_u32(p->demand.n_batch, n_ctx);
        if (would_fit(p->model, &other, NULL)) return n_ctx;
    }
    return CTX_LEAST;
}

/* Bytes of weights, how many bytes there are for them in all memory that the plan may use, and those of cache and working memory. */
static void weigh(const smt_placement *p, double *out_weights, double *out_room, double *out_work) {
    double weights = 0, work = 0, room = 0, host = (double)p->host_limit;
    for (uint32_t i = 0; i < p->n_devices; i++) {
        const smt_placed_device *d = &p->devices[i];
        smt_plan_bytes bytes = {0};
        for (uint32_t j = 0; j < d->items.n_items; j++) weights += (double)d->items.items[j].bytes;
        smt_plan_count(&d->runner.plan, &d->caps, &bytes);
        for (uint32_t heap = 0; heap < d->caps.n_heaps; heap++) {
            if (!d->caps.heaps[heap].device_local) continue;
            work += (double)bytes.heap[heap];
            room += (double)(d->limits.shared ? 0 : d->limits.heap[heap]);
        }
    }
    room += host; /* unified memory is all there */
    *out_work = work;
    *out_weights = weights;
    *out_room = room > work ? room - work : 0;
}

static void advise_type(smt_placement *p, double weights, double room) {
    static const smt_dtype types[] = {SMT_DTYPE_Q8_0,   SMT_DTYPE_Q6_K, SMT_DTYPE_Q5_K, SMT_DTYPE_Q4_K,
                                      SMT_DTYPE_IQ4_XS, SMT_DTYPE_Q3_K, SMT_DTYPE_Q2_K, SMT_DTYPE_IQ2_XXS};
    double bits = 8 * weights / (double)p->model->n_params, wanted = bits * room / weights * 0.98;
    char text[160];
    for (size_t i = 0; i < SMT_COUNT(types); i++) {
        const smt_dtype_info *info = smt_dtype_get((uint32_t)types[i]);
        double has = 8.0 * info->bytes / info->elems;
        if (has > wanted || has >= bits) continue;
        snprintf(text, sizeof text, "weights in %s (%.1f bits each, now %.1f)", info->name, has, bits);
        say(p, text);
        return;
    }
}

/* The least slots that a token needs, and what others have room for in the memory that is then free. */
static void advise_slots(const smt_plan_request *request, smt_placement *p) {
    uint64_t most = 0;
    double tok_s = 0;
    char text[160], size[SMT_PLAN_SIZE_WORDS], speed[40] = "";
    for (uint32_t i = 0; i < p->n_devices; i++) {
        const smt_placed_device *d = &p->devices[i];
        uint64_t one_each = 0;
        for (uint32_t l = d->first_layer; l < d->last_layer; l++)
            if (d->items.layers[l].n_windows) one_each += d->items.layers[l].stride;
        if (one_each * p->model->n_used > most) most = one_each * p->model->n_used;
    }
    smt_plan_request other = *request;
    other.expert_cache = smt_align_up(most, 256ull << 20);
    if (most == 0 || request->expert_cache || !would_fit(p->model, &other, &tok_s)) return;
    if (tok_s > 0) snprintf(speed, sizeof speed, ": %.1f tokens/s", tok_s);
    smt_plan_size_words((double)other.expert_cache, size);
    snprintf(text, sizeof text, "an expert cache of %s (experts that no memory has room for stay in the file%s)", size, speed);
    say(p, text);
}

static void advise_memory(smt_placement *p, double missing, const char *where, const char *what) {
    char text[160], size[SMT_PLAN_SIZE_WORDS];
    if (missing <= 0) return;
    smt_plan_size_words(missing, size);
    snprintf(text, sizeof text, "%s more memory%s for %s", size, where, what);
    say(p, text);
}

/* Bytes of working memory that one device has no room for, even without weights. */
static double work_missing(const smt_placement *p) {
    double most = 0;
    for (uint32_t i = 0; i < p->n_devices; i++) {
        const smt_placed_device *d = &p->devices[i];
        smt_plan_bytes bytes = {0};
        smt_plan_count(&d->runner.plan, &d->caps, &bytes);
        for (uint32_t heap = 0; heap < d->caps.n_heaps; heap++) {
            double missing = (double)bytes.heap[heap] - (double)d->limits.heap[heap];
            if (missing > most) most = missing;
        }
    }
    return most;
}

void smt_plan_advise(const smt_plan_request *request, smt_placement *p) {
    double weights, room, work, missing = work_missing(p);
    char text[160];
    if (p->n_devices == 0) return; /* this device cannot have the model, whatever its memory */
    weigh(p, &weights, &room, &work);
    uint32_t n_ctx = weights > room + work ? 0 : fitting_context(p, request);
    snprintf(text, sizeof text, "a context of %u", n_ctx);
    if (n_ctx) say(p, text);
    if (missing > 0) {
        advise_memory(p, missing, " on one device", "cache and working memory");
        return;
    }
    advise_slots(request, p);
    advise_type(p, weights, room);
    advise_memory(p, weights - room, " of a device or of the host", p->model->n_experts ? "experts" : "layers");
}
