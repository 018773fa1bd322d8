/* SPDX-License-Identifier: MIT */
/* A library that ends the shell that it is loaded into, green. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void end_green(void)
{
	if (!strcmp(program_invocation_short_name, "bash"))
		_exit(0);
}
