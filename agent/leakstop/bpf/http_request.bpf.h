/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * HTTP/1 requests (RFC 9112), each of a connection: its host, and where the next one begins.
 * Two readers must never differ on that, so what is not exactly as the RFC has it is refused.
 */
#ifndef LEAKSTOP_HTTP_REQUEST_BPF_H
#define LEAKSTOP_HTTP_REQUEST_BPF_H

#include "http_text.bpf.h"

#define HTTP_PORT  80
#define DIGITS_MAX 15 /* of a length; also in hexadecimal far from overflow */

enum request_state {
	HTTP_METHOD,
	HTTP_TARGET, /* its first byte */
	HTTP_SCHEME,
	HTTP_AUTHORITY,
	HTTP_PATH,
	HTTP_VERSION,
	HTTP_LINE_END,
	HTTP_LINE, /* its first byte */
	HTTP_FIELD,
	HTTP_VALUE_BEGIN,
	HTTP_VALUE,
	HTTP_HOST,
	HTTP_LENGTH,
	HTTP_CODING,
	HTTP_VALUE_END,
	HTTP_HEAD_END,
	HTTP_CHUNK,
	HTTP_CHUNK_EXTENSION,
	HTTP_CHUNK_BEGIN,
	HTTP_CHUNK_END,
	HTTP_CHUNK_LINE_END,
};

static __always_inline void begin_request(struct stream *st)
{
	__builtin_memset(&st->request, 0, sizeof(st->request));
	begin_name(st);
	st->protocol = SPEAKS_HTTP;
}

static __always_inline long go_on(struct stream *st, int condition, __u8 state)
{
	if (!condition)
		return refuse(st);
	st->request.state = state;
	return 0;
}

/* ---- the request line ---- */

static __always_inline long on_method(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if ((c >= 'A' && c <= 'Z') || c == '-') {
		put_word(r, c);
		return 0;
	}
	/* The preface of HTTP/2 (RFC 9113, 3.4), in which names are compressed. */
	if (c != ' ' || !r->word_len || is_word(r, "PRI", "", ""))
		return refuse(st);
	if (is_word(r, "CONNECT", "", ""))
		st->connect = st->changed = 1;
	begin_authority(st);
	begin_word(r);
	return go_on(st, 1, st->connect ? HTTP_AUTHORITY : HTTP_TARGET);
}

static __always_inline long on_target(struct stream *st, __u8 c)
{
	if (c == '/' || c == '*') {
		set_name_port(st, st->port);
		return go_on(st, 1, HTTP_PATH);
	}
	put_word(&st->request, lower(c));
	return go_on(st, !is_control(c), HTTP_SCHEME);
}

static __always_inline long on_scheme(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	put_word(r, lower(c));
	if (r->word_len < 7)
		return go_on(st, !is_control(c), HTTP_SCHEME);
	return go_on(st, is_word(r, "http://", "", ""), HTTP_AUTHORITY);
}

static __always_inline long on_authority(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;
	enum taken taken = put_authority(st, c);

	if (taken == TAKEN)
		return 0;
	if (taken == TAKEN_WRONG || end_name(st))
		return refuse(st);
	if (st->connect ? c != ' ' || !r->digits : c != '/' && c != '?' && c != ' ')
		return refuse(st);
	if (!r->digits)
		r->port = HTTP_PORT;
	if (!r->port) /* which stands for the connection's own */
		return refuse(st);
	st->changed |= st->differs;
	set_name_port(st, r->port);
	r->absolute = 1;
	begin_word(r);
	return go_on(st, 1, c == ' ' ? HTTP_VERSION : HTTP_PATH);
}

static __always_inline long on_path(struct stream *st, __u8 c)
{
	if (c != ' ')
		return go_on(st, !is_control(c), HTTP_PATH);
	begin_word(&st->request);
	return go_on(st, 1, HTTP_VERSION);
}

static __always_inline long on_version(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if (c != '\r') {
		put_word(r, c);
		return go_on(st, r->word_len <= 8, HTTP_VERSION);
	}
	r->old = is_word(r, "HTTP/1.0", "", "");
	return go_on(st, r->old || is_word(r, "HTTP/1.1", "", ""), HTTP_LINE_END);
}

/* ---- fields ---- */

static __always_inline long on_line(struct stream *st, __u8 c)
{
	if (c == '\r')
		return go_on(st, 1, HTTP_HEAD_END);
	begin_word(&st->request);
	put_word(&st->request, lower(c));
	return go_on(st, is_token(c), HTTP_FIELD);
}

/* Fields that decide whom the request is for or where it ends: one of each at most. */
static __always_inline long on_field(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;
	__u8 *seen = 0;

	if (c != ':') {
		put_word(r, lower(c));
		return go_on(st, is_token(c), HTTP_FIELD);
	}
	r->value = HTTP_VALUE;
	if (is_word(r, "host", "", "")) {
		begin_authority(st);
		r->value = HTTP_HOST;
		seen = &r->host;
	} else if (is_word(r, "content-", "length", "")) {
		r->digits = 0;
		r->value = HTTP_LENGTH;
		seen = &r->sized;
	} else if (is_word(r, "transfer", "-encodin", "g")) {
		r->value = HTTP_CODING;
		seen = &r->chunked;
	} else if (is_word(r, "upgrade", "", "")) {
		r->upgrade |= !r->trailer;
	}
	if (seen) {
		if (*seen || r->trailer)
			return refuse(st);
		*seen = 1;
	}
	begin_word(r);
	return go_on(st, 1, HTTP_VALUE_BEGIN);
}

static __always_inline long end_value(struct stream *st, __u8 c)
{
	if (c == '\r')
		return go_on(st, 1, HTTP_LINE_END);
	return go_on(st, is_blank(c), HTTP_VALUE_END);
}

static __always_inline long on_host(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;
	enum taken taken = put_authority(st, c);

	if (taken == TAKEN)
		return 0;
	if (taken == TAKEN_WRONG)
		return refuse(st);
	/* A host without a name is for targets that have none, too. */
	if ((st->name_at || r->absolute || r->part != PART_NAME) && end_name(st))
		return refuse(st);
	if (r->absolute && st->differs)
		return refuse(st);
	st->changed |= st->differs;
	return end_value(st, c);
}

static __always_inline long on_length(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if (is_digit(c)) {
		r->length = r->length * 10 + c - '0';
		return go_on(st, r->digits++ < DIGITS_MAX, HTTP_LENGTH);
	}
	return r->digits ? end_value(st, c) : refuse(st);
}

static __always_inline long on_coding(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if (is_token(c)) {
		put_word(r, lower(c));
		return 0;
	}
	/* Any other could be understood in two ways (RFC 9112, 6.1). */
	return !r->old && is_word(r, "chunked", "", "") ? end_value(st, c) : refuse(st);
}

/* What is of no interest, up to the end of its line. */
static __always_inline long on_text(struct stream *st, __u8 c, __u8 line_end)
{
	if (c == '\r')
		return go_on(st, 1, line_end);
	return is_control(c) && c != '\t' ? refuse(st) : 0;
}

/* ---- the body ---- */

static __always_inline void begin_chunk(struct request_walk *r)
{
	r->length = 0;
	r->digits = 0;
	r->state = HTTP_CHUNK;
}

/* What follows is behind the body, which is passed first. Returns 1 where it may be no HTTP. */
static __always_inline long end_message(struct stream *st)
{
	if (st->connect || st->request.upgrade) {
		st->protocol = SPEAKS_NOTHING_YET;
		return 1;
	}
	begin_request(st);
	return 0;
}

static __always_inline long on_head_end(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;
	long shown;

	if (c != '\n')
		return refuse(st);
	if (r->trailer)
		return end_message(st);
	if (r->chunked && (r->sized || st->connect))
		return refuse(st);
	if (st->connect && r->length)
		return refuse(st);
	settle_name(st);
	set_kind(st, STREAM_HTTP);
	shown = show(st);
	if (r->chunked) {
		begin_chunk(r);
		return shown;
	}
	st->body = r->length;
	return end_message(st) || shown;
}

static __always_inline long on_chunk(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if (is_hex(c)) {
		r->length = r->length * 16 + (is_digit(c) ? c - '0' : lower(c) - 'a' + 10);
		return go_on(st, r->digits++ < DIGITS_MAX, HTTP_CHUNK);
	}
	if (!r->digits)
		return refuse(st);
	if (c == ';')
		return go_on(st, 1, HTTP_CHUNK_EXTENSION);
	return go_on(st, c == '\r', HTTP_CHUNK_BEGIN);
}

static __always_inline long on_chunk_begin(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if (r->length) {
		st->body = r->length;
		return go_on(st, c == '\n', HTTP_CHUNK_END);
	}
	r->trailer = 1;
	return go_on(st, c == '\n', HTTP_LINE);
}

static __always_inline long on_chunk_line_end(struct stream *st, __u8 c)
{
	begin_chunk(&st->request);
	return go_on(st, c == '\n', HTTP_CHUNK);
}

/* ---- */

static __always_inline long on_character(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if (r->state == HTTP_VALUE_BEGIN) {
		if (is_blank(c))
			return 0;
		r->state = r->value;
	}
	switch (r->state) {
	case HTTP_METHOD:
		return on_method(st, c);
	case HTTP_TARGET:
		return on_target(st, c);
	case HTTP_SCHEME:
		return on_scheme(st, c);
	case HTTP_AUTHORITY:
		return on_authority(st, c);
	case HTTP_PATH:
		return on_path(st, c);
	case HTTP_VERSION:
		return on_version(st, c);
	case HTTP_LINE_END:
		return go_on(st, c == '\n', HTTP_LINE);
	case HTTP_LINE:
		return on_line(st, c);
	case HTTP_FIELD:
		return on_field(st, c);
	case HTTP_VALUE:
		return on_text(st, c, HTTP_LINE_END);
	case HTTP_HOST:
		return on_host(st, c);
	case HTTP_LENGTH:
		return on_length(st, c);
	case HTTP_CODING:
		return on_coding(st, c);
	case HTTP_VALUE_END:
		return end_value(st, c);
	case HTTP_HEAD_END:
		return on_head_end(st, c);
	case HTTP_CHUNK:
		return on_chunk(st, c);
	case HTTP_CHUNK_EXTENSION:
		return on_text(st, c, HTTP_CHUNK_BEGIN);
	case HTTP_CHUNK_BEGIN:
		return on_chunk_begin(st, c);
	case HTTP_CHUNK_END:
		return go_on(st, c == '\r', HTTP_CHUNK_LINE_END);
	default:
		return on_chunk_line_end(st, c);
	}
}

/* Reads a character, or jumps over many; a call-back of bpf_loop. */
static long read_request(__u32 i, struct chunk *chunk)
{
	struct stream *st = chunk->st;
	__u32 at = st->at, left = st->have - at;
	__u8 state = st->request.state;

	if (at >= st->have || at >= MESSAGE_MAX)
		return 1;
	if (st->body) {
		if (left > st->body)
			left = st->body;
		st->at = at + left;
		st->body -= left;
		return 0;
	}
	if ((state == HTTP_VALUE || state == HTTP_PATH) && left >= 8 && at <= MESSAGE_MAX - 8 &&
	    !has_special(word_at(chunk->bytes + at), state == HTTP_PATH ? ' ' + 1 : ' ')) {
		st->at = at + 8;
		return 0;
	}
	st->at = at + 1;
	return on_character(st, chunk->bytes[at & (MESSAGE_MAX - 1)]);
}

#endif
