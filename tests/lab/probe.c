/* SPDX-License-Identifier: MIT
 *
 * Tries what leads around the hooks of a guard, and prints a line for each: a name and the errno
 * it failed with, 0 if it went through. What succeeds is closed again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void report(const char *name, long result)
{
	printf("%s %d\n", name, result < 0 ? errno : 0);
	if (result > 2)
		close(result);
}

static void try_socket(const char *name, long family, long type, long protocol)
{
	report(name, syscall(SYS_socket, family, type, protocol));
}

#ifdef __x86_64__
/* As a 32-bit program calls the kernel. */
static long legacy(long number, long a, long b, long c)
{
	long result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(0L), "D"(0L)
		     : "memory", "r8", "r9", "r10", "r11");
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
}

static void try_foreign(void)
{
	unsigned *low = mmap(0, 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	low[0] = 17, low[1] = 3, low[2] = 0;
	report("int80-socket-packet", legacy(359, 17, 3, 0));
	report("int80-socketcall-packet", legacy(102, 1, (long)low, 0));
	report("int80-io_uring", legacy(425, 1, 0, 0));
	report("int80-bpf", legacy(357, 0, 0, 0));
	report("int80-getpid", legacy(20, 0, 0, 0) > 0 ? 0 : -1);
	report("x32-getpid", syscall(0x40000000 | SYS_getpid) > 0 ? 0 : -1);
}
#else
static void try_foreign(void)
{
}
#endif

int main(void)
{
	int pair[2];

	try_socket("packet-raw", 17, 3, 0);
	try_socket("packet-dgram", 17, 2, 0);
	try_socket("packet-upper-half", 0x100000011, 3, 0);
	try_socket("inet-sock-packet", 2, 10, 0);
	try_socket("vsock", 40, 1, 0);
	try_socket("xdp", 44, 3, 0);
	report("socketpair-tipc", syscall(SYS_socketpair, 30, 1, 0, pair));
	report("io_uring", syscall(SYS_io_uring_setup, 1, 0));
	report("io_uring-enter", syscall(SYS_io_uring_enter, -1, 0, 0, 0, 0, 0));
	report("bpf", syscall(SYS_bpf, -1, 0, 0));
	try_foreign();
	try_socket("inet-stream", 2, 1, 0);
	try_socket("inet6-dgram", 10, 2, 0);
	try_socket("unix", 1, 1, 0);
	try_socket("netlink", 16, 3, 0);
	report("socketpair-unix", syscall(SYS_socketpair, 1, 1, 0, pair));
	report("no-new-privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) ? -1 : 0);
	return 0;
}
