/* serve_guard.c: what is refused by a request's headers alone, before there is a body.
 *
 *   framing   A request whose end two readers would see at different places: a proxy in front and the server must agree, or one client
 *             could write the beginning of another's request. libmicrohttpd takes such requests; here they are a 400, and the connection
 *             ends.
 *   host      A page can have its own name resolve to this machine, and then is of the server's own origin (DNS rebinding). So a server
 *             that listens at the loopback answers only requests that call it by an address, by localhost, by --host or by --allow-host.
 *             Addresses are safe: whoever owns a name decides what it resolves to, nobody decides that of an address.
 *   origin    Browsers send the POSTs of any page anywhere and only keep the answer from it: a page must not make this machine work.
 *   key       Compared in a time that says nothing of the keys. */
#include "serve_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- framing ---- */

typedef struct framing {
    uint32_t n_host, n_length, n_encoding;
    bool other_encoding; /* than "chunked", which is the only one that libmicrohttpd reads */
    unsigned long long length;
} framing;

static enum MHD_Result count_header(void *user, enum MHD_ValueKind kind, const char *name, const char *value) {
    framing *f = user;
    (void)kind;
    if (!strcasecmp(name, MHD_HTTP_HEADER_HOST)) f->n_host++;
    if (!strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH)) {
        f->n_length++;
        f->length = strtoull(value ? value : "", NULL, 10);
    }
    if (!strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        f->n_encoding++;
        f->other_encoding |= !value || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

static bool is_plain(const framing *f, serve_error *error) {
    if (f->n_host > 1) return serve_fail(error, 400, "more than one Host header");
    if (f->n_length + f->n_encoding > 1)
        return serve_fail(error, 400, "more than one length of the body: %u Content-Length, %u Transfer-Encoding", f->n_length,
                          f->n_encoding);
    return !f->other_encoding || serve_fail(error, 400, "the body is in a Transfer-Encoding other than chunked");
}

/* ---- the name that the server is called by ---- */

/* "name", "name:port", "[address]:port", with a dot at the name's end or without: the name alone. */
static bool name_of(const char *host, char *name, size_t capacity) {
    bool numeric6 = host[0] == '[';
    if (numeric6) host++;
    size_t length = strcspn(host, numeric6 ? "]" : ":");
    const char *rest = host + length;
    if (numeric6 && *rest++ != ']') return false;
    if (*rest && *rest != ':') return false;
    if (!numeric6 && length && host[length - 1] == '.') length--;
    if (length == 0 || length >= capacity) return false;
    memcpy(name, host, length);
    name[length] = 0;
    return true;
}

static bool is_address(const char *name) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool ends_with(const char *name, const char *end) {
    size_t n_name = strlen(name), n_end = strlen(end);
    return n_name > n_end && !strcasecmp(name + n_name - n_end, end);
}

/* A name that was allowed may be written as requests have it. */
static bool is_same_name(const char *allowed, const char *name) {
    char alone[256];
    return name_of(allowed, alone, sizeof alone) && !strcasecmp(alone, name);
}

static bool is_own_name(const serve_server *server, const char *name) {
    const serve_options *options = &server->options;
    if (is_address(name) || !strcasecmp(name, "localhost") || ends_with(name, ".localhost") || is_same_name(options->host, name))
        return true;
    for (uint32_t i = 0; i < options->n_allow_hosts; i++)
        if (!strcmp(options->allow_hosts[i], "*") || is_same_name(options->allow_hosts[i], name)) return true;
    return false;
}

/* A request without the header is of no browser. */
static bool is_called_by_name(const serve_call *call, serve_error *error) {
    const char *host = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    const serve_server *server = call->server;
    char name[256];
    if (!host || (!server->loopback && server->options.n_allow_hosts == 0)) return true;
    if (name_of(host, name, sizeof name) && is_own_name(server, name)) return true;
    return serve_fail(error, 403, "this server is not known as \"%.100s\" (--allow-host NAME lets in who calls it so)", host);
}

/* ---- pages of others ---- */

/* Those of the server's own origin (http://HOST) and of the one that was allowed may call. */
static bool is_foreign(const serve_call *call) {
    const char *origin = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
    const char *host = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    const char *cors = call->server->options.cors;
    if (!origin || (cors && (!strcmp(cors, "*") || !strcmp(cors, origin)))) return false;
    const char *place = strstr(origin, "://");
    return !place || !host || strcmp(place + 3, host);
}

/* ---- keys ---- */

bool serve_same_key(const char *key, const char *given, size_t n_given) {
    size_t n_key = strlen(key);
    unsigned difference = n_key != n_given;
    for (size_t i = 0; i < n_given; i++) difference |= (unsigned)(unsigned char)(key[n_key ? i % n_key : 0] ^ given[i]);
    return difference == 0;
}

bool serve_has_key(const serve_call *call) {
    const serve_options *options = &call->server->options;
    const char *given = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (given && !strncasecmp(given, "Bearer ", 7))
        given += 7;
    else
        given = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, "X-Api-Key");
    if (!given) given = "";
    bool found = options->n_api_keys == 0;
    for (uint32_t i = 0; i < options->n_api_keys; i++) found |= serve_same_key(options->api_keys[i], given, strlen(given));
    return found;
}

/* ---- all of it ---- */

bool serve_guard(serve_call *call) {
    framing f = {0};
    MHD_get_connection_values(call->connection, MHD_HEADER_KIND, count_header, &f);
    if (!is_plain(&f, &call->error)) {
        call->last = call->at_once = true;
        return false;
    }
    if (!is_called_by_name(call, &call->error)) return false;
    call->told_bytes = f.length;
    return !is_foreign(call) || serve_fail(&call->error, 403, "pages of this origin may not call (--cors allows one)");
}
