/* network.h: where the sockets of Windows are not those of the other systems; the rest (addresses, names) is alike, and included here. */
#ifndef NETWORK_H
#define NETWORK_H

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
typedef SOCKET network_socket;
#define NETWORK_NONE INVALID_SOCKET
#else
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
typedef int network_socket;
#define NETWORK_NONE (-1)
#endif

#include <stdbool.h>
#include <stddef.h>

/* Before any other call; more than once is once. False: this system has no sockets for us. */
bool network_start(void);
/* What getaddrinfo returned, in UTF-8: `words`. */
const char *network_lookup_words(int cause, char *words, size_t capacity);
/* A socket that listens there, which no program that is started by this one inherits; NETWORK_NONE: `words` say why not. */
network_socket network_listen(const struct addrinfo *address, char *words, size_t capacity);
void network_close(network_socket socket);
/* Nothing more comes or goes: whoever waits for it wakes up. It is still to be closed. */
void network_end(network_socket socket);
/* Whether the other side has closed it, or its half of it: whoever sends no more does not wait for an answer either. On Windows a client
 * that sent more than was read yet is not seen to leave. */
bool network_is_gone(network_socket socket);
/* How many bytes the system keeps for the other side while that does not read. */
void network_limit_unsent(network_socket socket, int bytes);

#endif
