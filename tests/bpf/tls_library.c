/* SPDX-License-Identifier: MIT */
/*
 * Looks like a TLS library from outside. A write says that it ran, by a byte on the standard
 * output, and does nothing else: not even with memory that is not there.
 */
#include <stddef.h>
#include <unistd.h>

long SSL_write(void *object, const void *data, size_t len)
{
	(void)object;
	(void)data;
	return write(1, "w", 1) == 1 ? (long)len : -1;
}

long SSL_ctrl(void *object, int command, long larg, void *parg)
{
	(void)object;
	(void)larg;
	(void)parg;
	return command;
}

void SSL_free(void *object)
{
	(void)object;
}

int gnutls_server_name_set(void *session, unsigned type, const void *name, size_t len)
{
	(void)session;
	(void)name;
	return type != 1 || !len;
}

int SSL_SetURL(void *fd, const char *name)
{
	(void)fd;
	return !name;
}
