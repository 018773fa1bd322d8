/* SPDX-License-Identifier: MIT
 *
 * Makes a child where, and with the number that, somebody wants, and lets it run a command:
 *
 *	clone CGROUP NUMBER COMMAND...
 *
 * An empty CGROUP is the parent's, a NUMBER of 0 the next one. Ends with the command's exit code.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct clone_args how = { .exit_signal = SIGCHLD };
	pid_t number, child;
	int status;

	if (argc < 4)
		return 2;
	if (*argv[1]) {
		how.flags = CLONE_INTO_CGROUP;
		how.cgroup = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	number = atoi(argv[2]);
	if (number) {
		how.set_tid = (uintptr_t)&number;
		how.set_tid_size = 1;
	}
	child = syscall(SYS_clone3, &how, sizeof(how));
	if (!child) {
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("clone3");
		return 126;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
