// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * The reading of payload by itself, by BPF_PROG_TEST_RUN: behind an Ethernet header, the packet
 * is the payload; one socket at a time.
 */
#include "payload.bpf.h"
#include "one.h"

struct payload_args {
	struct packet packet; /* seq, target, protocol and flags are the caller's */
	__u32 begin;          /* another peer, or a new connection */
	__u32 result;
	__u32 sealed;
	__u32 hits;
	__u32 begun;
	__u32 pad;
	__u64 sent;
};

ONE(payload_args, payload_io);
ONE(payload, the_payload);
ONE(sock_note, the_note);

SEC("tc")
int payload_packet(struct __sk_buff *skb)
{
	struct payload_args *args = bpf_map_lookup_elem(&payload_io, &(__u32){ 0 });
	struct payload *state = bpf_map_lookup_elem(&the_payload, &(__u32){ 0 });
	struct sock_note *note = bpf_map_lookup_elem(&the_note, &(__u32){ 0 });
	struct scratch *s = claim();

	if (!s)
		return -1;
	if (args && state && note) {
		if (args->begin) {
			note->flags = 0;
			meet_peer(state, &args->packet, note);
		}
		s->found.hits.count = 0;
		args->result = read_payload(skb, &args->packet, note, state, s);
		args->sealed = (note->flags & SOCK_SEALED) != 0;
		args->hits = s->found.hits.count;
		args->begun = s->found.hits.begun;
		args->sent = state->sent;
	}
	release(s);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
