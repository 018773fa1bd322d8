// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * The stream parsers by themselves. By BPF_PROG_TEST_RUN: behind an Ethernet header, the packet
 * is the segment's payload; one stream at a time. And on real sockets, where packets are larger
 * and share pages: whatever they show may pass, and is counted.
 */
#include <bpf/bpf_endian.h>
#include "stream.bpf.h"
#include "one.h"

struct stream_args {
	struct segment segment;
	__u32 begin; /* a new stream, from segment.seq */
	__u32 result;
	__u32 next;
	__u16 name_port;
	__u16 name_len;
	__u8 kind;
	__u8 connect;
	__u8 tunnel;
	__u8 pad;
	char name[NAME_MAX_TEXT];
};

ONE(stream_args, stream_io);
ONE(stream, the_stream);

SEC("tc")
int stream_segment(struct __sk_buff *skb)
{
	struct stream_args *args = bpf_map_lookup_elem(&stream_io, &(__u32){ 0 });
	struct stream *st = bpf_map_lookup_elem(&the_stream, &(__u32){ 0 });
	struct scratch *s = claim();
	struct segment segment;

	if (!s)
		return -1;
	if (args && st) {
		segment = args->segment;
		if (args->begin)
			begin_stream(st, segment.seq);
		args->result = read_stream(skb, st, &s->message, &segment);
		args->next = st->next;
		args->name_port = st->name_port;
		args->name_len = st->name_len;
		args->kind = st->kind;
		args->connect = st->connect;
		args->tunnel = st->tunnel;
		__builtin_memcpy(args->name, st->name, sizeof(args->name));
	}
	release(s);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream);
} socket_streams SEC(".maps");

struct counts {
	__u32 shown;
	__u32 dropped;
	__u32 largest; /* payload of one packet */
	__u32 bytes;   /* that were read or passed unread, and may leave */
};

ONE(counts, socket_counts);

#define IP_HEADER 20
#define TCP_SYN   0x02
#define TCP_URG   0x20

SEC("cgroup_skb/egress")
int stream_egress(struct __sk_buff *skb)
{
	struct counts *counts = bpf_map_lookup_elem(&socket_counts, &(__u32){ 0 });
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct segment segment = {};
	int result = STREAM_DROP;
	struct scratch *s;
	struct stream *st;
	__u8 tcp[20];

	if (!sk || !counts || bpf_skb_load_bytes(skb, IP_HEADER, tcp, sizeof(tcp)))
		return 0;
	st = bpf_sk_storage_get(&socket_streams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st)
		return 0;
	segment.seq = bpf_ntohl(*(__u32 *)(tcp + 4));
	segment.offset = IP_HEADER + (tcp[12] >> 4) * 4;
	segment.len = skb->len - segment.offset;
	segment.urgent = tcp[13] & TCP_URG;
	if (tcp[13] & TCP_SYN) {
		begin_stream(st, segment.seq + 1);
		return 1;
	}
	s = claim();
	if (!s)
		return 0;
	for (int i = 0; i < 4; i++) {
		result = read_stream(skb, st, &s->message, &segment);
		if (result != STREAM_SHOWN)
			break;
		counts->shown++;
	}
	release(s);
	if (result != STREAM_PASS && result != STREAM_DONE) {
		counts->dropped++;
		return 0;
	}
	if (segment.len > counts->largest)
		counts->largest = segment.len;
	counts->bytes += segment.len;
	return 1;
}

char _license[] SEC("license") = "Dual MIT/GPL";
