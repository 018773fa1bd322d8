/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Reading names in a DNS message (RFC 1035, 4.1.4). Each step is a call-back of bpf_loop or a
 * global function, so that the verifier walks it once.
 */
#ifndef LEAKSTOP_DNS_MESSAGE_BPF_H
#define LEAKSTOP_DNS_MESSAGE_BPF_H

#include "scan.bpf.h"
#include "verdict.bpf.h"

#define TYPE_CNAME 5
#define TYPE_A     1
#define TYPE_AAAA  28
#define TYPE_OPT   41
#define TYPE_SVCB  64
#define TYPE_HTTPS 65
#define CLASS_IN   1

#define NAME_LIMIT 253 /* characters of a name as text */
#define JUMPS_MAX  16  /* compression pointers followed in one name */
#define HEADER_LEN 12

/* FNV-1a, 64 bit (http://www.isthe.com/chongo/tech/comp/fnv): names are compared by hash. */
#define FNV_BASIS 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

enum walk_state { WALK_ON, WALK_DONE, WALK_BAD };

static __always_inline __u8 lower(__u8 c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* A dot inside a label would make two names one; other odd bytes have no business here. */
static __always_inline int is_name_byte(__u8 c)
{
	c = lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static __always_inline long put_byte(struct message *m, __u8 c)
{
	struct name_walk *walk = &m->walk;
	__u32 out = walk->out;

	if (out >= NAME_LIMIT) {
		walk->state = WALK_BAD;
		return 1;
	}
	walk->hash = (walk->hash ^ lower(c)) * FNV_PRIME;
	if (walk->keep)
		m->name[out & (NAME_MAX_TEXT - 1)] = c;
	walk->out = out + 1;
	return 0;
}

static __always_inline long follow_pointer(struct message *m, __u8 high)
{
	struct name_walk *walk = &m->walk;
	__u32 at = walk->at + 1;

	if (walk->keep || at >= m->len || ++walk->jumps > JUMPS_MAX) {
		walk->state = WALK_BAD;
		return 1;
	}
	if (!walk->end)
		walk->end = at + 1;
	walk->at = (high & 0x3f) << 8 | m->bytes[at & (MESSAGE_MAX - 1)];
	return 0;
}

static long walk_byte(__u32 i, struct message **message)
{
	struct message *m = *message;
	struct name_walk *walk = &m->walk;
	__u32 at = walk->at;
	__u8 c;

	if (at >= m->len || at >= MESSAGE_MAX) {
		walk->state = WALK_BAD;
		return 1;
	}
	c = m->bytes[at & (MESSAGE_MAX - 1)];
	if (walk->left) {
		if (!is_name_byte(c))
			walk->odd = 1;
		walk->left--;
		walk->at = at + 1;
		return put_byte(m, c);
	}
	if (c == 0) {
		if (!walk->end)
			walk->end = at + 1;
		walk->state = WALK_DONE;
		return 1;
	}
	if ((c & 0xc0) == 0xc0)
		return follow_pointer(m, c);
	if (c & 0xc0) {
		walk->state = WALK_BAD;
		return 1;
	}
	walk->left = c;
	walk->at = at + 1;
	return walk->out ? put_byte(m, '.') : 0;
}

/*
 * Reads the name at `at`: its hash, its end, and with `keep` its text, in which case
 * compression is refused. Returns 0, or -1 if it is not a name.
 */
__weak __noinline int read_name(struct message *message, __u32 at, __u32 keep)
{
	struct message *m = message;

	if (!message)
		return -1;
	__builtin_memset(&m->walk, 0, sizeof(m->walk));
	m->walk.hash = FNV_BASIS;
	m->walk.at = at;
	m->walk.keep = keep;
	bpf_loop(NAME_LIMIT + 2 + JUMPS_MAX, walk_byte, &m, 0);
	if (m->walk.state != WALK_DONE)
		return -1;
	if (keep)
		m->name_len = m->walk.out;
	return 0;
}

static long reverse_byte(__u32 i, struct message **message)
{
	struct message *m = *message;
	__u32 from = m->name_len - 1 - i;
	__u8 c;

	if (i >= m->name_len)
		return 1;
	c = lower(m->name[from & (NAME_MAX_TEXT - 1)]);
	m->key.name[i & (NAME_MAX_TEXT - 1)] = c;
	if (c == '.')
		m->last_dot = i + 1;
	return 0;
}

/* Makes the name read last a key. */
__weak __noinline int make_key(struct message *message)
{
	__u32 len;

	if (!message)
		return -1;
	len = message->name_len;
	if (len > NAME_LIMIT)
		return -1;
	message->last_dot = 0;
	__builtin_memset(&message->key, 0, sizeof(message->key)); /* it is a key of a hash, too */
	bpf_loop(NAME_LIMIT, reverse_byte, &message, 0);
	message->key.prefixlen = (len + 1) * 8;
	return 0;
}

/*
 * What the policy holds for the name read last. Inline: to 6.1 a global function's argument
 * is no memory that a map key may be in.
 */
static __always_inline void look_up_name(struct message *message, struct vec *bits)
{
	struct name_node *node;

	__builtin_memset(bits, 0, sizeof(*bits));
	message->own = message->budget = message->below = 0;
	if (make_key(message))
		return;
	node = bpf_map_lookup_elem(&names, &message->key);
	if (!node)
		return;
	*bits = node->deep;
	message->own = node->own;
	message->budget = node->deep_budget;
	if (message->name_len > node->len)
		message->below = message->name_len - node->len;
	if (message->last_dot <= node->len) {
		join(bits, &node->one);
		message->budget = node->one_budget;
	}
}

/* The name twice: as it is, and with the dots left out, since a secret may span labels. */
#define JOINED NAME_MAX_TEXT

struct name_copy {
	struct message *message;
	struct window *window;
};

static long copy_byte(__u32 i, struct name_copy *copy)
{
	struct name_walk *walk = &copy->message->walk;
	__u8 c = 0;

	i &= NAME_MAX_TEXT - 1;
	if (i < copy->message->name_len)
		c = copy->message->name[i];
	copy->window->bytes[i] = c;
	if (c && c != '.') {
		copy->window->bytes[JOINED + (walk->joined & (NAME_MAX_TEXT - 1))] = c;
		walk->joined++;
	}
	return 0;
}

__weak __noinline int scan_name(struct message *message, struct window *window, struct hits *hits)
{
	struct name_copy copy = { .message = message, .window = window };

	if (!message || !window || !hits)
		return 0;
	hits->count = 0;
	if (!cfg.scans)
		return 0;
	bpf_loop(NAME_MAX_TEXT, copy_byte, &copy, 0);
	window->from = 0;
	window->to = JOINED + message->walk.joined;
	return scan_window(window, hits);
}

#endif
