/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Sockets: creation, connect, and sends that name their destination. */
#ifndef LEAKSTOP_SOCKET_BPF_H
#define LEAKSTOP_SOCKET_BPF_H

#include <bpf/bpf_endian.h>
#include "verdict.bpf.h"

#define AF_INET     2
#define AF_INET6    10
#define SOCK_STREAM 1
#define SOCK_DGRAM  2
#define DNS_PORT    53

#define REFUSE 0 /* a cgroup hook that returns 0 gives EPERM to the caller */
#define PASS   1

static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline void map_ipv4(__u8 ip[16], __u32 address)
{
	__builtin_memset(ip, 0, 10);
	ip[10] = ip[11] = 0xff;
	__builtin_memcpy(ip + 12, &address, 4);
}

static __always_inline int is_resolver(const __u8 ip[16])
{
	return bpf_map_lookup_elem(&resolvers, ip) != 0;
}

/*
 * Refused and to be killed: at once where the kernel can, else the agent does it. A packet runs
 * on any process's stack, so only the owner of the socket is killed.
 */
static __always_inline __u8 kill_owner(const struct judgement *j, __u32 owner)
{
	if (j->carriage != CARRIAGE_KILL || !cfg.signal || current_pid() != owner)
		return 0;
	return bpf_send_signal(9) == 0;
}

struct attempt {
	struct target target;
	__u32 pid;
	__u8 via;
	__u8 pad[3];
};

static __always_inline void report_attempt(const struct attempt *a, const struct judgement *j,
					   const struct mark *mark, __u8 killed)
{
	struct event_connect event = {
		.head = { .kind = EVENT_CONNECT, .pid = a->pid, .ts = bpf_ktime_get_boot_ns() },
		.port = a->target.port,
		.protocol = a->target.protocol,
		.via = a->via,
		.judged = *j,
		.killed = killed,
	};

	__builtin_memcpy(event.ip, a->target.ip, 16);
	if (mark) {
		event.head.start = mark->start;
		event.hit_count = mark->hits.count;
		for (int i = 0; i < HITS_MAX; i++)
			event.hits[i] = mark->hits.needle[i];
	}
	emit(&event, sizeof(event));
}

/* Writes down who uses the socket. Fails only when the kernel has no memory for it. */
static __always_inline struct sock_note *note_socket(struct bpf_sock *sk, __u32 pid,
						     const struct mark *mark)
{
	struct sock_note *note = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!note) {
		lose(LOSS_SOCKETS);
		return 0;
	}
	note->pid = pid;
	if (mark)
		note->mark = *mark;
	else
		note->mark.hits.count = 0;
	return note;
}

static __always_inline void remember_peer(struct sock_note *note, const struct attempt *a,
					  __u32 flags)
{
	note->target = a->target;
	note->flags = flags;
}

SEC("cgroup/sock_create")
int on_socket(struct bpf_sock *sk)
{
	struct attempt a = {
		.target.protocol = sk->protocol,
		.pid = current_pid(),
		.via = VIA_SOCKET,
	};
	struct mark *mark = bpf_map_lookup_elem(&marks, &a.pid);
	struct judgement j;

	if (sk->family != AF_INET && sk->family != AF_INET6)
		return PASS;
	if ((sk->type == SOCK_STREAM && a.target.protocol == TCP) ||
	    (sk->type == SOCK_DGRAM && (a.target.protocol == UDP || a.target.protocol == ICMP ||
					a.target.protocol == ICMPV6)))
		return note_socket(sk, a.pid, mark) || !cfg.block ? PASS : REFUSE;
	/* Raw sockets and other transports: no later hook could judge what they send. */
	j = unjudgeable(REASON_PROTOCOL);
	if (mark && mark->hits.count) {
		struct vec none = {};
		struct exposure exposure = { .bare = 1 };

		apply_carriage(&j, judge_secrets(&mark->hits, &none, &exposure));
	}
	report_attempt(&a, &j, mark, kill_owner(&j, a.pid));
	return j.applied == ACTION_ALLOW ? PASS : REFUSE;
}

static __always_inline int on_attempt(struct bpf_sock_addr *ctx, struct attempt *a)
{
	struct mark *mark = bpf_map_lookup_elem(&marks, &a->pid);
	struct sock_note *note = ctx->sk ? note_socket(ctx->sk, a->pid, mark) : 0;
	struct judgement j;

	if (a->target.protocol == UDP && a->target.port == DNS_PORT && note &&
	    is_resolver(a->target.ip)) {
		remember_peer(note, a, SOCK_DNS);
		return PASS; /* the packet hook judges the name in it */
	}
	if (judge(&a->target, mark, &j))
		return REFUSE;
	if (!note && cfg.block)
		j.applied = ACTION_DENY;
	if (a->via == VIA_CONNECT && note && a->target.protocol != TCP) {
		/*
		 * Connecting a datagram socket sends nothing: getaddrinfo() does it to every
		 * address to sort them (RFC 6724). The packet hook judges what is sent later.
		 */
		remember_peer(note, a, SOCK_JUDGED);
		note->judged = j;
		return PASS;
	}
	if (a->via == VIA_SEND) {
		struct sent_key key = { .port = a->target.port,
					.judged = j.applied | j.carriage << 8 };
		__u8 one = 1;

		key.cookie = bpf_get_socket_cookie(ctx);
		__builtin_memcpy(key.ip, a->target.ip, 16);
		if (note) {
			remember_peer(note, a, SOCK_JUDGED | SOCK_TOLD);
			note->judged = j;
		}
		if (bpf_map_update_elem(&sent, &key, &one, BPF_NOEXIST) &&
		    j.carriage != CARRIAGE_KILL)
			return j.applied == ACTION_ALLOW ? PASS : REFUSE;
	}
	report_attempt(a, &j, mark, kill_owner(&j, a->pid));
	return j.applied == ACTION_ALLOW ? PASS : REFUSE;
}

static __always_inline int on_ipv4(struct bpf_sock_addr *ctx, __u8 via)
{
	struct attempt a = {
		.target.protocol = ctx->protocol,
		.target.port = bpf_ntohs(ctx->user_port),
		.pid = current_pid(),
		.via = via,
	};

	map_ipv4(a.target.ip, ctx->user_ip4);
	return on_attempt(ctx, &a);
}

static __always_inline int on_ipv6(struct bpf_sock_addr *ctx, __u8 via)
{
	__u32 words[4] = {
		ctx->user_ip6[0],
		ctx->user_ip6[1],
		ctx->user_ip6[2],
		ctx->user_ip6[3],
	};
	struct attempt a = {
		.target.protocol = ctx->protocol,
		.target.port = bpf_ntohs(ctx->user_port),
		.pid = current_pid(),
		.via = via,
	};

	__builtin_memcpy(a.target.ip, words, 16);
	return on_attempt(ctx, &a);
}

SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	return on_ipv4(ctx, VIA_CONNECT);
}

SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	return on_ipv6(ctx, VIA_CONNECT);
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	return on_ipv4(ctx, VIA_SEND);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	return on_ipv6(ctx, VIA_SEND);
}

#endif
