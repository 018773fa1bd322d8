/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A secret in pieces, each in a question of its own: what stands in front of a common parent is
 * joined over questions, whoever asks them (each piece may have its own `dig`). Which labels are
 * the parent only the thief knows, so each ending of the name is taken for it.
 */
#ifndef LEAKSTOP_SERIES_BPF_H
#define LEAKSTOP_SERIES_BPF_H

#include "dns_message.bpf.h"

#define PARENT_MIN 2 /* labels; one is a registry's */
#define PARENT_MAX 6

/* By the parent's hash. LRU: what is forgotten are the parents that nobody asks below. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct series);
} series SEC(".maps");

#define DIGITS_COUNT 3 /* of a piece's number: 0-abcd, abcd.3 */

static long walk_series(__u32 i, struct scratch **scratch)
{
	struct scratch *s = *scratch;
	struct series_walk *walk = &s->series;
	__u8 c;

	if (i >= s->message.name_len)
		return 1;
	c = s->message.name[i & (NAME_MAX_TEXT - 1)];
	if (!walk->labels) {
		walk->parent = (walk->parent ^ lower(c)) * FNV_PRIME;
		return 0;
	}
	walk->now.front = (walk->now.front ^ lower(c)) * FNV_PRIME;
	if (walk->numbered && walk->digits && walk->digits <= DIGITS_COUNT &&
	    (c == '-' || c == '.')) {
		walk->out = walk->label;
	} else if (c != '.') {
		s->window.bytes[WINDOW_EDGE + (walk->out & (NAME_MAX_TEXT - 1))] = c;
		walk->out++;
	}
	if (c == '.') {
		walk->labels--;
		walk->label = walk->out;
		walk->digits = 0;
	} else {
		walk->digits += c >= '0' && c <= '9' ? 1 : DIGITS_COUNT + 1;
	}
	return 0;
}

/*
 * Reads the name into what is in front of its last `labels` labels, and those. `numbered`: what
 * looks like a piece's number is no part of it; it may as well be one, so both are tried.
 */
__weak __noinline int split_name(struct scratch *scratch, __u32 labels, __u32 numbered)
{
	struct scratch *s = scratch;
	__u32 all;

	if (!scratch)
		return -1;
	all = s->message.name_len - s->message.walk.joined + 1; /* every dot divides two */
	if (all <= labels)
		return -1;
	__builtin_memset(&s->series, 0, sizeof(s->series));
	s->series.parent = FNV_BASIS + numbered;
	s->series.now.front = FNV_BASIS;
	s->series.labels = all - labels;
	s->series.numbered = numbered;
	bpf_loop(NAME_LIMIT, walk_series, &s, 0);
	return 0;
}

/* Puts in front of that what was asked below the same parent before. */
static __always_inline int continue_series(struct scratch *s)
{
	struct series *before = bpf_map_lookup_elem(&series, &s->series.parent);
	struct window *w = &s->window;

	w->from = WINDOW_EDGE;
	w->to = WINDOW_EDGE + s->series.out;
	if (!before)
		return 0;
	if (before->front == s->series.now.front)
		return -1; /* the same name, for another type or once more */
	for (__u32 i = 0; i < WINDOW_EDGE; i += 8)
		*(__u64 *)(w->bytes + i) = word_at(before->tail + i);
	w->from = WINDOW_EDGE - before->len;
	return 0;
}

static __always_inline void keep_series(struct scratch *s)
{
	__u32 len = s->series.out & (NAME_MAX_TEXT - 1);

	slide(&s->window, len);
	s->series.now.len = WINDOW_EDGE - s->window.from;
	for (__u32 i = 0; i < WINDOW_EDGE; i += 8)
		*(__u64 *)(s->series.now.tail + i) = word_at(s->window.bytes + i);
	bpf_map_update_elem(&series, &s->series.parent, &s->series.now, BPF_ANY);
}

/* Whether the name that scan_name() has read completes a secret. It is kept if it does not. */
__weak __noinline int scan_series(const struct scratch *mine)
{
	struct scratch *s = mine ? as_map_value(mine) : 0;

	if (!s)
		return 0;
	for (__u32 i = 2 * PARENT_MIN; i <= 2 * PARENT_MAX + 1; i++) {
		if (split_name(s, i / 2, i & 1))
			break;
		if (continue_series(s))
			continue;
		s->window.seen = s->window.gone = WINDOW_EDGE;
		scan_window(&s->window, &s->hits);
		s->window.seen = s->window.gone = 0;
		if (s->hits.count)
			break;
		keep_series(s);
	}
	return s->hits.count;
}

#endif
