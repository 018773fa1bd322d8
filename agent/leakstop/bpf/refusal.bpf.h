/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers to refused questions. A program that is refused with EPERM asks again: dig for fifteen
 * seconds, a stub resolver in front of it for ten. So the packet hook, which cannot write
 * packets, marks the question and lets it go as far as the device; the program there makes its
 * answer of it: the name does not exist (REFUSED would make musl wait).
 */
#ifndef LEAKSTOP_REFUSAL_BPF_H
#define LEAKSTOP_REFUSAL_BPF_H

#include "packet.bpf.h"

#define TC_NEXT (-1) /* TC_ACT_UNSPEC, TCX_NEXT: others' programs, then the device */
#define TC_DROP 2    /* TC_ACT_SHOT */

#define ETHERNET_HEADER 14

#define ICMP_HEADER 8

#define DNS_HEADER   12
#define DNS_SHORTEST (DNS_HEADER + 5) /* the root's name, type and class */
#define DNS_RESPONSE 0x8000
#define DNS_OPCODE   0x7800
#define DNS_KEPT     0x0110 /* RD and CD: RFC 1035 4.1.1, RFC 4035 3.1.6 */
#define DNS_NO_NAME  0x8083 /* QR, RA, NXDOMAIN */

/*
 * Passes a refused question on its way to its answer, if the device that it leaves over makes
 * one. Interfaces are numbered in each network namespace anew, so the socket's must be the one
 * that the devices are in. Returns whether it passes.
 */
static __always_inline int mark_question(struct __sk_buff *skb, const struct sock_note *note)
{
	struct refusals *sum = bpf_map_lookup_elem(&refusals, &(__u32){ 0 });
	struct device *device = bpf_map_lookup_elem(&devices, &(__u32){ skb->ifindex });

	if (!device || !sum || !device->netns || device->netns != note->netns)
		return 0;
	sum->last = bpf_ktime_get_boot_ns();
	__sync_fetch_and_add(&sum->marked, 1);
	skb->mark = cfg.refusal;
	return 1;
}

/* Exchanges two neighbouring fields. Sums over both, as IP and UDP have them, stay right. */
static __always_inline int swap(struct __sk_buff *skb, __u32 at, __u32 len)
{
	__u8 old[32], new[32];

	if (len > 16 || bpf_skb_load_bytes(skb, at, old, 2 * len))
		return -1;
	__builtin_memcpy(new, old + len, len);
	__builtin_memcpy(new + len, old, len);
	return bpf_skb_store_bytes(skb, at, new, 2 * len, 0);
}

static __always_inline int is_plain_question(struct __sk_buff *skb, const struct packet *p,
					     __u16 *flags)
{
	__u16 head[DNS_HEADER / 2];

	if (p->protocol != UDP || p->odd || p->fragment || p->len < DNS_SHORTEST || skb->gso_size ||
	    bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)))
		return 0;
	*flags = bpf_ntohs(head[1]);
	return !(*flags & (DNS_RESPONSE | DNS_OPCODE)) && head[2] == bpf_htons(1) && !head[3] &&
	       !head[4];
}

/* Turns a question into its answer. What follows it (EDNS) is left as it is. */
static __always_inline int turn(struct __sk_buff *skb, const struct device *device,
				const struct packet *p, __u16 flags)
{
	__u32 udp = p->payload - UDP_HEADER, ip = device->header;
	__u16 old = bpf_htons(flags), new = bpf_htons((flags & DNS_KEPT) | DNS_NO_NAME);
	int v4 = skb->protocol == bpf_htons(ETH_P_IP);

	if (device->header == ETHERNET_HEADER && swap(skb, 0, 6))
		return -1;
	if (v4 ? swap(skb, ip + 12, 4) : swap(skb, ip + 8, 16))
		return -1;
	if (swap(skb, udp, 2) ||
	    bpf_l4_csum_replace(skb, udp + 6, old, new, sizeof(new) | BPF_F_MARK_MANGLED_0))
		return -1;
	return bpf_skb_store_bytes(skb, p->payload + 2, &new, sizeof(new), 0);
}

/*
 * Whether the answer stays here: a socket may have asked in the name of an address that is not
 * this machine's (IPV6_FREEBIND), and what comes in for that one is sent on.
 */
static __always_inline int is_delivered(struct __sk_buff *skb, const struct packet *p)
{
	int v4 = skb->protocol == bpf_htons(ETH_P_IP);
	struct bpf_fib_lookup way = {
		.family = v4 ? AF_INET : AF_INET6,
		.l4_protocol = UDP,
		.sport = bpf_htons(p->target_port),
		.dport = bpf_htons(p->source_port),
		.ifindex = skb->ifindex,
	};
	long found;

	if (v4) {
		__builtin_memcpy(&way.ipv4_src, p->target + 12, 4);
		__builtin_memcpy(&way.ipv4_dst, p->source + 12, 4);
	} else {
		__builtin_memcpy(way.ipv6_src, p->target, 16);
		__builtin_memcpy(way.ipv6_dst, p->source, 16);
	}
	found = bpf_fib_lookup(skb, &way, sizeof(way), 0);
	return found == BPF_FIB_LKUP_RET_NOT_FWDED || found == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* An error that quotes the packet which it is about. */
static __always_inline int is_icmp_error(struct __sk_buff *skb, const struct packet *p)
{
	__u8 type;

	if ((p->protocol != ICMP && p->protocol != ICMPV6) ||
	    bpf_skb_load_bytes(skb, p->payload, &type, sizeof(type)))
		return 0;
	/* unreachable, too big, time exceeded, parameter problem: RFC 792, RFC 4443 */
	return p->protocol == ICMP ? type == 3 || type == 11 || type == 12 : type > 0 && type < 5;
}

/*
 * The kernel tells a sender when nobody waits for his answer, or when a neighbour does not, and
 * quotes: the refused name would leave with that.
 */
static __always_inline int quotes_question(struct __sk_buff *skb, const struct device *device)
{
	struct packet p = {}, quoted = {};

	if (!cfg.block || device->loopback || read_ip_at(skb, device->header, &p) || p.odd ||
	    !is_icmp_error(skb, &p) || read_ip_at(skb, p.payload + ICMP_HEADER, &quoted) ||
	    quoted.protocol != UDP || read_udp(skb, &quoted))
		return 0;
	return (quoted.source_port == DNS_PORT && is_resolver(quoted.source)) ||
	       (quoted.target_port == DNS_PORT && is_resolver(quoted.target));
}

/* A marked packet never leaves: it comes back as its answer, or is dropped. */
static __always_inline int answer_refused(struct __sk_buff *skb, const struct device *device)
{
	struct refusals *sum = bpf_map_lookup_elem(&refusals, &(__u32){ 0 });
	struct packet p = {};
	__u16 flags = 0;

	if (sum)
		__sync_fetch_and_add(&sum->met, 1);
	if (read_ip_at(skb, device->header, &p) || read_udp(skb, &p) ||
	    !is_plain_question(skb, &p, &flags) || (!device->loopback && !is_delivered(skb, &p)) ||
	    turn(skb, device, &p, flags))
		return TC_DROP;
	skb->mark = 0;
	/* What leaves over the loopback device arrives there; a detour would make it a martian. */
	return device->loopback ? TC_NEXT : bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#endif
