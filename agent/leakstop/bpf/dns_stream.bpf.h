/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * DNS over TCP. A segment to the resolver holds whole questions, each behind its length in two
 * bytes (RFC 1035, 4.2.2), as clients write them; anything else ends the stream. Replies are
 * put together before the program can read them.
 */
#ifndef LEAKSTOP_DNS_STREAM_BPF_H
#define LEAKSTOP_DNS_STREAM_BPF_H

#include "question.bpf.h"

#define LENGTH_BYTES      2
#define QUESTIONS_AT_ONCE 32 /* in one segment */

#define REPLY_CHUNK 1024 /* copied at once */

/*
 * A connection to the resolver: messages, each behind its length in two bytes (RFC 1035, 4.2.2).
 * Walk state, too, since a map's memory is what the verifier does not follow value by value.
 */
struct dns_stream {
	__u32 next;     /* sequence number at which the next question begins */
	__u32 alone;    /* at which a question begins whose length went alone */
	__u32 length;   /* and that length, 0 if none did */
	__u32 expected; /* at which the next byte of a reply stands */
	__u32 heard;    /* `expected` is known */
	__u32 lost;     /* no question can be found any more */
	__u32 cut;      /* a question was denied: nothing may follow, it itself neither */
	__u32 have;     /* bytes of `bytes` */
	__u8 bytes[MESSAGE_MAX + REPLY_CHUNK]; /* of a reply that is not complete */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dns_stream);
} dns_streams SEC(".maps");

static __always_inline __s32 distance(__u32 from, __u32 to)
{
	return to - from; /* sequence numbers wrap */
}

static __always_inline int load_be16(struct __sk_buff *skb, __u32 at, __u32 *value)
{
	__u8 bytes[2];

	if (bpf_skb_load_bytes(skb, at, bytes, sizeof(bytes)))
		return -1;
	*value = bytes[0] << 8 | bytes[1];
	return 0;
}

struct part {
	__u32 at; /* offset in the packet */
	__u32 end;
	__u32 seq; /* sequence number of `at` */
	__u32 len; /* of the question there */
};

/* Finds the question at `part->at`: 0 if it is whole, 1 if only its length is there, else -1. */
static __always_inline int frame_question(struct __sk_buff *skb, struct dns_stream *stream,
					  struct part *part)
{
	__u32 left = part->end - part->at;

	if (stream->length && part->seq == stream->alone) {
		part->len = stream->length;
		return part->len <= left ? 0 : -1;
	}
	if (left < LENGTH_BYTES || load_be16(skb, part->at, &part->len))
		return -1;
	part->at += LENGTH_BYTES;
	part->seq += LENGTH_BYTES;
	if (left > LENGTH_BYTES)
		return part->len <= left - LENGTH_BYTES ? 0 : -1;
	stream->alone = part->seq;
	stream->length = part->len;
	return 1;
}

/* What no question can be found in: denied, or in audit let pass. */
static __always_inline int pass_unread(void)
{
	return !cfg.block;
}

static __always_inline int open_stream(struct bpf_sock *sk, const struct packet *p)
{
	struct dns_stream *stream;

	stream = bpf_sk_storage_get(&dns_streams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!stream) {
		lose(LOSS_SOCKETS);
		return pass_unread();
	}
	stream->next = p->seq + 1;
	stream->length = stream->heard = stream->lost = stream->cut = stream->have = 0;
	/* With data in it, TCP falls back to a plain SYN in the same call. */
	return p->len == 0;
}

/* Returns whether all questions of the segment may leave. */
static __always_inline int judge_parts(struct __sk_buff *skb, const struct packet *p,
				       const struct sock_note *note, struct dns_stream *stream)
{
	struct part part = { .at = p->payload, .end = p->payload + p->len, .seq = p->seq };
	struct packet one = *p; /* a question, as if it had come alone */

	for (int i = 0; i < QUESTIONS_AT_ONCE && part.at < part.end; i++) {
		/* What is sent again may have changed: judged, but not told. */
		__u32 how = distance(part.seq, stream->next) > 0 ? QUESTION_AGAIN : 0;
		int framed = frame_question(skb, stream, &part);

		if (framed > 0)
			break;
		if (framed < 0) {
			stream->lost = 1; /* where the next one begins is not known any more */
			part.len = part.end - part.at;
			how |= QUESTION_NOWHERE;
		}
		one.payload = part.at;
		one.len = part.len;
		part.at += part.len;
		part.seq += part.len;
		if (judge_question(skb, &one, note, how) != QUESTION_ALLOWED) {
			stream->cut = 1;
			return 0;
		}
	}
	if (part.at < part.end && !stream->lost) { /* more than any client asks at once */
		stream->lost = 1;
		return pass_unread();
	}
	if (distance(stream->next, part.seq) > 0)
		stream->next = part.seq;
	return 1;
}

/* A segment to the trusted resolver. Returns whether it may leave. */
__weak __noinline int on_dns_segment(struct __sk_buff *skb, const struct packet *p,
				     const struct sock_note *note)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct dns_stream *stream;

	if (!p || !sk)
		return pass_unread();
	if (p->tcp_flags & TCP_SYN)
		return open_stream(sk, p);
	if (!p->len)
		return 1;
	stream = bpf_sk_storage_get(&dns_streams, sk, 0, 0);
	if (stream && stream->cut)
		return 0;
	if (!stream || stream->lost || distance(stream->next, p->seq) > 0)
		return pass_unread();
	return judge_parts(skb, p, note, stream);
}

#endif
