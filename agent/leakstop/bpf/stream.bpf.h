/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a TCP stream shows of itself, read as it leaves: segment by segment, whatever their
 * sizes. Bytes are read once and in order; what could reach the peer other than it was read
 * here (a gap, urgent data, pages that may still change) does not leave.
 */
#ifndef LEAKSTOP_STREAM_BPF_H
#define LEAKSTOP_STREAM_BPF_H

#include "http_request.bpf.h"
#include "tls_hello.bpf.h"
#include "kernel.h"
#include <bpf/bpf_core_read.h>

enum stream_result {
	STREAM_PASS,  /* the segment may leave, nothing to judge */
	STREAM_SHOWN, /* kind and name are to be judged; if they may pass: read_stream() again */
	STREAM_DROP,  /* this segment must not leave now, which says nothing of the stream */
	STREAM_DONE,  /* whatever follows may leave: no need to read on */
};

struct segment {
	__u32 seq;    /* of the first byte */
	__u32 offset; /* of the payload in the packet */
	__u32 len;    /* of the payload */
	__u32 urgent; /* the URG flag */
};

/* A segment of 64 KiB is sixteen chunks; a request that changes the protocol ends its chunk. */
#define PARTS_MAX 64

/* enum skb_shared_info flags of <linux/skbuff.h>: also set by MSG_ZEROCOPY */
#define SKBFL_SHARED_FRAG 2

struct reading {
	struct __sk_buff *skb;
	struct stream *st;
	struct message *m;
};

/* A connection begins: at each SYN, since a socket can connect again. */
static __always_inline void begin_stream(struct stream *st, __u32 next)
{
	__builtin_memset(st, 0, sizeof(*st));
	st->next = next;
	st->protocol = SPEAKS_NOTHING_YET;
}

/*
 * Whether the sender can still change the bytes (sendfile, splice, MSG_ZEROCOPY): a lost
 * segment would be sent again with another name in it. To the kernel the context is its own
 * struct sk_buff, which helpers may read on 6.1 already; bpf_cast_to_kern_ctx came with 6.3.
 */
static __always_inline int is_shared(struct __sk_buff *skb)
{
	struct sk_buff *buffer = (void *)skb;
	struct skb_shared_info *info;
	unsigned char *head;
	__u32 end;
	__u8 flags;

	if (bpf_core_read(&head, sizeof(head), &buffer->head) ||
	    bpf_core_read(&end, sizeof(end), &buffer->end))
		return 1;
	info = (void *)(head + end);
	return bpf_core_read(&flags, sizeof(flags), &info->flags) || flags & SKBFL_SHARED_FRAG;
}

static __always_inline void advance(struct stream *st, __u32 by)
{
	st->next += by;
	st->offset += by;
	st->rest -= by;
}

/* The first byte of a stream, of a tunnel or after an upgrade. */
static __always_inline void recognise(struct stream *st, __u8 c)
{
	if (st->connect) {
		st->connect = 0;
		st->tunnel = 1;
		st->port = st->name_port;
		st->kind = STREAM_UNSEEN;
	}
	if (st->request.upgrade && (c >= 0x80 || c < '\t')) {
		/* WebSocket and the like; no server takes such a byte for the start of a request. */
		st->protocol = SPEAKS_ANYTHING;
		return;
	}
	if (c == TLS_HANDSHAKE) {
		begin_hello(st);
		set_name_port(st, st->port);
	} else {
		begin_request(st);
	}
}

/* The name is there, the rest is not: what may not pass is stopped now. */
static __always_inline void show_early(struct stream *st)
{
	set_kind(st, st->protocol == SPEAKS_TLS ? hello_kind(st) : STREAM_HTTP);
	show(st);
}

/* Loads and reads one chunk. Returns 0 if it was read to its end. */
__weak __noinline int read_part(struct __sk_buff *skb, struct stream *st, struct message *m)
{
	struct chunk chunk = { .st = st };
	__u32 len;

	if (!st || !m)
		return -1;
	len = st->rest;
	if (len > MESSAGE_MAX)
		len = MESSAGE_MAX;
	len -= 1; /* 6.1's verifier learns nothing from `!len` */
	barrier_var(len);
	if (len > MESSAGE_MAX - 1)
		return -1;
	len += 1;
	barrier_var(len);
	if (bpf_skb_load_bytes(skb, st->offset, m->bytes, len))
		return -1;
	chunk.bytes = m->bytes;
	st->at = 0;
	st->have = len;
	if (st->protocol == SPEAKS_NOTHING_YET)
		recognise(st, m->bytes[0]);
	if (st->protocol == SPEAKS_TLS)
		bpf_loop(MESSAGE_MAX, read_hello, &chunk, 0);
	else if (st->protocol == SPEAKS_HTTP)
		bpf_loop(MESSAGE_MAX, read_request, &chunk, 0);
	advance(st, st->at);
	return 0;
}

static long read_on(__u32 i, struct reading *r)
{
	struct stream *st = r->st;

	if (st->body) {
		__u32 over = st->body < st->rest ? st->body : st->rest;

		st->body -= over;
		advance(st, over);
	}
	return !st->rest || read_part(r->skb, st, r->m) || st->show ||
	       st->protocol == SPEAKS_ANYTHING;
}

/*
 * Reads a segment, or what is left of it after it showed something. What was shown is judged
 * by the caller; only STREAM_DONE ends the reading of a stream.
 */
__weak __noinline int read_stream(struct __sk_buff *skb, struct stream *st, struct message *m,
				  const struct segment *segment)
{
	struct reading reading = { .skb = skb, .st = st, .m = m };
	__u32 old;

	if (!st || !m || !segment)
		return STREAM_DROP;
	if (st->protocol == SPEAKS_ANYTHING)
		return STREAM_DONE;
	/* A receiver without SO_OOBINLINE takes an urgent byte out of the stream. */
	if (segment->urgent)
		return STREAM_DROP;
	if (!segment->len)
		return STREAM_PASS;
	old = st->next - segment->seq;
	if (st->protocol == NOT_BEGUN || (__s32)old < 0)
		return STREAM_DROP;
	if (old >= segment->len)
		return STREAM_PASS; /* sent before */
	st->offset = segment->offset + old;
	st->rest = segment->len - old;
	if (st->body < st->rest && is_shared(skb))
		return STREAM_DROP;
	bpf_loop(PARTS_MAX, read_on, &reading, 0);
	if (!st->show && st->rest && st->protocol != SPEAKS_ANYTHING)
		return STREAM_DROP;
	if (!st->rest && st->named)
		show_early(st);
	if (st->show) {
		st->show = 0;
		return STREAM_SHOWN;
	}
	return st->protocol == SPEAKS_ANYTHING ? STREAM_DONE : STREAM_PASS;
}

#endif
