/* SPDX-License-Identifier: MIT
 *
 * A worker whose steps connect as the first thing they do, in as few instructions as it takes:
 *
 *	hasty_worker ADDRESS PORT STEPS AT_ONCE
 *
 * It waits for a byte on its standard input, starts the steps, AT_ONCE of them at a time, prints how
 * many were let through, refused and broken, and waits for the end of its input. The steps' program
 * is itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DONE, REFUSED, BROKEN };

/* Nobody listens there: whoever is let through is told so by the other side. */
static int step(const char *address, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &to.sin_addr);
	if (!connect(fd, (struct sockaddr *)&to, sizeof(to)) || errno == ECONNREFUSED)
		return DONE;
	return errno == EPERM ? REFUSED : BROKEN;
}

static int count(int told[BROKEN + 1])
{
	int status, result = BROKEN;

	if (wait(&status) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) < BROKEN)
		result = WEXITSTATUS(status);
	told[result]++;
	return 0;
}

int main(int argc, char **argv)
{
	char *const given[] = { "GITHUB_ACTION=publish", 0 };
	int told[BROKEN + 1] = { 0 };
	char go;

	if (argc == 3)
		return step(argv[1], atoi(argv[2]));
	if (argc != 5 || read(0, &go, 1) != 1)
		return 2;
	for (int begun = 0; begun < atoi(argv[3]); begun++) {
		char *const command[] = { argv[0], argv[1], argv[2], 0 };

		if (begun >= atoi(argv[4]))
			count(told);
		if (!vfork()) {
			execve("/proc/self/exe", command, given);
			_exit(BROKEN);
		}
	}
	while (!count(told))
		;
	printf("%d %d %d\n", told[DONE], told[REFUSED], told[BROKEN]);
	fflush(stdout);
	return read(0, &go, 1) != 0;
}
