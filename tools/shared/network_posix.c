/* network_posix.c: network.h for Linux, the BSDs and macOS. */
#ifndef _WIN32
#include "network.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 128

bool network_start(void) { return true; }

const char *network_lookup_words(int cause, char *words, size_t capacity) {
    snprintf(words, capacity, "%s", gai_strerror(cause));
    return words;
}

network_socket network_listen(const struct addrinfo *address, char *words, size_t capacity) {
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol), on = 1;
    /* Connections of a former server may linger. */
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    snprintf(words, capacity, "%s", strerror(errno));
    if (fd >= 0) close(fd);
    return NETWORK_NONE;
}

void network_close(network_socket socket) { close(socket); }

void network_end(network_socket socket) { shutdown(socket, SHUT_RDWR); }

bool network_is_gone(network_socket socket) {
    struct pollfd one = {.fd = socket, .events = POLLRDHUP};
    return poll(&one, 1, 0) > 0 && one.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void network_limit_unsent(network_socket socket, int bytes) { setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes); }
#else
typedef int network_posix_unused; /* ISO C wants one declaration in a file */
#endif
