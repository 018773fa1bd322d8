/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Finds needles in a window of bytes. Every needle has `stride` consecutive 8-byte grams in
 * the table, so looking at one offset in `stride` meets one of them wherever the needle
 * stands (leakstop/secrets/needles.py builds the table and proves it by test).
 */
#ifndef LEAKSTOP_SCAN_BPF_H
#define LEAKSTOP_SCAN_BPF_H

#include "scratch.bpf.h"

#define NO_ASCII 0x8080808080808080ULL
#define GOLDEN   0x9e3779b97f4a7c15ULL /* 2^64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 6.4) */

/*
 * Whether `gram` may be in the filter: two bits of one word (Putze, Sanders, Singler: Cache-,
 * Hash- and Space-Efficient Bloom Filters, 2007). The second costs less than the look-ups that
 * it saves as soon as there are some hundred secrets. The lowest bit of what it returns says so.
 */
static __always_inline __u64 may_be_gram(const struct bloom *bloom, __u64 mask, __u64 gram,
					 int apart)
{
	__u64 hash = (gram * GOLDEN) >> (64 - 6 - BLOOM_BITS);
	__u64 at = hash >> 9 & mask, word, other;

	if (apart && gram & NO_ASCII)
		word = *(const __u64 *)((const __u8 *)bloom->binary +
					(at & (sizeof(bloom->binary) - 8)));
	else
		word = *(const __u64 *)((const __u8 *)bloom->words + at);
	other = word;

	/* Of how far to shift, six bits count (RFC 9669, 4.1). In C they would have to be cut out. */
	asm("%0 >>= %1" : "+r"(word) : "r"(hash));
	asm("%0 >>= %1" : "+r"(other) : "r"(hash >> 6));
	return word & other;
}

/*
 * Of what has passed: whether it may be in the table, which is large and in no cache. Two bits of
 * a second filter, by the first hash hashed again. Zeros hash to zero, so that one bit lets all
 * of them pass the first filter, and data may be full of them: hence one more.
 */
static __always_inline __u64 is_likely_gram(const struct bloom *bloom, __u64 gram)
{
	__u64 mask = bloom->mask & (sizeof(bloom->second) - 8);
	__u64 hash = ((gram * GOLDEN + 1) * GOLDEN) >> (64 - 6 - BLOOM_BITS);
	__u64 word = *(const __u64 *)((const __u8 *)bloom->second + (hash >> 9 & mask));

	return word >> (hash & 63) & word >> (hash >> 6 & 63) & 1;
}

static __always_inline __u64 word_at(const __u8 *bytes)
{
	/*
	 * One load: from memcpy() clang makes eight, because the bytes need not be aligned. On
	 * x86_64 and arm64 they need not be for the kernel either.
	 */
	return *(const volatile __u64 *)bytes;
}

static __always_inline void add_hit(struct hits *hits, __u16 needle, __u16 secret, int begun)
{
	__u32 count = hits->count, last = 0;

	hits->begun = begun || (count && hits->begun);
	for (__u32 i = 0; i < HITS_MAX; i++) {
		if (i >= count)
			break;
		if (hits->secret[i] == secret)
			return;
		if (hits->secret[i] > hits->secret[last & (HITS_MAX - 1)])
			last = i;
	}
	/*
	 * More than HITS_MAX secrets at once: the first ones decide. Those are declared; whoever
	 * has secrets of his own found cannot hide one of them behind those.
	 */
	if (count < HITS_MAX)
		hits->count = (last = count) + 1;
	else if (hits->secret[last & (HITS_MAX - 1)] < secret)
		return;
	hits->needle[last & (HITS_MAX - 1)] = needle;
	hits->secret[last & (HITS_MAX - 1)] = secret;
}

/*
 * Adds the needle's secret to `hits` if its core stands at `start`. Compared are eight words and a
 * last, overlapping one. A global function: verified once, not once for each caller's state.
 */
__weak __noinline int check_core(struct window *w, struct hits *hits, __u32 needle, __u32 start)
{
	struct core *core = bpf_map_lookup_elem(&cores, &needle);
	__u32 len;

	if (!w || !hits || !core)
		return 0;
	len = core->len;
	len -= 8; /* 6.1's verifier learns nothing from `len < 8` */
	if (len > CORE_MAX - 8)
		return 0;
	if (start > WINDOW - CORE_MAX || start < w->from || start + len + 8 > w->to ||
	    start + len + 8 <= w->seen)
		return 0;
	for (__u32 i = 0; i < CORE_MAX; i += 8) {
		if (i > len)
			break;
		if (word_at(w->bytes + start + i) != word_at(core->bytes + i))
			return 0;
	}
	if (word_at(w->bytes + start + len) == word_at(core->bytes + len))
		add_hit(hits, needle, core->secret, (__s32)(start - core->at) < w->gone);
	return 0;
}

struct scan {
	const struct bloom *bloom;
	struct window *window;
	struct hits *hits;
};

#define WORDS_AT_ONCE  16
#define WORDS_CHECKED  8 /* at once, when one of them may be a gram */
#define GROUPS_AT_ONCE 9 /* a call costs as much as ten words; two do at the largest stride */
#define SCAN_CALLS     (WINDOW / (WORDS_AT_ONCE * GROUPS_AT_ONCE) + 1)

/* A bit for each of eight words. */
static __always_inline __u32 which_may_be(const struct bloom *bloom, __u64 mask, const __u8 *at,
					  __u64 stride, int apart)
{
	__u32 passed = 0;

#pragma clang loop unroll(full)
	for (__u32 k = 0; k < WORDS_CHECKED; k++) {
		passed |= (may_be_gram(bloom, mask, word_at(at), apart) & 1) << k;
		at += stride;
		barrier_var(passed);
	}
	return passed;
}

/* Rare: one of eight words from `offset` on may be a gram of some needle. */
__weak __noinline int check_words(struct window *w, struct hits *hits, __u32 offset)
{
	__u64 word = 0, mask, stride; /* and the key before: the stack is full */
	const struct bloom *bloom = bpf_map_lookup_elem(&blooms, &word);
	__u32 passed;
	const __u8 *at;

	if (!w || !hits || !bloom)
		return 0;
	/* No comparison: what is spilled before one is unbounded to 6.1 when it is read again. */
	stride = bloom->stride & (2 * STRIDE_MAX - 1);
	barrier_var(stride);
	barrier_var(offset);
	if (offset > WINDOW)
		return 0;
	barrier_var(offset); /* else it is read again as it was before the check */
	mask = bloom->mask & (sizeof(bloom->words) - 8);
	at = w->bytes + offset;
	if (bloom->apart) /* cfg.scans would do, and takes more of a stack that is full */
		passed = which_may_be(bloom, mask, at, stride, 1);
	else
		passed = which_may_be(bloom, mask, at, stride, 0);
	for (__u32 k = 0; k < WORDS_CHECKED && passed; k++, passed >>= 1, offset += stride) {
		struct gram *gram;

		if (!(passed & 1))
			continue;
		word = 0;
		bloom = bpf_map_lookup_elem(&blooms, &word);
		barrier_var(offset);
		if (!bloom || offset > sizeof(w->bytes) + sizeof(w->slack) - 8)
			return 0;
		barrier_var(offset);
		word = word_at(w->bytes + offset);
		gram = is_likely_gram(bloom, word) ? bpf_map_lookup_elem(&grams, &word) : 0;
#pragma clang loop unroll(full)
		for (__u32 slot = 0; gram && slot < GRAM_SLOTS; slot++) {
			if (!gram->needle[slot])
				break;
			check_core(w, hits, gram->needle[slot] - 1, offset - gram->at[slot]);
		}
	}
	return 0;
}

/*
 * Almost always none of the words is a gram, so they are asked about together first. Behind `to`
 * stand old bytes, not somebody else's: check_core() says whether a hit counts.
 */
static __always_inline long scan_part(__u32 i, struct scan *scan, int apart)
{
	__u64 stride = scan->bloom->stride, first, mask, found[2];

	barrier_var(stride);
	if (stride > STRIDE_MAX)
		return 1;
	barrier_var(stride); /* else it is read again as it was before the check */
	first = (__u64)i * WORDS_AT_ONCE * GROUPS_AT_ONCE * stride;
	for (__u32 group = 0; group < GROUPS_AT_ONCE; group++) {
		const struct bloom *bloom = scan->bloom;
		struct window *w = scan->window;
		const __u8 *at;

		barrier_var(first);
		if (first >= w->to || first >= WINDOW)
			return 1;
		barrier_var(first);
		at = w->bytes + first;
		mask = bloom->mask & (sizeof(bloom->words) - 8);
		found[0] = found[1] = 0;
#pragma clang loop unroll(full)
		for (__u32 k = 0; k < WORDS_AT_ONCE; k++) {
			found[k / WORDS_CHECKED] |= may_be_gram(bloom, mask, word_at(at), apart);
			at += stride;
			/* Else clang begins with all of them, and runs out of registers. */
			barrier_var(found[k / WORDS_CHECKED]);
		}
		/* Else it keeps what is in there, and the product: on a stack that is full. */
		barrier_var(scan);
		barrier_var(stride);
		if ((found[0] | found[1]) & 1) {
			if (found[0] & 1)
				check_words(scan->window, scan->hits, first);
			if (found[1] & 1)
				check_words(scan->window, scan->hits,
					    first + WORDS_CHECKED * stride);
		}
		first += WORDS_AT_ONCE * stride;
	}
	return 0;
}

static long scan_words(__u32 i, struct scan *scan)
{
	return scan_part(i, scan, 0);
}

static long scan_words_apart(__u32 i, struct scan *scan)
{
	return scan_part(i, scan, 1);
}

/* Whether one of sixteen words is ASCII: what is left of its upper bits is zero, and less one. */
static __always_inline int has_ascii(const __u8 *at, __u64 stride)
{
	__s64 found = 0;

#pragma clang loop unroll(full)
	for (__u32 k = 0; k < WORDS_AT_ONCE; k++) {
		found |= (word_at(at) >> 7 & (NO_ASCII >> 7)) - 1;
		at += stride;
		barrier_var(found);
	}
	return found < 0;
}

/* Looks up only where there are such words. */
static long scan_ascii_words(__u32 i, struct scan *scan)
{
	__u64 stride = scan->bloom->stride, first;

	barrier_var(stride);
	if (stride > STRIDE_MAX)
		return 1;
	barrier_var(stride);
	first = (__u64)i * WORDS_AT_ONCE * GROUPS_AT_ONCE * stride;
	for (__u32 group = 0; group < GROUPS_AT_ONCE; group++) {
		struct window *w = scan->window;

		barrier_var(first);
		if (first >= w->to || first >= WINDOW)
			return 1;
		barrier_var(first);
		if (has_ascii(w->bytes + first, stride)) {
			check_words(w, scan->hits, first);
			check_words(w, scan->hits, first + WORDS_CHECKED * stride);
		}
		first += WORDS_AT_ONCE * stride;
	}
	return 0;
}

/*
 * Only Huffman codes have grams with a byte that is no ASCII, unless a secret has one. Where there
 * are none of those, hardly anything need be looked up in what does not begin as text or programs
 * do: those have words of ASCII everywhere.
 */
static __always_inline int is_ascii_enough(const struct window *w, const struct bloom *bloom)
{
	return w->no_hpack && bloom->ascii &&
	       !has_ascii(w->bytes + WINDOW_EDGE, bloom->stride & (2 * STRIDE_MAX - 1));
}

/* Adds what stands between `from` and `to` to `hits`. */
__weak __noinline int scan_window(struct window *window, struct hits *hits)
{
	struct scan scan = { .window = window, .hits = hits };
	__u32 zero = 0;

	if (!window || !hits || !cfg.scans)
		return 0;
	scan.bloom = bpf_map_lookup_elem(&blooms, &zero);
	if (!scan.bloom)
		return 0;
	if (is_ascii_enough(window, scan.bloom))
		bpf_loop(SCAN_CALLS, scan_ascii_words, &scan, 0);
	else if (cfg.scans == SCANS_APART)
		bpf_loop(SCAN_CALLS, scan_words_apart, &scan, 0);
	else
		bpf_loop(SCAN_CALLS, scan_words, &scan, 0);
	return 0;
}

/* The window's last bytes, behind `len` new ones, become those in front of the next piece. */
static __always_inline void slide(struct window *w, __u32 len)
{
	for (__u32 i = 0; i < WINDOW_EDGE; i += 8)
		*(__u64 *)(w->bytes + i) = word_at(w->bytes + len + i);
	w->from = w->from > len ? w->from - len : 0;
	w->gone -= len;
}

#endif
