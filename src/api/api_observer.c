/* api_observer.c: the runner's ring (run_observe.c) with the texts of its tokens. */
#include "api/api_engine.h"

struct smt_observer {
    smt_run_observer *ring;         /* owned */
    const smt_tokenizer *tokenizer; /* borrowed; NULL: tokens have no text */
    smt_trace_token token;          /* the one given out last */
    char *text;                     /* owned: its text */
};

smt_status smt_observer_create(smt_runner *runner, const smt_observer_options *options, smt_observer **out_observer,
                               smt_error *err) {
    smt_observer_options o;
    *out_observer = NULL;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_observer_options", err));
    smt_observer *observer = smt_alloc(1, sizeof *observer);
    if (!observer) return SMT_FAIL(err, SMT_MEMORY, "out of memory for an observer");
    observer->tokenizer = o.tokenizer;
    smt_status status = smt_run_observer_create(runner->run, o.capacity, &observer->ring, err);
    if (status != SMT_OK)
        smt_observer_free(observer);
    else
        *out_observer = observer;
    return status;
}

void smt_observer_free(smt_observer *observer) {
    if (!observer) return;
    smt_run_observer_free(observer->ring);
    smt_free(observer->text);
    smt_free(observer);
}

const smt_trace_model *smt_observer_model(const smt_observer *observer) { return smt_run_observer_model(observer->ring); }

const smt_trace_token *smt_observer_next(smt_observer *observer) {
    smt_free(observer->text);
    observer->text = NULL;
    const smt_trace_token *next = smt_run_observer_next(observer->ring);
    if (!next) return NULL;
    observer->token = *next;
    if (observer->tokenizer) /* without memory for it the text is unknown */
        smt_token_text(observer->tokenizer, next->id, &observer->text, &observer->token.text_bytes, NULL);
    observer->token.text = observer->text;
    return &observer->token;
}

uint64_t smt_observer_dropped(const smt_observer *observer) { return smt_run_observer_dropped(observer->ring); }
