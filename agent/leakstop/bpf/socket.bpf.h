/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Sockets: creation, connect, and sends that name their destination. */
#ifndef LEAKSTOP_SOCKET_BPF_H
#define LEAKSTOP_SOCKET_BPF_H

#include <bpf/bpf_endian.h>
#include "attempt.bpf.h"
#include "kernel.h"
#include "flows.bpf.h"
#include "owner.bpf.h"

#define AF_INET         2
#define AF_INET6        10
#define AF_PACKET       17
#define SOCK_STREAM     1
#define SOCK_DGRAM      2
#define DNS_PORT        53
#define MPTCP           262 /* IPPROTO_MPTCP: more than the eight bits of the others */
#define EPROTONOSUPPORT 93

#define REFUSE 0 /* a cgroup hook that returns 0 gives EPERM to the caller */
#define PASS   1

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
 * Where the trusted resolver is asked. Docker's, 127.0.0.11, listens on a port of its own, to which
 * a rule of netfilter leads: on the way to a packet hook or by whoever knows the port.
 */
static __always_inline int is_resolvers_port(const __u8 ip[16], __u16 port)
{
	const __u64 *words = (const void *)ip;
	int is_dockers = !words[0] && words[1] == bpf_cpu_to_be64(0xffff7f00000b);

	return (port == DNS_PORT || is_dockers) && is_resolver(ip);
}

/*
 * Whether this process's network was made without privileges, in a user namespace: there anyone
 * can have the resolver's address and answer as he likes. What cannot be read is.
 */
static __always_inline int in_foreign_network(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct user_namespace *owner;
	struct nsproxy *spaces;
	struct net *network;
	int level;

	return READ_FIELD(spaces, task, nsproxy) || READ_FIELD(network, spaces, net_ns) ||
	       READ_FIELD(owner, network, user_ns) || READ_FIELD(level, owner, level) || level;
}

/* A TCP stream that has to show for whom it is meant. */
struct stream_note {
	struct stream stream;
	__u64 several;      /* its last segment is for more than one host */
	struct place place; /* as at connect; behind a proxy what its name leads to */
	struct place shown; /* the same with what the stream shows now */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream_note);
} streams SEC(".maps");

/* Writes down who uses the socket. Fails only when the kernel has no memory for it. */
static __always_inline struct sock_note *note_socket(struct bpf_sock *sk, __u64 netns, __u32 pid,
						     const struct mark *mark)
{
	struct sock_note *note = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!note) {
		lose(LOSS_SOCKETS);
		return 0;
	}
	note->pid = pid;
	note->netns = netns;
	if (mark)
		note->mark = *mark;
	else
		note->mark.hits.count = 0;
	return note;
}

/*
 * Several threads may send through a datagram socket at once, to different peers, and a verdict
 * must not be read with another one's target. Whoever does not get hold of it judges anew, and
 * leaves no verdict: so nobody waits.
 */
static __always_inline int seize(struct sock_note *note)
{
	return !__sync_lock_test_and_set(&note->held, 1);
}

static __always_inline void let_go(struct sock_note *note)
{
	__sync_lock_test_and_set(&note->held, 0);
}

static __always_inline void remember_peer(struct sock_note *note, const struct target *target,
					  __u32 flags, struct judgement j)
{
	note->target = *target;
	note->flags = flags;
	note->judged = j;
}

/*
 * Whether what is sent there has to show for whom it is meant: an address is no identity. In
 * audit also where nothing is allowed, because the report is better for a name.
 */
static __always_inline int must_show(const struct attempt *a, const struct place *place,
				     const struct mark *mark)
{
	struct vec trusted;

	if (a->target.protocol != TCP || place->local)
		return 0;
	trust(place, &trusted);
	return !meets(&trusted, &cfg.allow) || (mark && mark->hits.count);
}

/* Lets the packet hook read the stream. Fails only when the kernel has no memory for it. */
static __always_inline int watch_stream(struct bpf_sock *sk, const struct place *place)
{
	struct stream_note *stream =
		bpf_sk_storage_get(&streams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!stream) {
		lose(LOSS_SOCKETS);
		return -1;
	}
	stream->place = *place;
	/* A SYN may not follow (TCP_REPAIR): what an earlier connection has shown is not shown. */
	stream->stream.protocol = NOT_BEGUN;
	return 0;
}

static __always_inline struct sock_note *open_socket(struct bpf_sock *sk, __u32 pid,
						     const struct mark *mark)
{
	struct sock_note *note = note_socket(sk, bpf_get_netns_cookie(sk), pid, mark);

	if (!note)
		return 0;
	note->foreign = in_foreign_network();
	if (cfg.scoped)
		sign(note, pid);
	return note;
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
	if (sk->protocol == MPTCP) {
		/*
		 * Its subflows have no note, and go where the peer says; what is written to TLS
		 * cannot be told to go there. Refused as by a kernel without it, in audit, too: who
		 * asks for MPTCP goes on with TCP, so nothing is reported.
		 */
		bpf_set_retval(-EPROTONOSUPPORT);
		return REFUSE;
	}
	if ((sk->type == SOCK_STREAM && a.target.protocol == TCP) ||
	    (sk->type == SOCK_DGRAM && (a.target.protocol == UDP || a.target.protocol == ICMP ||
					a.target.protocol == ICMPV6)))
		return open_socket(sk, a.pid, mark) || !cfg.block ? PASS : REFUSE;
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

static __always_inline void remember(struct sock_note *note, const struct attempt *a, __u32 flags,
				     struct judgement j)
{
	if (!seize(note))
		return;
	remember_peer(note, &a->target, flags, j);
	let_go(note);
}

static __always_inline int on_attempt(struct bpf_sock_addr *ctx, struct attempt *a)
{
	struct mark *mark = bpf_map_lookup_elem(&marks, &a->pid);
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct sock_note *note = ctx->sk ? note_socket(ctx->sk, netns, a->pid, mark) : 0;
	struct judgement j = {};
	struct vec who = {};
	struct place place;

	if (cfg.scoped)
		find_who(a->pid, note, &who);
	a->narrowed = note && note->narrowed;
	if ((a->target.protocol == UDP || a->target.protocol == TCP) && note &&
	    is_resolvers_port(a->target.ip, a->target.port)) {
		if (a->via == VIA_CONNECT && a->target.protocol == TCP) {
			/* Not among those that a TLS write may be for. */
			place = (struct place){ .local = 1 };
			keep_flow(bpf_get_socket_cookie(ctx), &a->target, &place);
		}
		remember(note, a, SOCK_DNS, j);
		return PASS; /* the packet hook judges the name in it */
	}
	if (judge(&a->target, mark, &who, &place, &j))
		return REFUSE;
	if (!note && cfg.block)
		j.applied = ACTION_DENY;
	if (a->via == VIA_CONNECT && note && a->target.protocol != TCP) {
		/*
		 * Connecting a datagram socket sends nothing: getaddrinfo() does it to every
		 * address to sort them (RFC 6724). The packet hook judges what is sent later.
		 */
		remember(note, a, SOCK_JUDGED, j);
		return PASS;
	}
	if (note) {
		__u32 flags = SOCK_JUDGED | SOCK_TOLD;

		if (j.applied == ACTION_ALLOW && must_show(a, &place, mark)) {
			flags |= SOCK_SHOWS | SOCK_WATCHED;
			if (watch_stream(ctx->sk, &place) && cfg.block)
				j.applied = ACTION_DENY;
		}
		if (a->via == VIA_CONNECT && j.applied == ACTION_ALLOW)
			keep_flow(bpf_get_socket_cookie(ctx), &a->target, &place);
		remember(note, a, flags, j);
	}
	if (a->via == VIA_SEND)
		a->cookie = bpf_get_socket_cookie(ctx);
	if (a->via == VIA_SEND && !is_news(a, &j) && j.carriage != CARRIAGE_KILL)
		return j.applied == ACTION_ALLOW ? PASS : REFUSE;
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
