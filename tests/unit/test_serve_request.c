/* Pieces between the engine thread and a client: what waits for a client is bounded, and a client that takes what it is sent never
 * comes near the bound. */
#include "serve_internal.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

/* A request of one job that a slot works on: submitted, and taken from the queue. */
static serve_request *begin(serve_server *server) {
    *server = (serve_server){.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .state = SERVE_READY};
    serve_request *request = serve_request_create(server, 1);
    serve_error error = {0};
    assert_non_null(request);
    assert_true(serve_request_submit(request, -1, &error));
    server->first = NULL;
    return request;
}

static void end(serve_request *request) {
    serve_job_end(&request->jobs[0], NULL);
    serve_request_leave(request);
}

static bool push(serve_request *request, size_t bytes) {
    char text[1024] = {0};
    serve_piece *piece = serve_piece_create(&request->jobs[0], text, bytes, 0, SERVE_MAX_TOP);
    assert_non_null(piece);
    serve_job_push(&request->jobs[0], piece);
    return !request->gone;
}

static void test_a_client_that_does_not_read(void **state) {
    (void)state;
    serve_server server;
    serve_request *request = begin(&server);
    size_t n = 0;
    bool ended;
    while (push(request, 1000) && n <= SERVE_MAX_UNREAD / 1000) n++;
    assert_true(request->gone);
    assert_in_range(n, SERVE_MAX_UNREAD / 3000, SERVE_MAX_UNREAD / 1000);
    for (size_t i = 0; i < n; i++) { /* what was there before can still be had, and then the end */
        serve_piece *piece = serve_request_next(request, 0, &ended);
        assert_non_null(piece);
        free(piece);
    }
    assert_null(serve_request_next(request, 0, &ended));
    assert_true(ended);
    end(request);
}

static void test_a_client_that_reads(void **state) {
    (void)state;
    serve_server server;
    serve_request *request = begin(&server);
    bool ended;
    for (size_t sent = 0; sent < 3 * SERVE_MAX_UNREAD; sent += 2000) {
        assert_true(push(request, 1000) && push(request, 0));
        for (int i = 0; i < 2; i++) free(serve_request_next(request, 0, &ended));
        assert_false(ended);
    }
    assert_int_equal(request->unread, 0);
    end(request);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_client_that_does_not_read),
                                       cmocka_unit_test(test_a_client_that_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
