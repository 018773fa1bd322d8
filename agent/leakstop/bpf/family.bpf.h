/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Sockets of families that no cgroup hook is asked about: packet sockets, AF_VSOCK, AF_XDP.
 * Under `leakstop run` a seccomp filter refuses them, and says nothing; so they are looked at
 * when socket(2) returns, whatever it returns. Explains only, and denies nothing.
 */
#ifndef LEAKSTOP_FAMILY_BPF_H
#define LEAKSTOP_FAMILY_BPF_H

#include "lineage.bpf.h"
#include "socket.bpf.h"

#define AF_UNIX     1
#define AF_NETLINK  16
#define AF_ALG      38
#define SOCK_PACKET 10 /* with AF_INET: a packet socket, as Linux 2.0 had it */
#define SOCK_TYPE   0xf
#define EPERM       1

/* What cannot reach a network, or is judged by the socket hooks. */
static __always_inline int is_known_family(__u32 family, __u32 type)
{
	if (family == AF_INET)
		return (type & SOCK_TYPE) != SOCK_PACKET;
	return family == AF_UNIX || family == AF_INET6 || family == AF_NETLINK || family == AF_ALG;
}

SEC("tracepoint/syscalls/sys_exit_socket")
int on_family(struct call_return *ctx)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct attempt a = { .via = VIA_SOCKET, .pid = current_pid() };
	struct judgement j = unjudgeable(REASON_PROTOCOL);
	__u32 family = first_argument(regs), type = second_argument(regs);

	if (is_known_family(family, type) || !is_guarded())
		return 0;
	if (ctx->result < 0 && (ctx->result != -EPERM || !cfg.block))
		return 0; /* the kernel has none, or the caller no right to it */
	a.family = family == AF_INET ? AF_PACKET : family;
	j.applied = ctx->result < 0 ? ACTION_DENY : ACTION_ALLOW;
	report_attempt(&a, &j, 0, 0);
	return 0;
}

#endif
