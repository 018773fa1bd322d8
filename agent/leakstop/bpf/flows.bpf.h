/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Where each TCP socket leads, for programs that meet a process and not its packets: those may
 * sleep, and then read neither a socket's storage nor the tables of the policy.
 */
#ifndef LEAKSTOP_FLOWS_BPF_H
#define LEAKSTOP_FLOWS_BPF_H

#include "stream_state.bpf.h"

/* By the socket's cookie. LRU: a forgotten one is judged as an address that nobody named. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct flow);
} flows SEC(".maps");

/*
 * The flow that showed a name last, whosever it is: by the name's hash. A client behind a relay
 * on this machine has no socket of its own that leads anywhere.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct flow);
} shown_flows SEC(".maps");

struct name_text {
	char text[NAME_MAX_TEXT]; /* no trailing dot */
};

struct name_hash {
	const struct name_text *name;
	__u64 hash;
	__u32 len;
	__u32 pad;
};

static long hash_character(__u32 i, struct name_hash *h)
{
	if (i >= h->len)
		return 1;
	h->hash = (h->hash ^ lower(h->name->text[i & (NAME_MAX_TEXT - 1)])) * FNV_PRIME;
	return 0;
}

/* FNV-1a of a name in lower case; of none it is 0. Global: verified once, not for each caller. */
__weak __noinline __u64 hash_name(const struct name_text *name, __u32 len)
{
	struct name_hash h = { .name = name, .hash = FNV_BASIS, .len = len };

	if (!name || !len)
		return 0;
	bpf_loop(NAME_LIMIT, hash_character, &h, 0);
	return h.hash;
}

/* In claimed memory: the value is too much for a stack that is full. */
__weak __noinline int write_flow(const struct scratch *mine, __u64 cookie,
				 const struct target *target, const struct place *place,
				 const struct stream *shown)
{
	struct scratch *s;

	if (!mine || !target || !place)
		return -1;
	s = as_map_value(mine);
	if (!s)
		return -1;
	s->flow.target = *target;
	s->flow.place = *place;
	s->flow.name = shown ? hash_name((const void *)shown->name, shown->name_len) : 0;
	if (s->flow.name)
		bpf_map_update_elem(&shown_flows, &s->flow.name, &s->flow, BPF_ANY);
	return bpf_map_update_elem(&flows, &cookie, &s->flow, BPF_ANY);
}

/* A connection that may be made; what it shows comes later. */
__weak __noinline int keep_flow(__u64 cookie, const struct target *target,
				const struct place *place)
{
	struct scratch *s;

	if (!target || !place)
		return -1;
	s = claim();
	if (!s)
		return -1;
	write_flow(s, cookie, target, place, 0);
	release(s);
	return 0;
}

#endif
