/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The first bytes of a connection, as the program wrote them: user space looks into them more
 * deeply, behind encodings that no kernel program can undo.
 */
#ifndef LEAKSTOP_PLAINTEXT_BPF_H
#define LEAKSTOP_PLAINTEXT_BPF_H

#include "packet.bpf.h"
#include "scratch.bpf.h"

/* How many bytes of a connection that has sent so many are handed on to be looked through. */
static __always_inline __u64 room_to_copy(const __u64 *stream, __u64 sent)
{
	__u64 *more = bpf_map_lookup_elem(&watched, stream);
	__u64 limit = more && *more > cfg.copy ? *more : cfg.copy;

	return sent < limit ? limit - sent : 0;
}

static __always_inline void hand_over(struct event_plaintext *event, __u32 len)
{
	event->len = len;
	if (bpf_ringbuf_output(&plaintexts, event, offsetof(struct event_plaintext, bytes) + len,
			       0))
		lose(LOSS_PLAINTEXTS);
}

/* BIG TCP makes packets of up to 512 KiB (GSO_MAX_SIZE of <linux/netdevice.h>). */
#define PIECES_MAX (512 * 1024 / WINDOW_CHUNK + 1)

struct payload_walk {
	struct __sk_buff *skb;
	struct scratch *scratch;
};

static long copy_piece(__u32 i, struct payload_walk *walk)
{
	struct scratch *s = walk->scratch;
	struct event_plaintext *event = &s->plaintext;
	__u32 len = s->part.end - s->part.at;

	if (len > PLAINTEXT_COPY)
		len = PLAINTEXT_COPY;
	len -= 1;
	barrier_var(len);
	if (len > PLAINTEXT_COPY - 1)
		return 1;
	len += 1;
	barrier_var(len);
	if (bpf_skb_load_bytes(walk->skb, s->part.at, event->bytes, len))
		return 1;
	hand_over(event, len);
	event->offset += len;
	s->part.at += len;
	return 0;
}

/* How many more bytes of it are handed on. By itself: its caller's stack is the deepest there is. */
__weak __noinline int find_room(struct __sk_buff *skb, const struct payload *state)
{
	__u64 cookie = bpf_get_socket_cookie(skb);

	return state ? room_to_copy(&cookie, state->sent) : 0;
}

__weak __noinline int copy_payload(struct __sk_buff *skb, const struct packet *p,
				   const struct payload *state, struct scratch *s, __u32 again)
{
	struct payload_walk walk = { .skb = skb, .scratch = s };
	struct event_plaintext *event;
	__u32 room;

	if (!p || !state || !s)
		return -1;
	room = find_room(skb, state);
	if (!room)
		return 0;
	event = &s->plaintext;
	event->head.kind = EVENT_PLAINTEXT;
	event->head.ts = bpf_ktime_get_boot_ns();
	event->head.start = s->found.start;
	event->stream = bpf_get_socket_cookie(skb);
	event->offset = state->sent;
	__builtin_memcpy(event->ip, p->target, 16);
	event->port = p->target_port;
	event->channel = p->protocol == TCP ? CHANNEL_TCP : CHANNEL_UDP;
	event->library = LIBRARY_NONE;
	s->part.at = p->payload + again;
	s->part.end = p->payload + p->len;
	if (s->part.end - s->part.at > room)
		s->part.end = s->part.at + room;
	bpf_loop(PIECES_MAX, copy_piece, &walk, 0);
	return 0;
}

#endif
