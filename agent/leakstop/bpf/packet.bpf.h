/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reading packets: addresses, ports, and the DNS message in them. */
#ifndef LEAKSTOP_PACKET_BPF_H
#define LEAKSTOP_PACKET_BPF_H

#include "socket.bpf.h"

#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86dd
#define UDP_HEADER 8

struct packet {
	__u8 source[16];
	__u8 target[16];
	__u16 source_port;
	__u16 target_port;
	__u32 payload; /* offset */
	__u32 len;     /* of the payload */
	__u8 protocol;
	__u8 odd; /* IP options or extension headers: the ports are not where they seem */
	__u8 pad[2];
};

static __always_inline int read_ip(struct __sk_buff *skb, struct packet *p)
{
	__u8 head[40];

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, head, 20))
			return -1;
		p->protocol = head[9];
		p->odd = (head[0] & 0x0f) != 5;
		map_ipv4(p->source, *(__u32 *)(head + 12));
		map_ipv4(p->target, *(__u32 *)(head + 16));
		p->payload = 20;
		return 0;
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || bpf_skb_load_bytes(skb, 0, head, 40))
		return -1;
	p->protocol = head[6];
	p->odd = p->protocol != TCP && p->protocol != UDP && p->protocol != ICMPV6;
	__builtin_memcpy(p->source, head + 8, 16);
	__builtin_memcpy(p->target, head + 24, 16);
	p->payload = 40;
	return 0;
}

static __always_inline int read_udp(struct __sk_buff *skb, struct packet *p)
{
	__u16 head[4];

	if (bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)))
		return -1;
	p->source_port = bpf_ntohs(head[0]);
	p->target_port = bpf_ntohs(head[1]);
	p->payload += UDP_HEADER;
	p->len = skb->len > p->payload ? skb->len - p->payload : 0;
	return 0;
}

/* Copies the first MESSAGE_MAX bytes of the payload; returns how many, 0 if it cannot. */
static __always_inline __u32 load_payload(struct __sk_buff *skb, const struct packet *p, __u8 *to)
{
	__u32 len = p->len;

	if (len > MESSAGE_MAX)
		len = MESSAGE_MAX;
	len -= HEADER_LEN; /* 6.1's verifier learns nothing from `len < 12` */
	barrier_var(len);  /* nor, if clang folds the two, from this */
	if (len > MESSAGE_MAX - HEADER_LEN)
		return 0;
	len += HEADER_LEN;
	barrier_var(len);
	return bpf_skb_load_bytes(skb, p->payload, to, len) ? 0 : len;
}

static __always_inline int read_message(struct __sk_buff *skb, const struct packet *p,
					struct message *m)
{
	m->len = load_payload(skb, p, m->bytes);
	return m->len ? 0 : -1;
}

static __always_inline int read_window(struct __sk_buff *skb, const struct packet *p,
				       struct window *w)
{
	w->from = 0;
	w->to = load_payload(skb, p, w->bytes);
	return w->to ? 0 : -1;
}

static __always_inline __u16 be16_at(const struct message *m, __u32 at)
{
	return m->bytes[at & (MESSAGE_MAX - 1)] << 8 | m->bytes[(at + 1) & (MESSAGE_MAX - 1)];
}

#endif
