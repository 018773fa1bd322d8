/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers of the trusted resolver teach addresses, before the program that asked can connect:
 * only to a question that was asked, only along the CNAME chain in the reply.
 */
#ifndef LEAKSTOP_ANSWER_BPF_H
#define LEAKSTOP_ANSWER_BPF_H

#include "dns_message.bpf.h"
#include "packet.bpf.h"

#define RECORDS_MAX 128
#define TYPE_A      1
#define TYPE_CNAME  5
#define TYPE_AAAA   28
#define CLASS_IN    1

/* A short TTL would expire between the answer and a slow client's connect. */
#define TTL_FLOOR_S 60
#define TTL_GRACE_S 30
#define SECOND_NS   1000000000ULL

static __always_inline void learn(const __u8 ip[16], const struct vec *bits, __u64 expires,
				  __u64 now)
{
	struct learned fresh = { .bits = *bits, .expires = expires };
	struct learned *old = bpf_map_lookup_elem(&addresses, ip);

	if (!old) {
		if (!bpf_map_update_elem(&addresses, ip, &fresh, BPF_NOEXIST))
			return;
		old = bpf_map_lookup_elem(&addresses, ip); /* another CPU was first? */
		if (!old) {
			lose(LOSS_ADDRESSES);
			return;
		}
	}
	if (old->expires < now) {
		old->bits = *bits;
		old->expires = expires;
		return;
	}
	for (int i = 0; i < 4; i++)
		__sync_fetch_and_or(&old->bits.w[i], bits->w[i]);
	if (old->expires < expires)
		old->expires = expires;
}

static __always_inline void learn_record(struct scratch *s, __u32 data, __u32 len, __u32 ttl)
{
	struct message *m = &s->message;
	struct record_walk *walk = &m->records;
	struct event_answer *event = &s->answer;
	__u32 count = event->count;
	__u8 ip[16];

	if (len == 4) {
		map_ipv4(ip, 0);
		for (int i = 0; i < 4; i++)
			ip[12 + i] = m->bytes[(data + i) & (MESSAGE_MAX - 1)];
	} else {
		for (int i = 0; i < 16; i++)
			ip[i] = m->bytes[(data + i) & (MESSAGE_MAX - 1)];
	}
	learn(ip, &walk->bits,
	      walk->now + ((ttl > TTL_FLOOR_S ? ttl : TTL_FLOOR_S) + TTL_GRACE_S) * SECOND_NS,
	      walk->now);
	if (ttl < event->ttl)
		event->ttl = ttl;
	if (count < ANSWERS_MAX) {
		__builtin_memcpy(event->address[count], ip, 16);
		event->count = count + 1;
	}
}

static long walk_record(__u32 i, struct scratch **scratch)
{
	struct message *m = &(*scratch)->message;
	struct record_walk *walk = &m->records;
	__u32 at, type, class, ttl, len;

	if (!walk->left)
		return 1;
	walk->left--;
	if (read_name(m, walk->at, 0) || m->walk.end + 10 > m->len) {
		walk->bad = 1;
		return 1;
	}
	at = m->walk.end;
	type = be16_at(m, at);
	class = be16_at(m, at + 2);
	ttl = (__u32)be16_at(m, at + 4) << 16 | be16_at(m, at + 6);
	len = be16_at(m, at + 8);
	at += 10;
	if (at + len > m->len) {
		walk->bad = 1;
		return 1;
	}
	walk->at = at + len;
	if (class != CLASS_IN || m->walk.hash != walk->owner)
		return 0;
	if (type == TYPE_CNAME && !read_name(m, at, 0))
		walk->owner = m->walk.hash;
	else if ((type == TYPE_A && len == 4) || (type == TYPE_AAAA && len == 16))
		learn_record(*scratch, at, len, ttl);
	return 0;
}

static __always_inline void on_answer(struct __sk_buff *skb, const struct packet *p,
				      struct scratch *s)
{
	struct message *m = &s->message;
	struct event_answer *event = &s->answer;
	struct asked_key key = { .cookie = bpf_get_socket_cookie(skb) };
	struct asked *asked;
	__u32 size;

	if (read_message(skb, p, m) || !(m->bytes[2] & 0x80) || be16_at(m, 4) != 1 ||
	    read_name(m, HEADER_LEN, 1) || m->walk.end + 4 > m->len) {
		lose(LOSS_ANSWERS);
		return;
	}
	key.id = be16_at(m, 0);
	key.qtype = be16_at(m, m->walk.end);
	asked = bpf_map_lookup_elem(&asked_questions, &key);
	if (!asked || asked->name_hash != m->walk.hash)
		return; /* nobody asked */
	m->records.owner = m->walk.hash;
	m->records.now = bpf_ktime_get_boot_ns();
	m->records.bits = asked->bits;
	m->records.at = m->walk.end + 4;
	m->records.left = be16_at(m, 6);
	m->records.bad = 0;
	event->count = 0;
	event->ttl = 0xffffffff;
	bpf_loop(RECORDS_MAX, walk_record, &s, 0);
	if (m->records.bad || m->records.left)
		lose(LOSS_ANSWERS); /* what was read before it holds */
	size = event->count;
	if (!size || size > ANSWERS_MAX)
		return;
	event->head.kind = EVENT_ANSWER;
	event->head.pid = 0;
	event->head.ts = m->records.now;
	event->head.start = 0;
	event->name_len = m->name_len;
	__builtin_memcpy(event->name, m->name, sizeof(event->name));
	emit(event, offsetof(struct event_answer, address) + size * 16);
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	struct packet p = {};
	struct scratch *s;

	if (read_ip(skb, &p) || p.protocol != UDP || p.odd || read_udp(skb, &p))
		return PASS;
	if (p.source_port != DNS_PORT || !is_resolver(p.source))
		return PASS;
	s = claim();
	if (!s)
		return PASS; /* not learned, so denied later */
	on_answer(skb, &p, s);
	release(s);
	return PASS;
}

#endif
