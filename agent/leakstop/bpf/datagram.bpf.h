/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Packets that are held to a verdict about their address. Global functions, because a program
 * has 512 bytes of stack with all that it calls.
 */
#ifndef LEAKSTOP_DATAGRAM_BPF_H
#define LEAKSTOP_DATAGRAM_BPF_H

#include "dns_stream.bpf.h"

static __always_inline int is_peer(const struct target *target, const struct packet *p)
{
	return word_at(target->ip) == word_at(p->target) &&
	       word_at(target->ip + 8) == word_at(p->target + 8) && target->port == p->target_port;
}

static __always_inline int same_peer(const struct sock_note *note, const struct packet *p)
{
	return is_peer(&note->target, p);
}

static __always_inline void aim_at(struct target *target, const struct packet *p)
{
	target->protocol = p->protocol;
	target->port = p->target_port;
	__builtin_memcpy(target->ip, p->target, 16);
}

static __always_inline void aim(struct attempt *a, const struct packet *p)
{
	aim_at(&a->target, p);
}

/*
 * Judges a packet by its address, with scratch memory for what is known of that. Without a note
 * it is one of `others`.
 */
static __always_inline int judge_packet(const struct attempt *a, const struct sock_note *note,
					const volatile struct vec *others, struct judgement *j,
					__u8 *local)
{
	struct scratch *s = claim();
	int failed;

	if (!s)
		return -1;
	copy_vec(&s->who, note ? &note->who : others);
	failed = judge(&a->target, note ? &note->mark : 0, &s->who, &s->place, j);
	*local = s->place.local;
	release(s);
	return failed;
}

/* What was judged to stay here and does not. */
static __always_inline void disown(struct judgement *j)
{
	__u8 carriage = j->carriage;

	*j = unjudgeable(REASON_NOT_NAMED);
	j->carriage = carriage;
}

/*
 * Whether a packet to this machine says that it comes from elsewhere, as root can allow any IPv6
 * socket: the kernel's error for a closed port quotes it, to there, and no hook of ours sees that.
 */
static __always_inline int is_from_elsewhere(const struct packet *p)
{
	struct address_key key = { .prefixlen = 128 };
	struct network_node *node;

	__builtin_memcpy(key.ip, p->source, 16);
	if (!word_at(p->source) || (key.ip[0] == 0xfe && (key.ip[1] & 0xc0) == 0x80))
		return 0; /* IPv4, whose routing refuses it; loopback; no address of a network's */
	node = bpf_map_lookup_elem(&networks, &key);
	return !(node && node->local) && !bpf_map_lookup_elem(&neighbours, &key) &&
	       (word_at(p->source) != word_at(p->target) ||
		word_at(p->source + 8) != word_at(p->target + 8));
}

/* A packet of a datagram socket whose peer may have changed since its verdict. */
__weak __noinline int on_datagram(struct __sk_buff *skb, const struct packet *p,
				  struct sock_note *note)
{
	struct attempt a = { .via = VIA_SEND };
	struct judgement j = {};
	int held, known, told;
	__u8 local;

	if (!p || !note)
		return !cfg.block;
	a.pid = note->pid;
	a.narrowed = note->narrowed;
	aim(&a, p);
	held = seize(note);
	known = held && note->flags & SOCK_JUDGED && same_peer(note, p);
	told = known && note->flags & SOCK_TOLD;
	if (known) {
		j = note->judged;
	} else if (judge_packet(&a, note, &cfg.nobody, &j, &local)) {
		if (held)
			let_go(note);
		return !cfg.block;
	}
	if (j.reason == REASON_LOCAL &&
	    (leaves_machine(skb, p, note->netns) || is_from_elsewhere(p))) {
		disown(&j);
		told = 0;
	}
	if (held) {
		remember_peer(note, &a.target, SOCK_JUDGED | SOCK_TOLD, j);
		let_go(note);
	}
	if (!told) { /* else a socket that changes its peer with each packet would fill the ring */
		a.cookie = bpf_get_socket_cookie(skb);
		told = !is_news(&a, &j) && j.carriage != CARRIAGE_KILL;
	}
	if (!told)
		report_attempt(&a, &j, &note->mark, kill_owner(&j, a.pid));
	return j.applied == ACTION_ALLOW;
}

/* A packet of a socket that no hook of ours has seen: older than the guard, or the kernel's. */
__weak __noinline int on_stray(struct __sk_buff *skb, const struct packet *p)
{
	struct attempt a = { .via = VIA_OLDER };
	struct judgement j = {};
	__u8 local;

	if (!p)
		return !cfg.block;
	a.cookie = bpf_get_socket_cookie(skb);
	aim(&a, p);
	if (judge_packet(&a, 0, &cfg.nobody, &j, &local))
		return !cfg.block;
	if (local && leaves_machine(skb, p, 0)) {
		disown(&j);
		local = 0;
	}
	if (!local && is_news(&a, &j))
		report_attempt(&a, &j, 0, 0);
	return j.applied == ACTION_ALLOW;
}

#endif
