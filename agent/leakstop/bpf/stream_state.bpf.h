/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is remembered of a TCP stream between its segments. All of it is map memory, so that
 * the verifier walks each step of the automata once and not once for each state.
 */
#ifndef LEAKSTOP_STREAM_STATE_BPF_H
#define LEAKSTOP_STREAM_STATE_BPF_H

#include "dns_message.bpf.h"

enum speaks {
	NOT_BEGUN, /* no SYN was seen: where its bytes stand is not known */
	SPEAKS_NOTHING_YET,
	SPEAKS_TLS,
	SPEAKS_HTTP,
	SPEAKS_ANYTHING, /* what follows is not read */
};

struct hello_walk {
	__u64 value;  /* the number being read */
	__u32 need;   /* bytes of it to come */
	__u32 skip;   /* bytes to pass unread */
	__u32 left;   /* bytes of the hello behind both */
	__u16 text;   /* bytes of the name to come */
	__u16 record; /* bytes of the record to come */
	__u8 header;  /* bytes of the record's header that were read */
	__u8 state;
	__u8 passing;     /* this record is of no interest */
	__u8 answered;    /* a hello was read: only a second one is of interest */
	__u8 server_name; /* extensions that the hello has */
	__u8 encrypted_hello;
	__u8 early_data;
	__u8 pad;
};

#define WORDS    4 /* of 8 characters */
#define WORD_MAX (WORDS * 8)

struct request_walk {
	__u64 word[WORDS]; /* the token being read, first character lowest, zeroes behind */
	__u64 length;      /* of the body, or of a chunk of it */
	__u32 word_len;
	__u32 port; /* in the authority being read */
	__u8 state;
	__u8 part; /* of the authority */
	__u8 digits;
	__u8 old;      /* HTTP/1.0 */
	__u8 absolute; /* the target has an authority */
	__u8 host;     /* fields that the head has */
	__u8 sized;
	__u8 chunked;
	__u8 upgrade;
	__u8 trailer;
	__u8 value; /* the state that reads the field's value */
	__u8 pad[5];
};

struct stream {
	__u32 next;   /* sequence number of the next byte to read */
	__u32 offset; /* of that byte in the packet in hand */
	__u32 rest;   /* bytes of the packet from there */
	__u32 have;   /* bytes in the chunk in hand */
	__u32 at;     /* and how many of them were read */
	__u32 name_at;
	__u64 body; /* bytes of a body to pass unread */
	struct hello_walk hello;
	struct request_walk request;
	__u8 protocol; /* enum speaks */
	__u8 kind;     /* enum stream_kind */
	__u8 connect;  /* the request asks a proxy for a tunnel to name and name_port */
	__u8 tunnel;   /* the stream is inside one */
	__u8 named;    /* the name is complete */
	__u8 differs;  /* it is not the one that stood here */
	__u8 changed;  /* something that was judged is not as it was */
	__u8 show;
	__u16 port;      /* the tunnel's; 0: the connection's own */
	__u16 name_port; /* the one that the name is for; 0: the connection's own */
	__u16 name_len;
	__u8 pad[2];
	char name[NAME_MAX_TEXT]; /* lower case, no trailing dot; behind name_len is old text */
};

struct chunk {
	struct stream *st;
	__u8 *bytes; /* MESSAGE_MAX of them */
};

/* ---- what the automata say; each returns 1 to end the loop over a chunk ---- */

static __always_inline void set_kind(struct stream *st, __u8 kind)
{
	if (st->kind != kind)
		st->changed = 1;
	st->kind = kind;
}

static __always_inline void set_name_port(struct stream *st, __u16 port)
{
	if (st->name_port != port)
		st->changed = 1;
	st->name_port = port;
}

/* Nothing that can be judged by a name; if it may pass all the same, so may the rest. */
static __always_inline long refuse(struct stream *st)
{
	st->protocol = SPEAKS_ANYTHING;
	st->kind = STREAM_OTHER;
	st->name_port = st->port;
	st->connect = 0;
	st->named = 0;
	st->name_len = 0;
	st->show = 1;
	return 1;
}

/* Complete: told if it is not what was told last. */
static __always_inline long show(struct stream *st)
{
	st->show |= st->changed;
	st->changed = 0;
	return st->show != 0;
}

static __always_inline void begin_name(struct stream *st)
{
	st->name_at = 0;
	st->named = 0;
	st->differs = 0;
}

/*
 * Writes over the name before, so that no second one is needed to compare. A dot at its end
 * does not count; if it is not the end, the length will tell.
 */
static __always_inline void put_name(struct stream *st, __u8 c)
{
	__u32 at = st->name_at & (NAME_MAX_TEXT - 1);

	if (st->name[at] != c && !(c == '.' && at == st->name_len))
		st->differs = 1;
	st->name[at] = c;
	st->name_at = at + 1;
}

/* A character of a host's name. Returns 0, or -1 if it is none. */
static __always_inline int put_host(struct stream *st, __u8 c)
{
	__u32 at = st->name_at;

	if (at > NAME_LIMIT) /* with the dot at its end */
		return -1;
	if (c == '.') {
		if (!at || st->name[(at - 1) & (NAME_MAX_TEXT - 1)] == '.')
			return -1;
	} else if (!is_name_byte(c)) {
		return -1;
	}
	put_name(st, lower(c));
	return 0;
}

/* Returns 0, or -1 if the name is too long or none. */
static __always_inline int end_name(struct stream *st)
{
	__u32 len = st->name_at;

	if (len && st->name[(len - 1) & (NAME_MAX_TEXT - 1)] == '.')
		len--;
	if (!len || len > NAME_LIMIT)
		return -1;
	if (st->name_len != len)
		st->differs = 1;
	st->name_len = len;
	st->named = 1;
	return 0;
}

/* What has a name was read to its end, perhaps without one. */
static __always_inline void settle_name(struct stream *st)
{
	if (!st->named && st->name_len) {
		st->changed = 1;
		st->name_len = 0;
	}
	st->named = 0;
}

#endif
