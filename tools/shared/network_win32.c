/* network_win32.c: network.h for Windows. */
#ifdef _WIN32
#include "network.h"

#include <stdio.h>

#define BACKLOG 128

bool network_start(void) {
    WSADATA data;
    return WSAStartup(MAKEWORD(2, 2), &data) == 0; /* for as long as the process lives */
}

static void describe(int cause, char *words, size_t capacity) {
    DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
    wchar_t wide[256];
    int bytes = 0;
    if (FormatMessageW(flags, NULL, (DWORD)cause, 0, wide, 256, NULL))
        bytes = WideCharToMultiByte(CP_UTF8, 0, wide, -1, words, (int)capacity, NULL, NULL);
    if (bytes <= 0) snprintf(words, capacity, "Windows sockets error %d", cause);
}

/* The system's words for it; gai_strerror has them in the code page of the user. */
const char *network_lookup_words(int cause, char *words, size_t capacity) {
    describe(cause, words, capacity);
    return words;
}

/* A port is ours alone: here SO_REUSEADDR would let another program take it away, and lingering connections are in nobody's way. */
network_socket network_listen(const struct addrinfo *address, char *words, size_t capacity) {
    SOCKET fd = WSASocketW(address->ai_family, address->ai_socktype, address->ai_protocol, NULL, 0,
                           WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    const BOOL on = TRUE;
    if (fd != INVALID_SOCKET) setsockopt(fd, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&on, sizeof on);
    if (fd != INVALID_SOCKET && bind(fd, address->ai_addr, (int)address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    describe(WSAGetLastError(), words, capacity);
    if (fd != INVALID_SOCKET) closesocket(fd);
    return NETWORK_NONE;
}

void network_close(network_socket socket) { closesocket(socket); }

void network_end(network_socket socket) { shutdown(socket, SD_BOTH); }

/* The end of what the client sends can be seen only behind all that it sent. */
bool network_is_gone(network_socket socket) {
    WSAPOLLFD one = {.fd = socket, .events = POLLRDNORM};
    char byte;
    if (WSAPoll(&one, 1, 0) <= 0) return false;
    return one.revents & (POLLHUP | POLLERR) || (one.revents & POLLRDNORM && recv(socket, &byte, 1, MSG_PEEK) == 0);
}

void network_limit_unsent(network_socket socket, int bytes) {
    setsockopt(socket, SOL_SOCKET, SO_SNDBUF, (const char *)&bytes, sizeof bytes);
}
#else
typedef int network_win32_unused; /* ISO C wants one declaration in a file */
#endif
