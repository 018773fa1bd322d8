/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which process stands behind a port of this machine: what connects there may have its data
 * relayed outwards by that one. Explains only, and denies nothing.
 */
#ifndef LEAKSTOP_BIND_BPF_H
#define LEAKSTOP_BIND_BPF_H

#include "socket.bpf.h"

/* After bind(2) has found a port, also where none was asked for. */
static __always_inline int report_bind(struct bpf_sock *sk, struct event_bind *event)
{
	if (sk->type != SOCK_STREAM || sk->protocol != TCP)
		return PASS;
	event->head.kind = EVENT_BIND;
	event->head.pid = current_pid();
	event->head.ts = bpf_ktime_get_boot_ns();
	event->port = sk->src_port;
	emit(event, sizeof(*event));
	return PASS;
}

SEC("cgroup/post_bind4")
int on_bind4(struct bpf_sock *sk)
{
	struct event_bind event = {};

	map_ipv4(event.ip, sk->src_ip4);
	return report_bind(sk, &event);
}

SEC("cgroup/post_bind6")
int on_bind6(struct bpf_sock *sk)
{
	struct event_bind event = {};
	__u32 words[4] = { sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3] };

	__builtin_memcpy(event.ip, words, 16);
	return report_bind(sk, &event);
}

#endif
