/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What leaves in the open: TCP streams that are not TLS, whole, and datagrams. A socket's last
 * bytes are kept, so that a secret is seen however it is cut into pieces.
 *
 * Why nothing is lost between segments: the sender's own TCP passes each byte here for the first
 * time in order, and begins where it was refused (a refused segment counts as not sent), so what
 * is new continues what was read last. What was read before has no need to be read again, but
 * for pages that somebody can still write to. Only what was let pass unread makes a gap
 * (TCP_REPAIR, audit without a free scratch slot): behind it reading begins anew.
 */
#ifndef LEAKSTOP_PAYLOAD_BPF_H
#define LEAKSTOP_PAYLOAD_BPF_H

#include "datagram.bpf.h"
#include "plaintext.bpf.h"
#include "stream.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct payload);
} payloads SEC(".maps");

static long scan_bit(__u32 i, struct payload_walk *walk)
{
	struct scratch *s = walk->scratch;
	struct window *w = &s->window;
	__u32 len = s->part.end - s->part.at;

	if (len > WINDOW_CHUNK)
		len = WINDOW_CHUNK;
	len -= 1; /* 6.1's verifier learns nothing from `!len` */
	barrier_var(len);
	if (len > WINDOW_CHUNK - 1)
		return 1;
	len += 1;
	barrier_var(len);
	if (bpf_skb_load_bytes(walk->skb, s->part.at, w->bytes + WINDOW_EDGE, len))
		return 1;
	w->to = WINDOW_EDGE + len;
	scan_window(w, &s->found.hits);
	slide(w, len);
	s->part.at += len;
	return 0;
}

/*
 * Looks for secrets in a packet behind the socket's last bytes; `again` of it were sent before.
 * Returns 0 if it was read whole.
 */
__weak __noinline int scan_payload(struct __sk_buff *skb, const struct packet *p,
				   const struct payload *state, struct scratch *s, __u32 again)
{
	struct payload_walk walk = { .skb = skb, .scratch = s };

	if (!p || !state || !s)
		return -1;
	s->window.from = WINDOW_EDGE;
	barrier_var(again);
	if (again < WINDOW_EDGE) {
		for (__u32 i = 0; i < WINDOW_EDGE; i += 8)
			*(__u64 *)(s->window.bytes + again + i) = word_at(state->tail + i);
		if (again < state->tail_len)
			s->window.from = WINDOW_EDGE + again - state->tail_len;
	}
	s->window.seen = WINDOW_EDGE;
	s->window.gone = WINDOW_EDGE + again;
	s->part.at = p->payload;
	s->part.end = p->payload + p->len;
	bpf_loop(PIECES_MAX, scan_bit, &walk, 0);
	s->window.seen = 0;
	s->window.gone = 0;
	return s->part.at == s->part.end ? 0 : -1;
}

/* Whether one of these secrets was not told of before, at this place. Explains only: LRU. */
__weak __noinline int is_news_of(const struct target *target, const struct hits *hits, __u64 cookie,
				 __u8 carriage)
{
	struct sent_key key = { .cookie = cookie };
	__u8 one = 1;
	int news = 0;

	if (!target || !hits)
		return 1;
	__builtin_memcpy(key.ip, target->ip, 16);
	key.port = target->port;
	key.judged = carriage << 8;
	for (__u32 i = 0; i < HITS_MAX; i++) {
		if (i >= hits->count)
			break;
		key.protocol = (hits->secret[i] + 1) << 8; /* no protocol has such a number */
		news |= !bpf_map_update_elem(&sent, &key, &one, BPF_NOEXIST);
	}
	return news;
}

static __always_inline void report_payload(struct scratch *s, const struct packet *p,
					   const struct sock_note *note, const struct judgement *j,
					   const struct stream *shown, __u64 cookie)
{
	struct event_write *event = &s->write;

	__builtin_memset(event, 0, sizeof(*event));
	event->head.kind = EVENT_WRITE;
	event->head.pid = note->pid;
	event->head.ts = bpf_ktime_get_boot_ns();
	event->head.start = s->found.start;
	event->cookie = cookie;
	event->size = p->len;
	__builtin_memcpy(event->ip, p->target, 16);
	event->port = p->target_port;
	event->protocol = p->protocol;
	event->channel = p->protocol == TCP ? CHANNEL_TCP : CHANNEL_UDP;
	event->judged = *j;
	event->tie = TIE_SOCKET;
	event->killed = kill_owner(j, note->pid);
	event->hit_count = s->found.hits.count;
	event->begun = s->found.hits.begun;
	for (int i = 0; i < HITS_MAX; i++)
		event->hits[i] = s->found.hits.needle[i];
	if (shown) {
		event->name_len = shown->name_len;
		__builtin_memcpy(event->name, shown->name, sizeof(event->name));
	}
	emit(event, offsetof(struct event_write, name) + (event->name_len & (NAME_MAX_TEXT - 1)));
}

static __always_inline struct stream_note *shown_stream(struct __sk_buff *skb,
							const struct sock_note *note)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;

	return sk && note->flags & SOCK_WATCHED ? bpf_sk_storage_get(&streams, sk, 0, 0) : 0;
}

/* Where the bytes in hand go, as far as it is known by now. */
static __always_inline void find_place(struct place *place, const struct payload *state,
				       const struct stream_note *stream)
{
	if (!stream)
		*place = state->place;
	else if (stream->stream.kind == STREAM_UNSEEN)
		*place = stream->place;
	else
		*place = stream->shown;
	if (stream && stream->several) { /* hosts in one segment: it is nobody's home */
		__builtin_memset(place, 0, sizeof(*place));
		place->known = 1;
	}
	place->local = 0;
}

/* A packet with secrets in it. Returns whether it may leave. */
__weak __noinline int judge_payload(struct __sk_buff *skb, const struct packet *p,
				    struct sock_note *note, const struct payload *state,
				    struct scratch *s)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct stream_note *stream;
	struct judgement j = {};

	if (!p || !note || !state || !s)
		return 0;
	stream = p->protocol == TCP ? shown_stream(skb, note) : 0;
	find_place(&s->place, state, stream);
	if (judge_place(&s->place, &state->target, &s->found, &j))
		return 0;
	if (j.carriage == CARRIAGE_NONE)
		return 1;
	if (j.carriage != CARRIAGE_KILL) {
		j.applied = ACTION_ALLOW; /* else it would not have come so far */
	} else if (p->protocol == TCP) {
		note->judged = j;
		note->flags |= SOCK_CUT;
	}
	if (j.carriage == CARRIAGE_KILL ||
	    is_news_of(&state->target, &s->found.hits, cookie, j.carriage))
		report_payload(s, p, note, &j, stream ? &stream->stream : 0, cookie);
	return j.applied == ACTION_ALLOW;
}

/* A connection begins, or a datagram has another peer than the one before. */
__weak __noinline int meet_peer(struct payload *state, const struct packet *p,
				const struct sock_note *note)
{
	if (!state || !p || !note)
		return -1;
	aim_at(&state->target, p);
	look_up_place(&state->target, &note->who, &state->place);
	state->pending.count = 0;
	state->sent = 0;
	state->tail_len = 0;
	state->next = p->seq + !!(p->tcp_flags & TCP_SYN);
	return 0;
}

/*
 * Whether a stream that nobody reads begins as TLS does: a handshake, of version 3 (RFC 8446,
 * 5.1). One that has to show itself is known by what it shows.
 */
static __always_inline int begins_sealed(struct __sk_buff *skb, const struct packet *p,
					 const struct payload *state)
{
	__u8 head[2] = { state->tail[WINDOW_EDGE - 1] };

	if (state->sent > 1 || bpf_skb_load_bytes(skb, p->payload, head + (state->sent & 1), 1))
		return 0;
	if (!state->sent && bpf_skb_load_bytes(skb, p->payload, head, sizeof(head)))
		return 0;
	return head[0] == TLS_HANDSHAKE && head[1] == 3;
}

/* In the head of a request that goes on in a later segment. */
static __always_inline int is_head_open(const struct stream_note *stream)
{
	const struct request_walk *r = &stream->stream.request;

	return stream->stream.protocol == SPEAKS_HTTP && !stream->stream.body &&
	       r->state < HTTP_CHUNK && (r->state != HTTP_METHOD || r->word_len);
}

/* Writes down what has left. */
static __always_inline void remember_payload(struct payload *state, const struct scratch *s,
					     const struct packet *p, __u32 again, int open)
{
	state->next += p->len - again;
	state->sent += p->len - again;
	state->tail_len = WINDOW_EDGE - s->window.from;
	for (__u32 i = 0; i < WINDOW_EDGE; i += 8)
		*(__u64 *)(state->tail + i) = word_at(s->window.bytes + i);
	state->pending.count = 0;
	if (open)
		state->pending = s->found.hits;
}

/* Returns whether the packet may leave. */
static __always_inline int read_payload(struct __sk_buff *skb, const struct packet *p,
					struct sock_note *note, struct payload *state,
					struct scratch *s)
{
	struct stream_note *stream;
	__u32 again = 0;

	stream = p->protocol == TCP ? shown_stream(skb, note) : 0;
	if (p->protocol == TCP) {
		again = state->next - p->seq - !!(p->tcp_flags & TCP_SYN);
		if ((__s32)again < 0) { /* a gap */
			state->next -= again;
			state->tail_len = again = 0;
		} else if (again >= p->len) {
			if (!is_shared(skb))
				return 1;
		} else if (!stream && begins_sealed(skb, p, state)) {
			note->flags |= SOCK_SEALED;
			return 1;
		}
	}
	s->found.start = note->mark.start;
	s->found.hits = state->pending;
	if (scan_payload(skb, p, state, s, again) && cfg.block)
		return 0;
	if (s->found.hits.count && !judge_payload(skb, p, note, state, s))
		return 0;
	if (again < p->len) {
		s->plaintext.head.pid = note->pid;
		/* A hello is looked through for its names; there is nothing to decode in it. */
		if (!stream || stream->stream.protocol != SPEAKS_TLS)
			copy_payload(skb, p, state, s, again);
		remember_payload(state, s, p, again, stream && is_head_open(stream));
	}
	return 1;
}

/* Reads the packet behind what its socket has sent before, or without that. */
static __always_inline int read_behind(struct __sk_buff *skb, const struct packet *p,
				       struct sock_note *note, struct payload *state)
{
	struct scratch *s = claim();
	int pass;

	if (!s)
		return !cfg.block;
	if (!state) {
		state = &s->payload;
		meet_peer(state, p, note);
	}
	pass = (state->place.local && !leaves_machine(skb, p, note->netns)) ||
	       read_payload(skb, p, note, state, s);
	release(s);
	return pass;
}

/* A packet with data in the open, which may leave but for what is in it. */
__weak __noinline int on_payload(struct __sk_buff *skb, const struct packet *p,
				 struct sock_note *note)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct payload *state;
	int pass;

	if (!p || !note || !sk)
		return !cfg.block;
	state = bpf_sk_storage_get(&payloads, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		lose(LOSS_SOCKETS);
		return !cfg.block;
	}
	/* Threads may send datagrams at once; those have no order, so one is read by itself. */
	if (__sync_lock_test_and_set(&state->held, 1))
		return read_behind(skb, p, note, 0);
	if (!is_peer(&state->target, p) || (p->protocol == TCP && !(note->flags & SOCK_READ)))
		meet_peer(state, p, note);
	if (p->protocol == TCP)
		note->flags |= SOCK_READ;
	pass = read_behind(skb, p, note, state);
	__sync_lock_test_and_set(&state->held, 0);
	return pass;
}

/* Whether there is something to read in a packet that may leave, other than a question. */
static __always_inline int is_open(struct __sk_buff *skb, const struct sock_note *note,
				   const struct packet *p)
{
	if (!p->len || !(cfg.scans || cfg.copy))
		return 0;
	if (p->protocol == TCP &&
	    (note->flags & SOCK_SEALED || note->judged.reason == REASON_LOCAL))
		return 0;
	return !((note->flags & SOCK_DNS || p->protocol == UDP) && is_to_resolver(skb, p));
}

#endif
