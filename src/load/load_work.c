/* load_work.c: who does the jobs: the caller's thread those that go through the ring, then, with helpers that began at once, those of mapped
 * memory. Copying to fresh pages is bound by the page faults of one thread, which several threads take side by side.
 *
 * Callbacks are called by the caller's thread alone, after each of its own jobs. The first failure ends all. */
#include "load_internal.h"
#include "os/os.h"

#define MOST_HELPERS 7

typedef struct crew {
    const smt_load_args *args;
    const smt_load_jobs *jobs; /* [SMT_LOAD_WAYS] */
    uint64_t total, piece_bytes;
    smt_os_mutex *lock; /* owned: guards what follows */
    size_t next[SMT_LOAD_WAYS];
    uint64_t done; /* bytes */
    smt_status status;
    smt_error err;
} crew;

typedef struct helper {
    crew *crew;
    smt_upload upload; /* without a ring */
    smt_load_hand hand;
    smt_os_thread *thread; /* owned */
} helper;

smt_status smt_load_report(const smt_load_args *args, uint64_t done, uint64_t total, smt_error *err) {
    const smt_callbacks *c = &args->callbacks;
    if (c->progress && !c->progress(c->user, SMT_STAGE_LOAD, done, total))
        return SMT_FAIL(err, SMT_CANCELLED, "loading was cancelled at %llu of %llu bytes", (unsigned long long)done,
                        (unsigned long long)total);
    return SMT_OK;
}

static const smt_load_job *take(crew *c, smt_load_way way) {
    const smt_load_jobs *jobs = &c->jobs[way];
    smt_os_mutex_lock(c->lock);
    size_t i = c->status == SMT_OK && c->next[way] < jobs->n ? c->next[way]++ : jobs->n;
    smt_os_mutex_unlock(c->lock);
    if (i + 1 < jobs->n) smt_load_job_expect(&jobs->jobs[i + 1]);
    return i < jobs->n ? &jobs->jobs[i] : NULL;
}

/* Returns the bytes done so far by all. */
static uint64_t note(crew *c, smt_status status, const smt_error *err, uint64_t bytes) {
    smt_os_mutex_lock(c->lock);
    if (status == SMT_OK) {
        c->done += bytes;
    } else if (c->status == SMT_OK) {
        c->status = status;
        c->err = *err;
    }
    uint64_t done = c->done;
    smt_os_mutex_unlock(c->lock);
    return done;
}

static void help(void *argument) {
    helper *h = argument;
    const smt_load_job *job;
    while ((job = take(h->crew, SMT_LOAD_MAPPED))) {
        smt_error err = {0};
        smt_status status = smt_load_job_do(&h->hand, job, &err);
        note(h->crew, status, &err, smt_load_job_bytes(job));
    }
}

/* The caller's own share. */
static void work(crew *c, smt_load_hand *hand) {
    const smt_load_job *job;
    while ((job = take(c, SMT_LOAD_STAGED)) || (job = take(c, SMT_LOAD_MAPPED))) {
        smt_error err = {0};
        smt_status status = smt_load_job_do(hand, job, &err);
        uint64_t done = note(c, status, &err, smt_load_job_bytes(job));
        if (status != SMT_OK) break;
        status = smt_load_report(c->args, done, c->total, &err);
        if (status != SMT_OK) note(c, status, &err, 0);
    }
}

/* One that cannot be started leaves its work to the others. */
static void start(crew *c, helper *h, uint8_t *piece) {
    h->crew = c;
    h->upload = (smt_upload){.device = c->args->device, .force_staging = c->args->force_staging};
    h->hand = (smt_load_hand){.upload = &h->upload, .piece = piece, .piece_bytes = c->piece_bytes};
    if (smt_os_thread_start(help, h, &h->thread, NULL) != SMT_OK) h->thread = NULL;
}

smt_status smt_load_work(const smt_load_args *args, const smt_load_jobs jobs[SMT_LOAD_WAYS], smt_upload *upload, uint64_t total,
                         smt_error *err) {
    crew c = {.args = args, .jobs = jobs, .total = total, .piece_bytes = smt_load_piece_bytes(&jobs[SMT_LOAD_MAPPED])};
    helper helpers[MOST_HELPERS] = {{0}};
    size_t mapped = jobs[SMT_LOAD_MAPPED].n, alone = jobs[SMT_LOAD_STAGED].n == 0; /* then the caller has time for the first */
    size_t n = smt_min_u64(smt_min_u32(smt_os_cores() - 1, MOST_HELPERS), mapped > alone ? mapped - alone : 0);
    c.lock = smt_os_mutex_create();
    uint8_t *pieces = smt_alloc(n + 1, c.piece_bytes);
    if (c.lock && pieces) {
        smt_load_hand own = {.upload = upload, .piece = pieces, .piece_bytes = c.piece_bytes};
        for (size_t i = 0; i < n; i++) start(&c, &helpers[i], pieces + (i + 1) * c.piece_bytes);
        work(&c, &own);
        for (size_t i = 0; i < n; i++)
            if (helpers[i].thread) smt_os_thread_join(helpers[i].thread);
        if (c.status != SMT_OK && err) *err = c.err;
    } else {
        c.status = SMT_FAIL(err, SMT_MEMORY, "out of memory loading with %zu threads", n + 1);
    }
    smt_free(pieces);
    smt_os_mutex_free(c.lock);
    return c.status;
}
