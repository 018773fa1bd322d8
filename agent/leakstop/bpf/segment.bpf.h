/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * TCP segments. What was decided at connect holds for the peer that was decided about; a
 * connection that has to show for whom it is meant is read until it has.
 */
#ifndef LEAKSTOP_SEGMENT_BPF_H
#define LEAKSTOP_SEGMENT_BPF_H

#include "datagram.bpf.h"
#include "dns_stream.bpf.h"
#include "image.bpf.h"
#include "stream.bpf.h"

/* Nothing more to find out: allowed to this peer, whatever follows. */
static __always_inline int is_settled(struct __sk_buff *skb, const struct sock_note *note,
				      const struct packet *p)
{
	return (note->flags & (SOCK_JUDGED | SOCK_SHOWS | SOCK_CUT | SOCK_DNS)) == SOCK_JUDGED &&
	       note->judged.applied == ACTION_ALLOW && same_peer(note, p) &&
	       (note->judged.reason != REASON_LOCAL || skb->ifindex == LOOPBACK_DEVICE);
}

/* The same as at connect, for a peer that is only seen now. */
static __always_inline int show_to(struct __sk_buff *skb, struct sock_note *note,
				   const struct place *place)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;

	note->flags |= SOCK_SHOWS | SOCK_WATCHED;
	return sk ? watch_stream(sk, place) : -1;
}

/*
 * A peer that connect did not see: of an accepted connection, of a socket from before the
 * guard, or behind a translated address.
 */
__weak __noinline int on_new_peer(struct __sk_buff *skb, const struct packet *p,
				  struct sock_note *note)
{
	struct attempt a = { .via = VIA_ACCEPT };
	struct judgement j = {};
	struct scratch *s;
	int failed;

	if (!p || !note)
		return !cfg.block;
	a.cookie = bpf_get_socket_cookie(skb);
	a.pid = note->pid;
	a.narrowed = note->narrowed;
	aim(&a, p);
	if (note->flags & SOCK_OLDER)
		a.via = VIA_OLDER;
	else if (note->flags & SOCK_JUDGED)
		a.via = VIA_CONNECT;
	s = claim();
	if (!s)
		return !cfg.block;
	failed = judge(&a.target, &note->mark, &note->who, &s->place, &j);
	if (!failed && s->place.local && leaves_machine(skb, p, note->netns)) {
		disown(&j);
		s->place.local = 0;
	}
	if (!failed && !s->place.local && is_news(&a, &j))
		report_attempt(&a, &j, &note->mark, kill_owner(&j, a.pid));
	/*
	 * The answer to a SYN belongs to the listening socket, which has many peers and is used
	 * by several processors at once: nothing is written into its note.
	 */
	if (!failed && (!(p->tcp_flags & TCP_SYN) || note->flags & SOCK_JUDGED)) {
		failed = j.policy == ACTION_ALLOW && !(note->flags & SOCK_SHOWS) &&
			 must_show(&a, &s->place, &note->mark) && show_to(skb, note, &s->place);
		note->judged = j;
		note->target = a.target;
		note->flags |= SOCK_JUDGED | (j.applied == ACTION_ALLOW ? 0 : SOCK_CUT);
		if (j.applied == ACTION_ALLOW)
			write_flow(s, a.cookie, &a.target, &s->place, 0);
	}
	release(s);
	return failed ? !cfg.block : j.applied == ACTION_ALLOW;
}

static __always_inline void report_stream(struct scratch *s, const struct stream *shown,
					  const struct sock_note *note, __u64 cookie)
{
	struct event_stream *event = &s->stream;
	__u32 len = shown->name_len;

	event->head.kind = EVENT_STREAM;
	event->head.pid = note->pid;
	event->head.ts = bpf_ktime_get_boot_ns();
	event->head.start = note->mark.start;
	event->cookie = cookie;
	__builtin_memcpy(event->ip, note->target.ip, 16);
	event->port = note->target.port;
	event->name_port = shown->name_port ? shown->name_port : note->target.port;
	event->judged = note->judged;
	event->stream = shown->kind;
	event->killed = kill_owner(&note->judged, note->pid);
	event->hit_count = note->mark.hits.count;
	event->narrowed = note->narrowed;
	event->name_len = len;
	for (int i = 0; i < HITS_MAX; i++)
		event->hits[i] = note->mark.hits.needle[i];
	__builtin_memcpy(event->name, shown->name, sizeof(event->name));
	emit(event, offsetof(struct event_stream, name) + (len & (NAME_MAX_TEXT - 1)));
}

/* What the policy holds for the name that a stream shows, and for whoever it is of. */
static __always_inline void look_up_shown(struct scratch *s, const struct stream *shown, __u16 port,
					  const struct vec *who, struct vec *bits)
{
	__builtin_memcpy(s->message.name, shown->name, sizeof(s->message.name));
	s->message.name_len = shown->name_len;
	look_up_name(&s->message, bits);
	restrict_to_port(bits, TCP, port);
	restrict_to_who(bits, who);
}

/*
 * A request that asks a proxy for somebody else: HTTP must be allowed to the proxy, and the
 * other one as if it had been connected to. What follows a CONNECT is judged from there.
 */
static __always_inline void look_behind(struct scratch *s, struct stream_note *stream,
					const struct vec *who)
{
	struct place *place = &stream->shown;
	int speaks_http;

	place->stream = STREAM_HTTP;
	weigh(place);
	speaks_http = meets(&place->held, &cfg.allow);
	__builtin_memset(place, 0, sizeof(*place));
	place->known = 1;
	if (speaks_http)
		look_up_shown(s, &stream->stream, stream->stream.name_port, who, &place->names);
	if (stream->stream.connect)
		stream->place = *place;
}

/*
 * The stream has shown what it is. Returns whether it may go on. In the scratch memory of who has
 * read it: what was shown is shown once, so this must not fail for want of another.
 */
__weak __noinline int judge_shown(struct __sk_buff *skb, struct sock_note *note,
				  struct stream_note *stream, const struct scratch *mine)
{
	struct judgement j = {};
	struct scratch *s;
	struct stream *now;

	if (!note || !stream || !mine)
		return 0;
	s = as_map_value(mine);
	if (!s)
		return 0;
	now = &stream->stream;
	stream->shown = stream->place;
	if (now->name_port != now->port) {
		look_behind(s, stream, &note->who);
	} else {
		stream->shown.stream = now->kind;
		stream->shown.named = now->name_len != 0;
		look_up_shown(s, now, now->port ? now->port : note->target.port, &note->who,
			      &stream->shown.shown);
	}
	if (judge_place(&stream->shown, &note->target, &note->mark, &j))
		j = unjudgeable(REASON_UNPARSABLE);
	note->judged = j;
	if (j.applied != ACTION_ALLOW)
		note->flags |= SOCK_CUT;
	else
		write_flow(s, bpf_get_socket_cookie(skb), &note->target, &stream->shown, now);
	if (j.reason != REASON_ALLOW_RULE || j.carriage != CARRIAGE_NONE || !stream->place.known)
		report_stream(s, now, note, bpf_get_socket_cookie(skb));
	return j.applied == ACTION_ALLOW;
}

#define REQUESTS_MAX 32 /* for different hosts, in one segment */

/* Behind the head of a request, whose host is known, and not yet at its end. */
static __always_inline int is_inside(const struct stream *st)
{
	return st->protocol == SPEAKS_HTTP && (st->body || st->request.state >= HTTP_CHUNK);
}

/* A client past its hello. What was refused is of another kind. */
static __always_inline int is_sealed(const struct stream *st)
{
	return st->kind == STREAM_TLS || st->kind == STREAM_HIDDEN;
}

/*
 * Returns whether the segment may leave. What cannot be read in order is not read at all:
 * in block mode it ends the connection as anything unknown does.
 */
__weak __noinline int on_stream(struct __sk_buff *skb, const struct packet *p,
				struct sock_note *note)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct segment segment = {};
	struct stream_note *stream;
	int result = STREAM_DROP, shown = 0;
	struct scratch *s;

	if (!p || !note || !sk)
		return !cfg.block;
	stream = bpf_sk_storage_get(&streams, sk, 0, 0);
	if (!stream)
		return !cfg.block;
	if (p->tcp_flags & TCP_SYN) {
		begin_stream(&stream->stream, p->seq + 1);
		/* With data in it, TCP falls back to a plain SYN in the same call. */
		return p->len == 0;
	}
	if (!p->len)
		return 1;
	s = claim();
	if (!s)
		return !cfg.block;
	segment.seq = p->seq;
	segment.offset = p->payload;
	segment.len = p->len;
	segment.urgent = p->tcp_flags & TCP_URG;
	stream->several = is_inside(&stream->stream);
	for (__u32 i = 0; i < REQUESTS_MAX; i++) {
		result = read_stream(skb, &stream->stream, &s->message, &segment);
		if (result == STREAM_DROP)
			refuse(&stream->stream);
		else if (result != STREAM_SHOWN)
			break;
		shown++;
		if (!judge_shown(skb, note, stream, s))
			break;
	}
	release(s);
	stream->several = stream->several + shown > 1;
	if (result == STREAM_DONE) {
		note->flags &= ~SOCK_SHOWS;
		if (is_sealed(&stream->stream))
			note->flags |= SOCK_SEALED;
	}
	return result == STREAM_PASS || result == STREAM_DONE;
}

/* Returns whether the segment may leave. */
static __always_inline int on_segment(struct __sk_buff *skb, const struct packet *p,
				      struct sock_note *note)
{
	if (!note)
		return on_stray(skb, p);
	if (note->flags & SOCK_DNS && is_to_resolver(skb, p))
		return on_dns_segment(skb, p, note);
	if (!(note->flags & SOCK_JUDGED) || !same_peer(note, p) ||
	    (note->judged.reason == REASON_LOCAL && leaves_machine(skb, p, note->netns)))
		if (!on_new_peer(skb, p, note))
			return 0;
	/* What carries nothing may say goodbye. */
	if (note->flags & SOCK_CUT || note->judged.applied != ACTION_ALLOW)
		return !p->len && !(p->tcp_flags & TCP_SYN);
	if (!(note->flags & SOCK_SHOWS))
		return 1;
	if (p->len && is_early(note->pid))
		note->early = 1;
	return on_stream(skb, p, note);
}

#endif
