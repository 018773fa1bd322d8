/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Finds needles in a window of bytes. Every needle has `stride` consecutive 8-byte grams in
 * the table, so looking at one offset in `stride` meets one of them wherever the needle
 * stands (leakstop/secrets/needles.py builds the table and proves it by test).
 */
#ifndef LEAKSTOP_SCAN_BPF_H
#define LEAKSTOP_SCAN_BPF_H

#include "scratch.bpf.h"

static __always_inline __u32 bloom_hash(__u64 gram)
{
	/* Fibonacci hashing: 2^64 / golden ratio (Knuth, TAOCP 6.4) */
	return (gram * 0x9e3779b97f4a7c15ULL) >> (64 - BLOOM_BITS);
}

static __always_inline __u64 word_at(const __u8 *bytes)
{
	/*
	 * One load: from memcpy() clang makes eight, because the bytes need not be aligned. On
	 * x86_64 and arm64 they need not be for the kernel either.
	 */
	return *(const volatile __u64 *)bytes;
}

/*
 * The secret (its index plus one) whose needle's core stands at `start`, or 0. Compared are
 * eight words and a last, overlapping one. A global function: verified once, not once for
 * each caller's state.
 */
__weak __noinline int secret_at(struct window *w, __u32 needle, __u32 start)
{
	struct core *core = bpf_map_lookup_elem(&cores, &needle);
	__u32 len;

	if (!w || !core)
		return 0;
	len = core->len;
	len -= 8; /* 6.1's verifier learns nothing from `len < 8` */
	if (len > CORE_MAX - 8)
		return 0;
	if (start > WINDOW - CORE_MAX || start < w->from || start + len + 8 > w->to)
		return 0;
	for (__u32 i = 0; i < CORE_MAX; i += 8) {
		if (i > len)
			break;
		if (word_at(w->bytes + start + i) != word_at(core->bytes + i))
			return 0;
	}
	if (word_at(w->bytes + start + len) != word_at(core->bytes + len))
		return 0;
	return core->secret + 1;
}

static __always_inline void add_hit(struct hits *hits, __u16 needle, __u16 secret)
{
	__u32 count = hits->count;

	for (__u32 i = 0; i < HITS_MAX; i++)
		if (i < count && hits->secret[i] == secret)
			return;
	/* More than HITS_MAX secrets at once: those found already decide. */
	if (count < HITS_MAX) {
		hits->needle[count] = needle;
		hits->secret[count] = secret;
		hits->count = count + 1;
	}
}

struct scan {
	const struct bloom *bloom;
	struct window *window;
	struct hits *hits;
};

/* Rare: the word at `offset` may be a gram of some needle. */
__weak __noinline int check_gram(struct window *w, struct hits *hits, __u32 offset)
{
	struct gram *gram;
	__u64 word;

	if (!w || !hits)
		return 0;
	barrier_var(offset);
	if (offset > WINDOW - 8)
		return 0;
	barrier_var(offset); /* else it is read again as it was before the check */
	word = word_at(w->bytes + offset);
	gram = bpf_map_lookup_elem(&grams, &word);
	if (!gram)
		return 0;
	for (__u32 slot = 0; slot < GRAM_SLOTS; slot++) {
		__u32 needle = gram->needle[slot];
		int secret;

		if (!needle)
			break;
		secret = secret_at(w, needle - 1, offset - gram->at[slot]);
		if (secret)
			add_hit(hits, needle - 1, secret - 1);
	}
	return 0;
}

#define WORDS_AT_ONCE 16 /* a call for each word would cost more than the look at it */

/* Behind `to` stand old bytes, not somebody else's: secret_at() says whether a hit counts. */
static long scan_words(__u32 i, struct scan *scan)
{
	struct window *w = scan->window;
	__u64 stride = cfg.stride & 15, first = (__u64)i * WORDS_AT_ONCE * stride;
	__u32 found = 0;
	const __u8 *at;

	barrier_var(first);
	if (first >= w->to || first >= WINDOW)
		return 1;
	barrier_var(first); /* else it is read again as it was before the check */
	at = w->bytes + first;
	for (__u32 k = 0; k < WORDS_AT_ONCE; k++) {
		__u32 bit = bloom_hash(word_at(at + k * stride));

		found |= (scan->bloom->words[bit / 64] >> (bit % 64) & 1) << k;
	}
	for (__u32 k = 0; found && k < WORDS_AT_ONCE; k++)
		if (found >> k & 1)
			check_gram(w, scan->hits, first + k * stride);
	return 0;
}

/* Adds what stands between `from` and `to` to `hits`. */
__weak __noinline int scan_window(struct window *window, struct hits *hits)
{
	struct scan scan = { .window = window, .hits = hits };
	__u32 zero = 0;

	if (!window || !hits || !cfg.needles)
		return 0;
	scan.bloom = bpf_map_lookup_elem(&blooms, &zero);
	if (!scan.bloom)
		return 0;
	bpf_loop(WINDOW / WORDS_AT_ONCE + 1, scan_words, &scan, 0);
	return 0;
}

#endif
