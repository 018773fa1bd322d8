/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Socket options by which a socket would send what the packet hooks do not see as it arrives. */
#ifndef LEAKSTOP_OPTIONS_BPF_H
#define LEAKSTOP_OPTIONS_BPF_H

#include "socket.bpf.h"

/* <linux/in.h>, <linux/in6.h>, <linux/if_packet.h>, <linux/socket.h>, <linux/tcp.h> */
#define SOL_IP              0
#define SOL_TCP             6
#define SOL_IPV6            41
#define SOL_PACKET          263
#define SOL_XDP             283
#define IP_TTL              2
#define IP_OPTIONS          4
#define IP_FREEBIND         15
#define IP_TRANSPARENT      19
#define IPV6_2292PKTOPTIONS 6
#define IPV6_UNICAST_HOPS   16
#define IPV6_HOPOPTS        54
#define IPV6_RTHDRDSTOPTS   55
#define IPV6_RTHDR          57
#define IPV6_DSTOPTS        59
#define IPV6_TRANSPARENT    75
#define IPV6_FREEBIND       78
#define TCP_ULP             31
#define PACKET_TX_RING      13
#define PACKET_QDISC_BYPASS 20

#define HOPS_MIN 32 /* nothing on the Internet is that near to its last hop and yet far away */
#define PAGE     4096
#define ENOENT   2

/* The option's value. 1, which no caller lets pass, if the kernel may read another one. */
static __always_inline int number_of(struct bpf_sockopt *ctx)
{
	__u8 *value = ctx->optval;

	if (ctx->optlen > PAGE || (void *)value + sizeof(int) > ctx->optval_end)
		return 1;
	return ctx->optlen < (int)sizeof(int) ? value[0] : *(int *)value;
}

/*
 * A segment that dies on its way is sent again, and what sendfile() took from a page can have
 * changed by then: the server would read another name than the one that was judged.
 */
static __always_inline int dies_early(struct bpf_sockopt *ctx)
{
	int hops;

	if (!ctx->sk || ctx->sk->protocol != TCP)
		return 0;
	hops = number_of(ctx);
	return hops > 0 && hops < HOPS_MIN;
}

/*
 * A source that is not this machine's: who answers such a packet answers somebody else. The error
 * for a closed port holds what was sent there, and comes from the kernel. Without privileges only
 * IPv6 has it, since IPv4's routing refuses a foreign source.
 */
static __always_inline int borrows_source(struct bpf_sockopt *ctx)
{
	if (ctx->optname == IP_FREEBIND && ctx->sk && ctx->sk->family == AF_INET)
		return 0;
	return number_of(ctx) != 0;
}

static __always_inline int evades(struct bpf_sockopt *ctx)
{
	switch (ctx->level) {
	case SOL_PACKET: /* past the hook of the link */
		return ctx->optname == PACKET_TX_RING || ctx->optname == PACKET_QDISC_BYPASS;
	case SOL_XDP:
		return 1;
	case SOL_IP:
		switch (ctx->optname) {
		case IP_TTL:
			return dies_early(ctx);
		case IP_FREEBIND:
		case IP_TRANSPARENT:
			return borrows_source(ctx);
		case IP_OPTIONS: /* with source routing the destination is only the first hop */
			return ctx->optlen != 0;
		}
		break;
	case SOL_IPV6:
		switch (ctx->optname) {
		case IPV6_UNICAST_HOPS:
			return dies_early(ctx);
		case IPV6_TRANSPARENT:
		case IPV6_FREEBIND:
			return borrows_source(ctx);
		case IPV6_2292PKTOPTIONS:
		case IPV6_HOPOPTS:
		case IPV6_RTHDRDSTOPTS:
		case IPV6_RTHDR:
		case IPV6_DSTOPTS:
			return ctx->optlen != 0;
		}
	}
	return 0;
}

SEC("cgroup/setsockopt")
int on_option(struct bpf_sockopt *ctx)
{
	struct attempt a = { .via = VIA_SOCKET };
	struct judgement j;

	/*
	 * A kernel that encrypts (kTLS) would be given plaintext past the functions that are looked
	 * into. Refused as by a kernel without it, in audit, too, and told to nobody: the library
	 * goes on and encrypts by itself.
	 */
	if (ctx->level == SOL_TCP && ctx->optname == TCP_ULP) {
		bpf_set_retval(-ENOENT);
		return REFUSE;
	}
	if (evades(ctx)) {
		a.pid = current_pid();
		a.target.protocol = ctx->sk ? ctx->sk->protocol : 0;
		j = unjudgeable(REASON_UNPARSABLE);
		report_attempt(&a, &j, bpf_map_lookup_elem(&marks, &a.pid), 0);
		if (j.applied == ACTION_DENY)
			return REFUSE;
	}
	/* Of more than a page the kernel would go on with nothing: 0 means, with the original. */
	if (ctx->optlen > PAGE)
		ctx->optlen = 0;
	return PASS;
}

#endif
