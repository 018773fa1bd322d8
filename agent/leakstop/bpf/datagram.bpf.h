/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Packets on their way out: questions, and datagrams that are held to their socket's verdict. */
#ifndef LEAKSTOP_DATAGRAM_BPF_H
#define LEAKSTOP_DATAGRAM_BPF_H

#include "question.bpf.h"

static __always_inline int same_peer(const struct sock_note *note, const struct packet *p)
{
	return word_at(note->target.ip) == word_at(p->target) &&
	       word_at(note->target.ip + 8) == word_at(p->target + 8) &&
	       note->target.port == p->target_port;
}

static __always_inline int on_datagram(const struct packet *p, struct sock_note *note)
{
	struct attempt a = {
		.target.protocol = p->protocol,
		.target.port = p->target_port,
		.pid = note->pid,
		.via = VIA_SEND,
	};
	struct judgement j = note->judged;

	__builtin_memcpy(a.target.ip, p->target, 16);
	if (!(note->flags & SOCK_JUDGED) || !same_peer(note, p)) {
		if (judge(&a.target, &note->mark, &j))
			return REFUSE;
		note->judged = j;
		remember_peer(note, &a, SOCK_JUDGED);
	}
	if (!(note->flags & SOCK_TOLD)) {
		note->flags |= SOCK_TOLD;
		report_attempt(&a, &j, &note->mark, kill_owner(&j, a.pid));
	}
	return j.applied == ACTION_ALLOW ? PASS : REFUSE;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	struct packet p = {};
	struct sock_note *note = 0;
	struct bpf_sock *sk;

	if (read_ip(skb, &p))
		return cfg.block ? REFUSE : PASS;
	if (p.protocol == TCP)
		return PASS; /* judged at connect */
	sk = skb->sk;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk)
		note = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (p.odd && note && cfg.block)
		return REFUSE;
	if (p.protocol == UDP) {
		if (read_udp(skb, &p))
			return cfg.block ? REFUSE : PASS;
		/* Docker's resolver is behind DNAT: there the socket knows, not the packet. */
		if ((p.target_port == DNS_PORT && is_resolver(p.target)) ||
		    (note && note->flags & SOCK_DNS))
			return on_question(skb, &p, note);
		if (p.target_port == DNS_PORT && cfg.needles && carries_secret(skb, &p, note))
			return REFUSE;
	}
	/* No note: the kernel's own (neighbour discovery), or older than the guard. */
	return note ? on_datagram(&p, note) : PASS;
}

#endif
