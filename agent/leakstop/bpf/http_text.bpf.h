/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Characters, words and authorities, as HTTP/1 writes them. */
#ifndef LEAKSTOP_HTTP_TEXT_BPF_H
#define LEAKSTOP_HTTP_TEXT_BPF_H

#include "stream_state.bpf.h"

#define LITERAL_MAX 48 /* an IPv6 address in brackets */

/* Up to eight characters as put_word() packs them. */
static __always_inline __u64 word(const char *text)
{
	__u64 packed = 0;

	for (int i = 0; i < 8 && text[i]; i++)
		packed |= (__u64)text[i] << i * 8;
	return packed;
}

static __always_inline void begin_word(struct request_walk *r)
{
	for (int i = 0; i < WORDS; i++)
		r->word[i] = 0;
	r->word_len = 0;
}

static __always_inline void put_word(struct request_walk *r, __u8 c)
{
	__u32 at = r->word_len;

	if (at < WORD_MAX)
		r->word[at / 8 & (WORDS - 1)] |= (__u64)c << at % 8 * 8;
	r->word_len = at + 1;
}

/* Whether the token is this one, in pieces of eight characters. */
static __always_inline int is_word(const struct request_walk *r, const char *first,
				   const char *second, const char *third)
{
	return r->word[0] == word(first) && r->word[1] == word(second) &&
	       r->word[2] == word(third) && !r->word[3];
}

static __always_inline int is_digit(__u8 c)
{
	return c >= '0' && c <= '9';
}

static __always_inline int is_hex(__u8 c)
{
	c = lower(c);
	return is_digit(c) || (c >= 'a' && c <= 'f');
}

static __always_inline int is_blank(__u8 c)
{
	return c == ' ' || c == '\t';
}

static __always_inline int is_control(__u8 c)
{
	return c < ' ' || c == 0x7f;
}

/* tchar of RFC 9110, 5.6.2: a bit for each of the first 128 characters. */
static __always_inline int is_token(__u8 c)
{
	__u64 bits = c & 64 ? 0x57ffffffc7fffffe : 0x03ff6cfa00000000;

	return c < 0x80 && (bits >> (c & 63) & 1);
}

#define EACH_BYTE(n) (0x0101010101010101ULL * (n))

/* Whether a byte is below `limit` or 0x7f (Anderson, Bit Twiddling Hacks: hasless, haszero). */
static __always_inline int has_special(__u64 bytes, __u64 limit)
{
	__u64 rubout = bytes ^ EACH_BYTE(0x7f);

	return (((bytes - EACH_BYTE(limit)) & ~bytes) | ((rubout - EACH_BYTE(1)) & ~rubout)) &
			       EACH_BYTE(0x80)
		       ? 1
		       : 0;
}

/* ---- host and port (RFC 3986, 3.2), in a target or in a Host field ---- */

enum authority_part { PART_NAME, PART_LITERAL, PART_LITERAL_END, PART_PORT };

enum taken { TAKEN, TAKEN_NOT, TAKEN_WRONG };

static __always_inline void begin_authority(struct stream *st)
{
	begin_name(st);
	st->request.part = PART_NAME;
	st->request.port = 0;
	st->request.digits = 0;
}

static __always_inline enum taken put_authority(struct stream *st, __u8 c)
{
	struct request_walk *r = &st->request;

	if (r->part == PART_PORT) {
		if (!is_digit(c))
			return TAKEN_NOT;
		r->digits = 1;
		r->port = r->port * 10 + c - '0';
		return r->port > 65535 ? TAKEN_WRONG : TAKEN;
	}
	if (r->part == PART_LITERAL) {
		if (st->name_at > LITERAL_MAX || !(is_hex(c) || c == ':' || c == '.' || c == ']'))
			return TAKEN_WRONG;
		put_name(st, lower(c));
		if (c == ']')
			r->part = PART_LITERAL_END;
		return TAKEN;
	}
	if (c == ':') {
		r->part = PART_PORT;
		return TAKEN;
	}
	if (r->part == PART_LITERAL_END)
		return TAKEN_NOT;
	if (c == '[' && !st->name_at) {
		put_name(st, c);
		r->part = PART_LITERAL;
		return TAKEN;
	}
	if (c != '.' && !is_name_byte(c))
		return TAKEN_NOT;
	return put_host(st, c) ? TAKEN_WRONG : TAKEN;
}

#endif
