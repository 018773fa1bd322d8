/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Every packet on its way out of the guarded processes. */
#ifndef LEAKSTOP_EGRESS_BPF_H
#define LEAKSTOP_EGRESS_BPF_H

#include "payload.bpf.h"
#include "segment.bpf.h"

/* What the kernel itself says without a socket of the job: RFC 792, 4443, 4861, 3810. */
static __always_inline int is_kernels_own(struct __sk_buff *skb, const struct packet *p)
{
	__u8 type;

	if (p->protocol == IGMP || (p->odd && p->protocol == HOP_BY_HOP))
		return 1; /* multicast membership; MLD has a router alert in front (RFC 2711) */
	if (bpf_skb_load_bytes(skb, p->payload, &type, 1))
		return 0;
	if (p->protocol == ICMP)
		return type == 0 || type == 3 || type == 11 || type == 12;
	return p->protocol == ICMPV6 && ((type >= 1 && type <= 4) || (type >= 129 && type <= 143));
}

/*
 * Somebody who is guarded answers as the resolver: from its address, which root can take, or in
 * the place of a stub that has gone. What such an answer says would be learned. Returns whether it
 * may leave.
 */
__weak __noinline int on_answer(struct __sk_buff *skb, const struct packet *p,
				const struct sock_note *note)
{
	struct judgement j = unjudgeable(REASON_RESOLVER);
	struct attempt a = { .via = VIA_SEND };
	__u8 source[16], *resolver;

	if (!p || !note)
		return !cfg.block;
	__builtin_memcpy(source, p->source, 16); /* to 6.1 an argument's memory holds no key */
	resolver = bpf_map_lookup_elem(&resolvers, source);
	if (!resolver || !(*resolver & RESOLVER_APART))
		return 1;
	a.cookie = bpf_get_socket_cookie(skb);
	a.pid = note->pid;
	aim(&a, p);
	if (is_news(&a, &j))
		report_attempt(&a, &j, 0, 0);
	return j.applied == ACTION_ALLOW;
}

static __always_inline int is_answer(const struct packet *p, const struct sock_note *note)
{
	return p->source_port == DNS_PORT && note;
}

static __always_inline int on_udp(struct __sk_buff *skb, struct packet *p, struct sock_note *note)
{
	if (read_udp(skb, p))
		return !cfg.block;
	if (is_answer(p, note) && !on_answer(skb, p, note))
		return 0;
	/* Behind DNAT the socket knows, not the packet. */
	if (is_resolvers_port(p->target, p->target_port) ||
	    (note && note->flags & SOCK_DNS && is_to_resolver(skb, p)))
		return on_question(skb, p, note);
	if (p->target_port == DNS_PORT && cfg.scans && carries_secret(skb, p, note))
		return 0;
	return note ? on_datagram(skb, p, note) : on_stray(skb, p);
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	struct sock_note *note = 0;
	struct packet p = {};
	struct bpf_sock *sk;
	int pass;

	if (read_ip(skb, &p))
		return cfg.block ? REFUSE : PASS;
	sk = skb->sk;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk)
		note = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (p.odd && note && cfg.block)
		return REFUSE;
	if (note && note->flags & SOCK_TRUSTED)
		return PASS;
	if (p.protocol == TCP) {
		if (read_tcp(skb, &p))
			return cfg.block ? REFUSE : PASS;
		if (is_answer(&p, note) && !on_answer(skb, &p, note))
			return REFUSE;
		pass = (note && is_settled(skb, note, &p)) || on_segment(skb, &p, note);
	} else if (p.protocol == UDP) {
		pass = on_udp(skb, &p, note);
	} else {
		pass = note ? on_datagram(skb, &p, note) : !cfg.block || is_kernels_own(skb, &p);
		p.len = skb->len > p.payload ? skb->len - p.payload : 0;
	}
	if (pass && note && is_open(skb, note, &p))
		pass = on_payload(skb, &p, note);
	return pass ? PASS : REFUSE;
}

#endif
