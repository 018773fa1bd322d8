/* SPDX-License-Identifier: MIT
 *
 * Stands for sudo where there is none: on hosted runners the job's user may become root without
 * a password, and with `sudo -n -- COMMAND` that is all that this does.
 */
#define _GNU_SOURCE
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void remember(const char *name, unsigned id)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", id);
	setenv(name, text, 1);
}

int main(int argc, char **argv)
{
	if (argc < 4 || strcmp(argv[1], "-n") || strcmp(argv[2], "--"))
		return 1;
	clearenv();
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	remember("SUDO_UID", getuid());
	remember("SUDO_GID", getgid());
	if (setgroups(0, NULL) || setresgid(0, 0, 0) || setresuid(0, 0, 0))
		return 1;
	execv(argv[3], argv + 3);
	return 127;
}
