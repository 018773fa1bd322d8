/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The second line, on interfaces that lead off this machine. The socket hooks have judged what
 * a TCP or UDP socket sends. They have not seen packet sockets, packets that are forwarded or
 * that a process wrote to a tunnel device, and what a tunnel puts around a packet.
 */
#ifndef LEAKSTOP_UPLINK_BPF_H
#define LEAKSTOP_UPLINK_BPF_H

#include "datagram.bpf.h"

#define SOCK_RAW 3

#define ETH_P_802_2 0x0004 /* spanning tree */
#define ETH_P_ARP   0x0806
#define ETH_P_SLOW  0x8809 /* link aggregation */

#define FRAGMENT 44

#define MLD_QUERY       130
#define ND_REDIRECT     137
#define MLD2_REPORT     143
#define DHCP_SERVER     67
#define DHCP_CLIENT     68
#define FRAGMENT_OFFSET 0x1fff

/* Where the packet comes from. */
struct sender {
	const struct sock_note *note; /* of its TCP, UDP or ping socket */
	__u8 packet;                  /* a packet socket made it */
	__u8 socket;                  /* a whole socket of another kind has it */
	__u8 raw;                     /* that is the kernel's own, or an older raw one */
	__u8 local;                   /* it did not come in over another interface */
	__u8 peer;                    /* it goes where its socket is connected to */
	__u8 pad[3];
};

/*
 * The socket hooks have seen a packet that goes where they were told. What a tunnel put around
 * it, or what was sent elsewhere by NAT, they have not.
 */
static __always_inline int goes_to_peer(const struct bpf_sock *sk, const struct packet *p)
{
	__u32 words[4] = { sk->dst_ip6[0], sk->dst_ip6[1], sk->dst_ip6[2], sk->dst_ip6[3] };
	__u8 peer[16];

	if (sk->family == AF_INET)
		map_ipv4(peer, sk->dst_ip4);
	else
		__builtin_memcpy(peer, words, 16);
	return sk->protocol == p->protocol && word_at(peer) == word_at(p->target) &&
	       word_at(peer + 8) == word_at(p->target + 8) &&
	       (p->fragment & FRAGMENT_OFFSET || bpf_ntohs(sk->dst_port) == p->target_port);
}

static __always_inline void find_sender(struct __sk_buff *skb, const struct packet *p,
					struct sender *from)
{
	struct bpf_sock *sk = skb->sk;

	from->local = !skb->ingress_ifindex;
	if (!sk)
		return;
	from->packet = sk->family == AF_PACKET;
	if (sk->family != AF_INET && sk->family != AF_INET6)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	from->socket = 1;
	from->raw = sk->type == SOCK_RAW;
	from->note = bpf_sk_storage_get(&socks, sk, 0, 0);
	from->peer =
		goes_to_peer(sk, p) || (from->note && from->note->target.protocol == p->protocol &&
					same_peer(from->note, p));
}

/* Frames that are not IP and that the kernel itself sends: to a neighbour, never further. */
static __always_inline int is_link_frame(struct __sk_buff *skb, const struct sender *from)
{
	if (from->packet)
		return 0;
	return skb->protocol == bpf_htons(ETH_P_ARP) || (from->local && !from->socket &&
							 (skb->protocol == bpf_htons(ETH_P_SLOW) ||
							  skb->protocol == bpf_htons(ETH_P_802_2)));
}

/* Neighbour discovery and group membership: to the link. A job's raw sockets cannot send them. */
static __always_inline int is_link_control(struct __sk_buff *skb, const struct packet *p,
					   const struct sender *from)
{
	__u8 head[9] = {};
	__u8 type;

	if (from->packet || from->note || !from->local)
		return 0;
	if (p->protocol == IGMP)
		return (p->target[12] & 0xf0) == 0xe0;
	if (p->protocol == HOP_BY_HOP) { /* router alert (RFC 2711), then MLD */
		if (bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)) || head[0] != ICMPV6 ||
		    head[1])
			return 0;
		type = head[8];
	} else if (p->protocol == ICMPV6) {
		if (bpf_skb_load_bytes(skb, p->payload, &type, sizeof(type)))
			return 0;
	} else {
		return 0;
	}
	return (type >= MLD_QUERY && type <= ND_REDIRECT) || type == MLD2_REPORT;
}

/* A DHCP client has no address yet, so it uses a packet socket; a router forwards no broadcast. */
static __always_inline int is_dhcp(struct __sk_buff *skb, const struct packet *p)
{
	__u32 address;

	__builtin_memcpy(&address, p->target + 12, sizeof(address));
	return skb->protocol == bpf_htons(ETH_P_IP) && p->protocol == UDP && !p->odd &&
	       !p->fragment && address == 0xffffffff && p->source_port == DHCP_CLIENT &&
	       p->target_port == DHCP_SERVER;
}

/* The ports, and the length of a TCP payload; a later fragment has neither. */
static __always_inline int read_ports(struct __sk_buff *skb, struct packet *p, __u8 *syn)
{
	__u8 head[14];
	__u32 end;

	if (p->protocol == UDP)
		return read_udp(skb, p);
	if (p->protocol != TCP)
		return 0;
	if (bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)))
		return -1;
	p->source_port = head[0] << 8 | head[1];
	p->target_port = head[2] << 8 | head[3];
	end = p->payload + (head[12] >> 4) * 4;
	p->len = skb->len > end ? skb->len - end : 0;
	p->payload = end;
	*syn = (head[13] & 0x12) == 0x02; /* SYN and no ACK: the first of a connection */
	return 0;
}

static __always_inline int read_departure(struct __sk_buff *skb, const struct device *device,
					  struct packet *p, __u8 *syn)
{
	__u8 head[4], version;

	/* Of an interface with a header that we do not know, nothing looks like IP. */
	if (bpf_skb_load_bytes(skb, device->header, &version, sizeof(version)) ||
	    version >> 4 != (skb->protocol == bpf_htons(ETH_P_IP) ? 4 : 6) ||
	    read_ip_at(skb, device->header, p))
		return -1;
	if (p->protocol == FRAGMENT) {
		if (bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)))
			return -1;
		p->protocol = head[0];
		p->payload += 8;
		/* As IPv4 has it; the offset is in units of eight bytes here too. */
		p->fragment = (head[2] << 8 | head[3]) >> 3 | 0x2000;
		p->odd = 0;
	}
	if (p->odd || p->fragment & FRAGMENT_OFFSET)
		return 0;
	return read_ports(skb, p, syn);
}

/*
 * A question that no socket of this namespace sent: a container's, which its socket hook has
 * judged, or one that was made by hand, which nobody has.
 */
static __always_inline struct judgement judge_passing(struct __sk_buff *skb, const struct packet *p)
{
	struct exposure exposure = { .in_name = 1 };
	struct judgement j = unjudgeable(REASON_UNPARSABLE);
	struct scratch *s = claim();
	struct message *m;
	int readable;

	if (!s)
		return j;
	m = &s->message;
	__builtin_memset(&m->lookup, 0, sizeof(m->lookup));
	readable = is_question(skb, p, m);
	if (readable) {
		look_up_name(m, &m->lookup);
		restrict_to_port(&m->lookup, PROTO_DNS, 0);
		copy_vec(&s->who, &cfg.anyone);
		restrict_to_who(&m->lookup, &s->who);
		j = judge_rules(&m->lookup, &m->lookup, 0);
	}
	if (find_secrets(skb, p, s, readable))
		apply_carriage(&j, judge_secrets(&s->hits, &m->lookup, &exposure));
	name_asker(&s->asker, skb, p, 0);
	if ((j.policy == ACTION_DENY || j.carriage) && is_untold_question(s))
		report_question(s, j, 0, s->hits.count != 0);
	release(s);
	return j;
}

/* What the kernel itself sends in a socket's stead: it carries nothing of a program's. */
static __always_inline int is_kernels_reply(const struct packet *p, const struct sender *from,
					    __u8 syn)
{
	if (from->packet || !from->local || p->odd || p->fragment)
		return 0;
	if (p->protocol == TCP) /* handshakes, acknowledgements, resets */
		return !p->len && !syn;
	return (p->protocol == ICMP || p->protocol == ICMPV6) && from->raw && !from->note;
}

static __always_inline int is_judgeable(const struct packet *p, const struct sender *from)
{
	return !from->packet && (p->protocol == TCP || p->protocol == UDP || p->protocol == ICMP ||
				 p->protocol == ICMPV6);
}

/* Behind TCP's own length, a question is one as in UDP; its segment holds no more and no less. */
static __always_inline int is_passing_question(struct __sk_buff *skb, struct packet *p)
{
	__u8 len[2];

	if (p->target_port != DNS_PORT || !is_resolver(p->target))
		return 0;
	if (p->protocol == UDP)
		return 1;
	if (p->protocol != TCP || !p->len)
		return 0;
	if (p->len < sizeof(len) || bpf_skb_load_bytes(skb, p->payload, len, sizeof(len)) ||
	    (len[0] << 8 | len[1]) != p->len - sizeof(len)) {
		p->len = 0; /* unreadable */
		return 1;
	}
	p->payload += sizeof(len);
	p->len -= sizeof(len);
	return 1;
}

static __always_inline void passage_of(const struct packet *p, struct passage_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->source, p->source, 16);
	__builtin_memcpy(key->target, p->target, 16);
	key->source_port = p->source_port;
	key->target_port = p->target_port;
	key->protocol = p->protocol;
}

/* By address and port, once for a flow; nothing that leaves here is local, whatever its network. */
static __always_inline struct judgement
judge_departure(const struct packet *p, const struct attempt *a, const struct sock_note *note)
{
	struct passage_key key;
	struct judgement j = {};
	__u8 one = 1, local;

	passage_of(p, &key);
	if (bpf_map_lookup_elem(&passages, &key))
		return j;
	if (judge_packet(a, note, &cfg.anyone, &j, &local))
		return unjudgeable(REASON_UNPARSABLE);
	if (j.reason == REASON_LOCAL)
		return unjudgeable(REASON_NOT_NAMED);
	if (j.policy == ACTION_ALLOW && j.carriage == CARRIAGE_NONE)
		bpf_map_update_elem(&passages, &key, &one, BPF_ANY);
	return j;
}

/* To where a rule or a name leads: a container's kernel tells a peer what became of its packet. */
static __always_inline int is_error_to_known(struct __sk_buff *skb, const struct packet *p)
{
	struct attempt a = {};
	struct scratch *s;
	int known;

	if (!is_icmp_error(skb, p))
		return 0;
	s = claim();
	if (!s)
		return 0;
	aim(&a, p);
	look_up_place(&a.target, 0, &s->place); /* known it is whoever asks */
	known = s->place.known;
	release(s);
	return known || is_resolver(p->target);
}

/* What the first line did not judge. Returns whether it may leave. */
static __always_inline int judge_unseen(struct __sk_buff *skb, struct packet *p,
					const struct sender *from, int unreadable)
{
	struct attempt a = { .pid = from->note ? from->note->pid : 0, .via = VIA_LINK };
	__u64 unseen = 0; /* by a socket hook, which would have told of the same place */
	struct judgement j;

	aim(&a, p);
	if (!unreadable && !is_judgeable(p, from)) {
		j = unjudgeable(REASON_PROTOCOL);
		unseen = REASON_PROTOCOL;
	} else if (unreadable || p->odd || p->fragment & FRAGMENT_OFFSET) {
		j = unjudgeable(REASON_UNPARSABLE);
		unseen = REASON_UNPARSABLE;
	} else if (is_passing_question(skb, p)) {
		return judge_passing(skb, p).applied == ACTION_ALLOW;
	} else if (p->protocol == TCP && p->target_port == DNS_PORT && is_resolver(p->target)) {
		return 1; /* a segment without payload */
	} else if (is_error_to_known(skb, p)) {
		return 1;
	} else {
		j = judge_departure(p, &a, from->note);
	}
	if ((j.policy == ACTION_DENY || j.carriage) && is_untold(&a.target, unseen))
		report_attempt(&a, &j, from->note ? &from->note->mark : 0, 0);
	return j.applied == ACTION_ALLOW;
}

static __always_inline int on_uplink(struct __sk_buff *skb, const struct device *device)
{
	struct packet p = {};
	struct sender from = {};
	__u8 syn = 0;
	int unreadable = read_departure(skb, device, &p, &syn);

	find_sender(skb, &p, &from);
	if (is_link_frame(skb, &from))
		return TC_NEXT;
	if (!unreadable && (from.peer || is_link_control(skb, &p, &from) ||
			    is_kernels_reply(&p, &from, syn) || (from.packet && is_dhcp(skb, &p))))
		return TC_NEXT;
	return judge_unseen(skb, &p, &from, unreadable) ? TC_NEXT : TC_DROP;
}

SEC("tc")
int on_departure(struct __sk_buff *skb)
{
	struct device *device = bpf_map_lookup_elem(&devices, &(__u32){ skb->ifindex });

	if (skb->mark == cfg.refusal)
		return device ? answer_refused(skb, device) : TC_DROP;
	if (!device)
		return TC_NEXT;
	if (quotes_question(skb, device))
		return TC_DROP;
	if (!cfg.uplinks || !device->uplink)
		return TC_NEXT;
	return on_uplink(skb, device);
}

#endif
