/* serve_http.c: connections and calls, as libmicrohttpd hands them over: each connection has its thread, so that a route may wait.
 *
 * A body is read whole before anything is answered, so that the client sees the answer and not a reset connection; what is too large
 * or not wanted is read and dropped, unless the client waits for a word before it sends it. The clock of a connection runs while its client owes us something: from the moment it is open,
 * or its last answer is through, until the next request is whole. Bytes that dribble in do not stop it.
 *
 * Connections are limited. Beyond the limit the ones that wait for a request give way to new ones; where all are being answered a few
 * more may ask how the server is, and are told to come back for anything else.
 *
 * What libmicrohttpd finds wrong with the protocol it answers itself. */
#include "serve_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UNSENT (64 << 10) /* bytes that the system keeps for a client that does not read; by itself it takes megabytes */

/* ---- connections: all of it under the lock ---- */

/* Its thread notices, and closes. */
static void shut(serve_connection *client) {
    client->shut = true;
    network_end(client->socket);
}

/* Of the others, within the limit or beyond it, the one that owes us a request for longest; NULL: none does. */
static serve_connection *find_idle(const serve_server *server, const serve_connection *asker, bool beyond) {
    serve_connection *oldest = NULL;
    for (serve_connection *c = server->connections; c; c = c->next) {
        bool idle = c != asker && !c->shut && !c->answering && c->beyond == beyond;
        if (idle && (!oldest || c->since < oldest->since)) oldest = c;
    }
    return oldest;
}

/* Beyond the limit somebody has to go: whoever owes us a request for longest, so that those who only hold connections keep nobody out.
 * Where all are being answered the asker stays for the time of a word, and may ask again: there may be room then. */
static void make_room(serve_server *server, serve_connection *asker) {
    uint32_t n = 0;
    asker->beyond = false;
    for (const serve_connection *c = server->connections; c; c = c->next) n += !c->shut && !c->beyond;
    if (n <= server->options.connections) return;
    serve_connection *idle = find_idle(server, asker, false);
    asker->beyond = !idle;
    if (idle) shut(idle);
}

/* Those beyond the limit who only hold connections give way too: there are few places for a word. */
static void let_in(serve_server *server, serve_connection *newcomer) {
    make_room(server, newcomer);
    serve_connection *idle = newcomer->beyond ? find_idle(server, newcomer, true) : NULL;
    if (idle) shut(idle);
}

static bool is_beyond(const serve_call *call) {
    pthread_mutex_lock(&call->server->lock);
    if (call->client->beyond) make_room(call->server, call->client);
    bool beyond = call->client->beyond;
    pthread_mutex_unlock(&call->server->lock);
    return beyond;
}

void serve_connected(void *user, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code) {
    serve_server *server = user;
    serve_connection *client = *context;
    pthread_mutex_lock(&server->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = client = calloc(1, sizeof *client);
        if (client) {
            const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
            *client = (serve_connection){
                .next = server->connections, .link = &server->connections, .socket = info->connect_fd, .since = serve_seconds()};
            if (client->next) client->next->link = &client->next;
            server->connections = client;
            network_limit_unsent(client->socket, UNSENT);
            let_in(server, client);
        }
    } else if (client) {
        *client->link = client->next;
        if (client->next) client->next->link = client->link;
        free(client);
    }
    pthread_mutex_unlock(&server->lock);
}

void serve_reap(serve_server *server) {
    double oldest = serve_seconds() - server->options.timeout_s;
    for (serve_connection *c = server->connections; c; c = c->next)
        if (!c->shut && !c->answering && c->since < oldest) shut(c);
}

static void set_answering(serve_call *call, bool answering) {
    pthread_mutex_lock(&call->server->lock);
    call->client->answering = answering;
    call->client->since = serve_seconds();
    pthread_mutex_unlock(&call->server->lock);
}

/* ---- answers ---- */

static void add_origin(const serve_call *call, struct MHD_Response *response) {
    const char *cors = call->server->options.cors;
    if (!cors) return;
    MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, cors);
    if (strcmp(cors, "*")) MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Origin");
}

static enum MHD_Result queue(serve_call *call, unsigned status, const char *type, struct MHD_Response *response) {
    if (!response) return MHD_NO;
    if (type) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (call->last) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    add_origin(call, response);
    call->status = status;
    enum MHD_Result queued = MHD_queue_response(call->connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

/* Takes the reference. */
static enum MHD_Result send_json(serve_call *call, unsigned status, json_t *document) {
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (!text) return MHD_NO;
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (!response) free(text);
    if (response && status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    return queue(call, status, "application/json; charset=utf-8", response);
}

/* A document that is a string goes out as the text it holds. */
static enum MHD_Result send_text(serve_call *call, json_t *document) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(json_string_length(document), (void *)json_string_value(document), MHD_RESPMEM_MUST_COPY);
    json_decref(document);
    return queue(call, MHD_HTTP_OK, call->route->type, response);
}

static enum MHD_Result send_stream(serve_call *call, struct MHD_Response *response) {
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    return queue(call, MHD_HTTP_OK, "text/event-stream", response);
}

/* What a browser asks before a page of another origin may call. Clients send headers of their own with it, and none of them matters
 * here: a page that may call may send what it likes. */
static enum MHD_Result send_permission(serve_call *call) {
    const char *wanted = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, "Access-Control-Request-Headers");
    struct MHD_Response *response = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, "GET, POST");
    MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS,
                            wanted && *wanted ? wanted : "Authorization, Content-Type, X-Api-Key");
    MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_MAX_AGE, "86400");
    return queue(call, MHD_HTTP_NO_CONTENT, NULL, response);
}

/* ---- calls ---- */

static void refuse_length(serve_call *call) {
    serve_fail(&call->error, 413, "the body has more than %zu bytes", call->server->options.body_bytes);
}

static void refuse_beyond(serve_call *call) {
    serve_fail(&call->error, 503, "%u connections wait for answers, and no more are taken", call->server->options.connections);
    call->last = true;
}

/* What can be refused before the body is there; what is refused needs no body. */
static void look_at_head(serve_call *call) {
    if (!serve_guard(call)) return;
    if (call->server->options.cors && !strcmp(call->method, MHD_HTTP_METHOD_OPTIONS)) {
        call->permission = true;
        return;
    }
    call->route = serve_find_route(call->method, call->path, &call->error);
    if (!call->route) return;
    if (!call->route->open && !serve_has_key(call))
        serve_fail(&call->error, 401, "Invalid API Key");
    else if (!call->route->open && is_beyond(call))
        refuse_beyond(call);
    else if (call->told_bytes > call->server->options.body_bytes)
        refuse_length(call);
}

static bool take_body(serve_call *call, const char *bytes, size_t count) {
    if (call->error.code || call->permission) return true;
    if (call->body.bytes + count <= call->server->options.body_bytes) return serve_append(&call->body, bytes, count);
    refuse_length(call);
    return true;
}

/* While a route waits for the engine, the connection is not idle. */
static json_t *run_route(serve_call *call, struct MHD_Response **out_stream) {
    serve_server *server = call->server;
    json_t *body = NULL;
    if (!call->route->open && !serve_is_ready(server, &call->error)) return NULL;
    if (!strcmp(call->route->method, MHD_HTTP_METHOD_POST)) {
        body = serve_parse("the body", call->body.at, call->body.bytes, server->options.json_depth, &call->error);
        if (!body) return NULL;
    }
    MHD_set_connection_option(call->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    json_t *document = call->route->run(call, body, out_stream, &call->error);
    MHD_set_connection_option(call->connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)server->options.timeout_s);
    json_decref(body);
    return document;
}

static enum MHD_Result answer(serve_call *call) {
    struct MHD_Response *stream = NULL;
    json_t *document = NULL;
    set_answering(call, true);
    if (call->permission) return send_permission(call);
    if (call->error.code == 0) document = run_route(call, &stream);
    if (stream) return send_stream(call, stream);
    if (document && call->route->type) return send_text(call, document);
    if (document) return send_json(call, MHD_HTTP_OK, document);
    if (call->error.code == 0) return MHD_NO; /* the client is gone */
    return send_json(call, call->error.code, serve_error_json(&call->error));
}

/* Whether the client waits for a word before it sends the body. */
static bool asks_first(const serve_call *call) {
    const char *expected = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
    return expected && !strcasecmp(expected, "100-continue");
}

static serve_call *open_call(serve_server *server, struct MHD_Connection *connection, const char *path, const char *method) {
    serve_call *call = calloc(1, sizeof *call);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (!call || !info->socket_context) return free(call), NULL;
    *call = (serve_call){.server = server,
                         .connection = connection,
                         .client = info->socket_context,
                         .method = strcmp(method, MHD_HTTP_METHOD_HEAD) ? method : MHD_HTTP_METHOD_GET,
                         .path = path,
                         .begun = serve_seconds()};
    look_at_head(call);
    call->at_once |= asks_first(call);
    return call;
}

enum MHD_Result serve_handle(void *user, struct MHD_Connection *connection, const char *path, const char *method,
                             const char *version, const char *bytes, size_t *n_bytes, void **context) {
    serve_call *call = *context;
    (void)version;
    if (!call) {
        *context = call = open_call(user, connection, path, method);
        if (!call) return MHD_NO;
        return call->error.code && call->at_once ? answer(call) : MHD_YES;
    }
    if (*n_bytes == 0) return answer(call);
    bool taken = take_body(call, bytes, *n_bytes);
    *n_bytes = 0;
    return taken ? MHD_YES : MHD_NO;
}

void serve_completed(void *user, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code) {
    serve_call *call = *context;
    (void)user;
    (void)connection;
    if (!call) return;
    set_answering(call, false);
    if (call->server->options.log) {
        char line[256];
        snprintf(line, sizeof line, "%s %.120s %u %.3f s%s", call->method, call->path, call->status,
                 serve_seconds() - call->begun, code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : ", not to its end");
        call->server->options.log(line);
    }
    free(call->body.at);
    free(call);
    *context = NULL;
}
