/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Texts word by word: the path of a request to a container engine, the name of a cgroup. */
#ifndef LEAKSTOP_WORDS_BPF_H
#define LEAKSTOP_WORDS_BPF_H

#include "scratch.bpf.h"

#define ID_DIGITS 64

static __always_inline int divides(__u8 c, int is_name)
{
	return is_name ? c == '-' || c == '.' : c == '/';
}

static long read_byte(__u32 i, struct word_walk **walk)
{
	struct word_walk *w = *walk;
	__u8 c = w->text[i & (REQUEST_COPY - 1)], digit;
	struct word *word = &w->words[0];

	if (i >= w->len)
		return 1;
	if (!c || c == ' ' || c == '?') {
		w->len = i;
		return 1;
	}
	w->whole = (w->whole ^ c) * FNV_PRIME;
	if (divides(c, w->is_name)) {
		w->words[2] = w->words[1];
		w->words[1] = w->words[0];
		*word = (struct word){ .hash = FNV_BASIS, .hex = 1 };
		return 0;
	}
	word->hash = (word->hash ^ c) * FNV_PRIME;
	digit = c >= 'a' ? c - 'a' + 10 : c - '0';
	if (digit > 15 || (c > '9' && c < 'a'))
		word->hex = 0;
	if (word->len < 16)
		word->id = word->id << 4 | digit;
	word->len++;
	return 0;
}

/* Reads `len` bytes of the text. */
__weak __noinline int read_words(struct word_walk *w, __u32 len)
{
	if (!w)
		return -1;
	__builtin_memset(w->words, 0, sizeof(w->words));
	w->words[0].hash = w->whole = FNV_BASIS;
	w->words[0].hex = 1;
	w->len = len;
	bpf_loop(REQUEST_COPY, read_byte, &w, 0);
	return 0;
}

static __always_inline int is_id(const struct word *word)
{
	return word->hex && word->len == ID_DIGITS;
}

#endif
