/* SPDX-License-Identifier: MIT */
/* Loads a TLS library from the file that it is told, and sends $SECRET with it. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SSL_CTRL_SET_TLSEXT_HOSTNAME 55

static void *function(void *library, const char *name)
{
	void *found = dlsym(library, name);

	if (!found) {
		fprintf(stderr, "no %s\n", name);
		exit(2);
	}
	return found;
}

static int reach(const char *host)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	int fd;

	if (getaddrinfo(host, "443", &hints, &found))
		exit(3);
	fd = socket(found->ai_family, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen))
		exit(4);
	return fd;
}

int main(int argc, char **argv)
{
	void *library = dlopen(argv[1], RTLD_NOW);
	char text[1024], *host = argv[2];
	void *context, *tls;

	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	context = ((void *(*)(void *))function(library, "SSL_CTX_new"))(
		((void *(*)(void))function(library, "TLS_client_method"))());
	tls = ((void *(*)(void *))function(library, "SSL_new"))(context);
	((long (*)(void *, int, long, void *))function(library, "SSL_ctrl"))(
		tls, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, host);
	((int (*)(void *, int))function(library, "SSL_set_fd"))(tls, reach(host));
	if (((int (*)(void *))function(library, "SSL_connect"))(tls) != 1)
		return 5;
	snprintf(text, sizeof(text), "GET /?x=%s HTTP/1.1\r\nHost: %s\r\n\r\n", getenv("SECRET"),
		 host);
	((int (*)(void *, const void *, int))function(library, "SSL_write"))(tls, text,
									    strlen(text));
	return ((int (*)(void *, void *, int))function(library, "SSL_read"))(
		       tls, text, sizeof(text)) > 0 ? 0 : 6;
}
