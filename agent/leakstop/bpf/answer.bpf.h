/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers of the trusted resolver teach addresses, before the program that asked can connect:
 * only to a question that was asked, only along the CNAME chain in the reply.
 */
#ifndef LEAKSTOP_ANSWER_BPF_H
#define LEAKSTOP_ANSWER_BPF_H

#include "image.bpf.h"
#include "dns_stream.bpf.h"

#define RECORDS_MAX 128
#define HINTS_MAX   64 /* parameters of a service record, and the addresses in them */
#define HINT_IPV4   4  /* RFC 9460, 14.3.2 */
#define HINT_IPV6   6

/* A short TTL would expire between the answer and a slow client's connect. */
#define TTL_FLOOR_S 60
#define TTL_GRACE_S 30
#define SECOND_NS   1000000000ULL

#define EXPIRES_TRIES 8

#define REPLY_CHUNKS_MAX 256 /* a segment has at most 64 KiB; a length is a chunk of its own */

/*
 * Another CPU may do the same for another name that leads here, so nothing is ever taken away:
 * bits are added, and the latest end counts.
 */
static __always_inline void learn(const __u8 ip[16], const struct vec *bits, __u64 expires)
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
	for (int i = 0; i < 4; i++)
		__sync_fetch_and_or(&old->bits.w[i], bits->w[i]);
	for (int i = 0; i < EXPIRES_TRIES; i++) {
		__u64 seen = *(volatile __u64 *)&old->expires;

		if (seen >= expires ||
		    __sync_val_compare_and_swap(&old->expires, seen, expires) == seen)
			return;
	}
}

/*
 * Whether an answer may lead there. Whoever writes a host of their own network into a policy
 * means it; a wildcard does not, since strangers may answer for a name below it.
 */
static __always_inline int is_believed(const struct network_node *node, __u32 own)
{
	if (!node || node->belief == BELIEF_ANY)
		return 1;
	return node->belief == BELIEF_OWN && own;
}

/* Learns from the address of 4 or 16 bytes at `data`. */
__weak __noinline int learn_address(struct scratch *s, __u32 data, __u32 len, __u32 ttl)
{
	struct address_key key = { .prefixlen = 128 };
	struct network_node *node;
	struct event_answer *event;
	struct record_walk *walk;
	__u32 count;

	if (!s)
		return -1;
	event = &s->answer;
	walk = &s->message.records;
	if (len == 4) {
		map_ipv4(key.ip, 0);
		for (int i = 0; i < 4; i++)
			key.ip[12 + i] = s->message.bytes[(data + i) & (MESSAGE_MAX - 1)];
	} else {
		for (int i = 0; i < 16; i++)
			key.ip[i] = s->message.bytes[(data + i) & (MESSAGE_MAX - 1)];
	}
	count = event->count;
	node = bpf_map_lookup_elem(&networks, &key);
	/* What is on this machine is open anyway. */
	if (!(node && node->local) && !bpf_map_lookup_elem(&neighbours, &key)) {
		if (is_believed(node, walk->own)) {
			struct vec bits = walk->bits;

			learn(key.ip, &bits,
			      walk->now + ((ttl > TTL_FLOOR_S ? ttl : TTL_FLOOR_S) + TTL_GRACE_S) *
						  SECOND_NS);
		} else if (count < ANSWERS_MAX) {
			event->refused |= 1ULL << count;
		}
	}
	if (ttl < event->ttl)
		event->ttl = ttl;
	if (count < ANSWERS_MAX) {
		__builtin_memcpy(event->address[count], key.ip, 16);
		event->count = count + 1;
	}
	return 0;
}

struct service {
	struct scratch *s;
	__u32 ttl;
	__u32 pad;
};

/* One step through a service record's parameters: a parameter, or an address in one. */
static long walk_hint(__u32 i, struct service *service)
{
	struct scratch *s = service->s;
	struct record_walk *walk = &s->message.records;
	__u32 key, at = walk->param;

	if (walk->hint && at + walk->hint <= walk->hint_end) {
		walk->param = at + walk->hint;
		learn_address(s, at, walk->hint, service->ttl);
		return 0;
	}
	if (walk->hint)
		at = walk->hint_end;
	if (at + 4 > walk->param_end)
		return 1;
	key = be16_at(&s->message, at);
	walk->hint_end = at + 4 + be16_at(&s->message, at + 2);
	if (walk->hint_end > walk->param_end)
		return 1;
	walk->hint = key == HINT_IPV4 ? 4 : key == HINT_IPV6 ? 16 : 0;
	walk->param = walk->hint ? at + 4 : walk->hint_end;
	return 0;
}

/* HTTPS and SVCB (RFC 9460): an alias is followed like a CNAME, else the hints are addresses. */
static __always_inline void read_service(struct scratch *s, __u32 at, __u32 end, __u32 ttl)
{
	struct message *m = &s->message;
	struct service service = { .s = s, .ttl = ttl };

	if (read_name(m, at + 2, 0) || m->walk.end > end)
		return;
	if (!be16_at(m, at)) {
		if (m->walk.out)
			m->records.owner = m->walk.hash;
		return;
	}
	m->records.hint = 0;
	m->records.param = m->walk.end;
	m->records.param_end = end;
	bpf_loop(HINTS_MAX, walk_hint, &service, 0);
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
		learn_address(*scratch, at, len, ttl);
	else if (type == TYPE_SVCB || type == TYPE_HTTPS)
		read_service(*scratch, at, at + len, ttl);
	return 0;
}

static __always_inline void report_answer(struct scratch *s)
{
	struct event_answer *event = &s->answer;
	__u32 size = event->count;

	if (!size || size > ANSWERS_MAX)
		return;
	event->head.kind = EVENT_ANSWER;
	event->head.pid = 0;
	event->head.ts = s->message.records.now;
	event->head.start = 0;
	event->name_len = s->message.name_len;
	__builtin_memcpy(event->name, s->message.name, sizeof(event->name));
	emit(event, offsetof(struct event_answer, address) + size * 16);
}

/* Learns from the message that was read, if the socket asked for it. */
__weak __noinline int learn_answer(struct scratch *s, __u64 cookie)
{
	struct asked_key key = { .cookie = cookie };
	struct asked *asked;
	struct message *m;

	if (!s)
		return -1;
	m = &s->message;
	if (!(m->bytes[2] & 0x80) || be16_at(m, 4) != 1 || read_name(m, HEADER_LEN, 1) ||
	    m->walk.end + 4 > m->len) {
		lose(LOSS_ANSWERS);
		return -1;
	}
	key.id = be16_at(m, 0);
	key.qtype = be16_at(m, m->walk.end);
	asked = bpf_map_lookup_elem(&asked_questions, &key);
	if (!asked || asked->name_hash != m->walk.hash)
		return 0; /* nobody asked */
	m->records.owner = m->walk.hash;
	m->records.now = bpf_ktime_get_boot_ns();
	m->records.bits = asked->bits;
	m->records.own = asked->own;
	m->records.at = m->walk.end + 4;
	m->records.left = be16_at(m, 6);
	m->records.bad = 0;
	s->answer.count = 0;
	s->answer.refused = 0;
	s->answer.ttl = 0xffffffff;
	bpf_loop(RECORDS_MAX, walk_record, &s, 0);
	if (m->records.bad || m->records.left)
		lose(LOSS_ANSWERS); /* what was read before it holds */
	report_answer(s);
	return 0;
}

struct reply {
	struct __sk_buff *skb;
	struct scratch *s;
	struct dns_stream *stream;
	__u64 cookie;
};

/* A reply is complete. Of one that is longer than a message the rest is not read. */
static __always_inline void take_reply(struct reply *reply)
{
	struct message *m = &reply->s->message;
	__u32 len = reply->stream->have - LENGTH_BYTES;

	if (len > MESSAGE_MAX - LENGTH_BYTES)
		len = MESSAGE_MAX - LENGTH_BYTES;
	len -= HEADER_LEN; /* as load_payload() */
	barrier_var(len);
	if (len > MESSAGE_MAX - HEADER_LEN)
		return;
	len += HEADER_LEN;
	barrier_var(len);
	if (bpf_probe_read_kernel(m->bytes, len, reply->stream->bytes + LENGTH_BYTES))
		return;
	m->len = len;
	learn_answer(reply->s, reply->cookie);
}

/* Copies the next bytes of a reply, at most to its end. */
static long take_bytes(__u32 i, struct reply *reply)
{
	struct dns_stream *stream = reply->stream;
	struct part_walk *walk = &reply->s->part;
	__u32 have = stream->have, len = LENGTH_BYTES;

	if (walk->at >= walk->end)
		return 1;
	if (have >= LENGTH_BYTES)
		len += stream->bytes[0] << 8 | stream->bytes[1];
	len -= have;
	if (len > walk->end - walk->at)
		len = walk->end - walk->at;
	if (len > REPLY_CHUNK)
		len = REPLY_CHUNK;
	if (have < MESSAGE_MAX && len) {
		len -= 1;
		barrier_var(len);
		if (len >= REPLY_CHUNK)
			return 1;
		len += 1;
		barrier_var(len);
		if (bpf_skb_load_bytes(reply->skb, walk->at,
				       stream->bytes + (have & (MESSAGE_MAX - 1)), len)) {
			stream->heard = 0;
			return 1;
		}
	}
	have += len;
	walk->at += len;
	stream->have = have;
	if (have >= LENGTH_BYTES &&
	    have == LENGTH_BYTES + (stream->bytes[0] << 8 | stream->bytes[1])) {
		take_reply(reply);
		stream->have = 0;
	}
	return 0;
}

/* A segment from the trusted resolver. Refused, the resolver sends it again. */
static __always_inline int on_dns_reply(struct __sk_buff *skb, struct bpf_sock *sk,
					const struct packet *p)
{
	struct reply reply = { .skb = skb };
	struct dns_stream *stream = sk ? bpf_sk_storage_get(&dns_streams, sk, 0, 0) : 0;
	__s32 behind;

	if (!stream)
		return PASS; /* older than the guard: not learned from */
	if (p->tcp_flags & TCP_SYN) {
		stream->expected = p->seq + 1;
		stream->heard = 1;
		stream->have = 0;
		return PASS;
	}
	behind = distance(p->seq, stream->expected);
	if (!stream->heard || !p->len || behind >= (__s32)p->len)
		return PASS;
	if (behind < 0) /* the program must not read what was not learned from */
		return REFUSE;
	reply.s = claim();
	if (!reply.s)
		return REFUSE;
	reply.stream = stream;
	reply.cookie = bpf_get_socket_cookie(skb);
	reply.s->part.at = p->payload + behind;
	reply.s->part.end = p->payload + p->len;
	bpf_loop(REPLY_CHUNKS_MAX, take_bytes, &reply, 0);
	if (reply.s->part.at < reply.s->part.end) {
		stream->heard = 0;
		lose(LOSS_ANSWERS);
	}
	stream->expected = p->seq + p->len;
	release(reply.s);
	return PASS;
}

static __always_inline void on_dns_datagram(struct __sk_buff *skb, const struct packet *p)
{
	struct scratch *s = claim();

	if (!s)
		return; /* not learned, so denied later */
	if (read_message(skb, p, &s->message))
		lose(LOSS_ANSWERS);
	else
		learn_answer(s, bpf_get_socket_cookie(skb));
	release(s);
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct sock_note *note;
	struct packet p = {};
	__u8 *resolver;

	if (read_ip(skb, &p) || p.odd)
		return PASS;
	if (!(p.protocol == TCP && !read_tcp(skb, &p)) &&
	    !(p.protocol == UDP && !read_udp(skb, &p)))
		return PASS;
	note = sk ? bpf_sk_storage_get(&socks, sk, 0, 0) : 0;
	if (p.protocol == TCP && is_too_early(note, &p))
		return REFUSE;
	resolver = bpf_map_lookup_elem(&resolvers, p.source);
	if (p.source_port != DNS_PORT || !resolver)
		return PASS;
	if (skb->ifindex == LOOPBACK_DEVICE && !(*resolver & RESOLVER_HERE))
		return PASS; /* somebody has given its address to this machine */
	if (note && note->foreign)
		return PASS; /* whoever made that network can be the resolver in it */
	if (p.protocol == TCP)
		return on_dns_reply(skb, sk, &p);
	on_dns_datagram(skb, &p);
	return PASS;
}

#endif
