/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The ClientHello (RFC 8446, 4.1.2; RFC 6066, 3), over however many records it is spread. A
 * server may answer with HelloRetryRequest, and then reads the name in the second hello: the
 * stream is read until the client has sent something that cannot be in front of one.
 */
#ifndef LEAKSTOP_TLS_HELLO_BPF_H
#define LEAKSTOP_TLS_HELLO_BPF_H

#include "stream_state.bpf.h"

#define TLS_HANDSHAKE   22
#define TLS_APPLICATION 23
#define TLS_MAJOR       3
#define CLIENT_HELLO    1
#define HELLO_MAX       16384 /* our limit; the largest seen, with post-quantum keys, have 4 KiB */
#define RECORD_HEADER   5
#define RECORD_MAX      16384
#define ENCRYPTED_MAX   (RECORD_MAX + 2048) /* RFC 5246, 6.2.3 */
#define RANDOM_LEN      32
#define SESSION_ID_MAX  32
#define EXTENSION_NAME  0
#define EXTENSION_EARLY 42
#define EXTENSION_ECH   0xfe0d /* encrypted_client_hello in IANA's registry */

/* The number that is read next. */
enum hello_state {
	HELLO_HEAD,
	HELLO_VERSION,
	HELLO_SESSION,
	HELLO_CIPHERS,
	HELLO_COMPRESSION,
	HELLO_EXTENSIONS,
	HELLO_EXTENSION,
	HELLO_NAME,
};

/* Bytes of that number, a hexadecimal digit for each state. */
#define HELLO_NEEDS 0x54212124

static __always_inline void expect_hello(struct hello_walk *h)
{
	h->state = HELLO_HEAD;
	h->need = 4;
	h->value = 0;
	h->left = 0;
	h->server_name = 0;
	h->encrypted_hello = 0;
}

static __always_inline void begin_hello(struct stream *st)
{
	__builtin_memset(&st->hello, 0, sizeof(st->hello));
	expect_hello(&st->hello);
	begin_name(st);
	st->protocol = SPEAKS_TLS;
}

static __always_inline __u8 hello_kind(const struct stream *st)
{
	return st->hello.encrypted_hello ? STREAM_HIDDEN : STREAM_TLS;
}

static __always_inline long end_hello(struct stream *st)
{
	struct hello_walk *h = &st->hello;

	if (h->record) /* nothing may follow in the record */
		return refuse(st);
	settle_name(st);
	set_kind(st, hello_kind(st));
	h->answered = 1;
	expect_hello(h);
	return show(st);
}

/*
 * What looks like no hello comes from a client that is past it. Encrypted records begin as
 * they like: one in 2^26 looks like a hello up to its version, and would be refused.
 */
static __always_inline long past_hello(struct stream *st)
{
	if (!st->hello.answered || st->hello.state > HELLO_VERSION)
		return refuse(st);
	st->protocol = SPEAKS_ANYTHING;
	return 1;
}

/* Passes `skip` bytes unread and then reads the number of `state`. */
static __always_inline long go_to(struct stream *st, __u32 skip, __u8 state)
{
	struct hello_walk *h = &st->hello;
	__u32 need = HELLO_NEEDS >> (state * 4 & 31) & 15;

	h->state = state;
	h->value = 0;
	h->skip = skip;
	if (skip > h->left)
		return refuse(st);
	h->left -= skip;
	/* The last extension, or none: hellos of TLS 1.0 end behind the compression methods. */
	if (!h->left && (state == HELLO_EXTENSIONS || state == HELLO_EXTENSION)) {
		h->need = 0;
		return skip ? 0 : end_hello(st);
	}
	if (need > h->left)
		return refuse(st);
	h->left -= need;
	h->need = need;
	return 0;
}

static __always_inline long on_extension(struct stream *st, __u32 type, __u32 len)
{
	struct hello_walk *h = &st->hello;

	if (type == EXTENSION_NAME) {
		if (h->server_name || len > h->left)
			return refuse(st);
		h->server_name = 1;
		h->text = len;
		return go_to(st, 0, HELLO_NAME);
	}
	if (type == EXTENSION_ECH)
		h->encrypted_hello = 1;
	if (type == EXTENSION_EARLY)
		h->early_data = 1;
	return go_to(st, len, HELLO_EXTENSION);
}

/* The whole extension is one list with one name of type host_name. */
static __always_inline long on_name(struct stream *st, __u64 value)
{
	struct hello_walk *h = &st->hello;
	__u32 list = value >> 24, type = value >> 16 & 0xff, len = value & 0xffff;

	if (type || h->text != len + 5 || list != len + 3 || !len || len > h->left)
		return refuse(st);
	h->left -= len;
	h->text = len;
	begin_name(st);
	return 0;
}

static __always_inline long on_number(struct stream *st, __u64 value)
{
	struct hello_walk *h = &st->hello;

	switch (h->state) {
	case HELLO_HEAD:
		h->left = value & 0xffffff;
		if (value >> 24 != CLIENT_HELLO)
			return past_hello(st);
		if (h->left > HELLO_MAX || h->left < RANDOM_LEN)
			return past_hello(st);
		return go_to(st, 0, HELLO_VERSION);
	case HELLO_VERSION:
		if (value >> 8 != TLS_MAJOR)
			return past_hello(st);
		return go_to(st, RANDOM_LEN, HELLO_SESSION);
	case HELLO_SESSION:
		return value > SESSION_ID_MAX ? refuse(st) : go_to(st, value, HELLO_CIPHERS);
	case HELLO_CIPHERS:
		return !value || value & 1 ? refuse(st) : go_to(st, value, HELLO_COMPRESSION);
	case HELLO_COMPRESSION:
		return !value ? refuse(st) : go_to(st, value, HELLO_EXTENSIONS);
	case HELLO_EXTENSIONS:
		return value != h->left ? refuse(st) : go_to(st, 0, HELLO_EXTENSION);
	case HELLO_EXTENSION:
		return on_extension(st, value >> 16, value & 0xffff);
	default:
		return on_name(st, value);
	}
}

static __always_inline long read_record_header(struct stream *st, __u8 c)
{
	struct hello_walk *h = &st->hello;
	__u8 at = h->header++;

	if (at == 0) {
		h->passing =
			h->answered && h->state == HELLO_HEAD && h->need == 4 && c != TLS_HANDSHAKE;
		if (c == TLS_HANDSHAKE)
			return 0;
		if (!h->passing)
			return refuse(st);
		/* In front of a second hello stands this only if it is early data. */
		return c == TLS_APPLICATION && !h->early_data ? past_hello(st) : 0;
	}
	if (at == 1)
		return c == TLS_MAJOR ? 0 : past_hello(st);
	if (at == 2)
		return 0;
	if (at == 3) {
		h->record = c << 8;
		return 0;
	}
	h->record |= c;
	if (!h->record) {
		h->header = 0;
		return h->answered ? 0 : refuse(st);
	}
	return h->record > (h->passing ? ENCRYPTED_MAX : RECORD_MAX) ? past_hello(st) : 0;
}

static __always_inline void take(struct stream *st, __u32 count)
{
	struct hello_walk *h = &st->hello;

	st->at += count;
	h->record -= count;
	if (!h->record)
		h->header = 0;
}

static __always_inline __u32 most(const struct stream *st, __u32 wanted)
{
	__u32 most = st->have - st->at;

	if (most > wanted)
		most = wanted;
	return most < st->hello.record ? most : st->hello.record;
}

/* Reads a byte, or jumps over many; a call-back of bpf_loop. */
static long read_hello(__u32 i, struct chunk *chunk)
{
	struct stream *st = chunk->st;
	struct hello_walk *h = &st->hello;
	__u32 at = st->at;
	__u8 c;

	if (at >= st->have || at >= MESSAGE_MAX)
		return 1;
	c = chunk->bytes[at & (MESSAGE_MAX - 1)];
	if (h->header < RECORD_HEADER) {
		st->at = at + 1;
		return read_record_header(st, c);
	}
	if (h->passing) {
		take(st, most(st, ENCRYPTED_MAX));
		return 0;
	}
	if (h->skip) {
		__u32 over = most(st, h->skip);

		take(st, over);
		h->skip -= over;
		return !h->skip && !h->need ? end_hello(st) : 0;
	}
	take(st, 1);
	if (h->need) {
		h->value = h->value << 8 | c;
		return --h->need ? 0 : on_number(st, h->value);
	}
	if (put_host(st, c))
		return refuse(st);
	if (--h->text)
		return 0;
	if (end_name(st))
		return refuse(st);
	st->changed |= st->differs;
	return go_to(st, 0, HELLO_EXTENSION);
}

#endif
