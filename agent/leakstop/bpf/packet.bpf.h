/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reading packets: addresses, ports, and the DNS message in them. */
#ifndef LEAKSTOP_PACKET_BPF_H
#define LEAKSTOP_PACKET_BPF_H

#include "socket.bpf.h"

#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86dd
#define HOP_BY_HOP 0
#define IGMP       2
#define UDP_HEADER 8
#define TCP_HEADER 20 /* without options */
#define TCP_SYN    0x02
#define TCP_URG    0x20

struct packet {
	__u8 source[16];
	__u8 target[16];
	__u16 source_port;
	__u16 target_port;
	__u32 payload; /* offset */
	__u32 len;     /* of the payload */
	__u32 seq;     /* TCP: of the first byte, the SYN's own number included */
	__u8 protocol;
	__u8 odd; /* IP options or extension headers: the ports are not where they seem */
	__u8 tcp_flags;
	__u8 pad;
	__u16 fragment; /* of IPv4: flag and offset, 0 for a whole packet */
	__u16 pad2;
};

/*
 * Reads the IP header at `at`: 0 for a socket's packet hook, behind the link's header for tc.
 * In pieces: a program has 512 bytes of stack with all that it calls.
 */
static __always_inline int read_ip_at(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	__u8 bytes[2];

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, at + 6, bytes, 2))
			return -1;
		p->fragment = (bytes[0] << 8 | bytes[1]) & 0x3fff;
		if (bpf_skb_load_bytes(skb, at, bytes, 1) ||
		    bpf_skb_load_bytes(skb, at + 9, &p->protocol, 1) ||
		    bpf_skb_load_bytes(skb, at + 12, p->source + 12, 4) ||
		    bpf_skb_load_bytes(skb, at + 16, p->target + 12, 4))
			return -1;
		p->source[10] = p->source[11] = p->target[10] = p->target[11] = 0xff;
		p->odd = (bytes[0] & 0x0f) != 5;
		p->payload = at + 20;
		return 0;
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, at + 6, &p->protocol, 1) ||
	    bpf_skb_load_bytes(skb, at + 8, p->source, 16) ||
	    bpf_skb_load_bytes(skb, at + 24, p->target, 16))
		return -1;
	p->odd = p->protocol != TCP && p->protocol != UDP && p->protocol != ICMPV6;
	p->payload = at + 40;
	return 0;
}

static __always_inline int read_ip(struct __sk_buff *skb, struct packet *p)
{
	return read_ip_at(skb, 0, p);
}

#define LOOPBACK_DEVICE 1 /* in each network namespace: LOOPBACK_IFINDEX of <net/net_namespace.h> */

/* 127.0.0.0/8 and ::1, which on the wire are somebody else's. */
static __always_inline int is_loopback(const __u8 ip[16])
{
	const __u64 *words = (const void *)ip;

	if (words[0])
		return 0;
	return words[1] == bpf_cpu_to_be64(1) ||
	       (ip[8] == 0 && ip[9] == 0 && ip[10] == 0xff && ip[11] == 0xff && ip[12] == 127);
}

/*
 * Whether a packet to an address of this machine leaves it all the same: SO_BINDTODEVICE and
 * IP_PKTINFO choose the device, and behind an uplink the address is somebody else's.
 */
static __always_inline int leaves_machine(struct __sk_buff *skb, const struct packet *p,
					  __u64 netns)
{
	__u32 index = skb->ifindex;
	struct device *device;

	if (index == LOOPBACK_DEVICE)
		return 0;
	if (is_loopback(p->target))
		return 1;
	device = bpf_map_lookup_elem(&devices, &index);
	return device && device->uplink && device->netns == netns;
}

/* The trusted resolver, or what its address is translated to on this machine. */
static __always_inline int is_to_resolver(struct __sk_buff *skb, const struct packet *p)
{
	return is_resolvers_port(p->target, p->target_port) ||
	       (skb->ifindex == LOOPBACK_DEVICE && is_loopback(p->target));
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

static __always_inline int read_tcp(struct __sk_buff *skb, struct packet *p)
{
	__u8 head[TCP_HEADER];
	__u32 len;

	if (bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)))
		return -1;
	len = (head[12] >> 4) * 4;
	if (len < TCP_HEADER || p->payload + len > skb->len)
		return -1;
	p->source_port = head[0] << 8 | head[1];
	p->target_port = head[2] << 8 | head[3];
	p->seq = (__u32)head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7];
	p->tcp_flags = head[13];
	p->payload += len;
	p->len = skb->len - p->payload;
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
