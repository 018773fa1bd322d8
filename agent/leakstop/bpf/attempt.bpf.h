/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* An attempt to reach something: how it is told, and who is killed on its account. */
#ifndef LEAKSTOP_ATTEMPT_BPF_H
#define LEAKSTOP_ATTEMPT_BPF_H

#include "event.bpf.h"
#include "verdict.bpf.h"

/*
 * Refused and to be killed: at once where the kernel can, else the agent does it. A packet runs
 * on any process's stack, so only the owner of the socket is killed.
 */
static __always_inline __u8 kill_owner(const struct judgement *j, __u32 owner)
{
	if (j->carriage != CARRIAGE_KILL || !cfg.signal || current_pid() != owner)
		return 0;
	return bpf_send_signal(9) == 0;
}

struct attempt {
	struct target target;
	__u64 cookie; /* of the socket */
	__u32 pid;
	__u8 via;
	__u8 family; /* of a socket that is not IP's */
	__u8 narrowed;
	__u8 pad;
};

/* Whether `a` was not reported before with this outcome. Explains only, so LRU is enough. */
static __always_inline int is_news(const struct attempt *a, const struct judgement *j)
{
	struct sent_key key = { .cookie = a->cookie,
				.port = a->target.port,
				.judged = j->applied | j->policy << 4 | j->carriage << 8 };
	__u8 one = 1;

	__builtin_memcpy(key.ip, a->target.ip, 16);
	return !bpf_map_update_elem(&sent, &key, &one, BPF_NOEXIST);
}

/* Whether this place was not told of before: an uplink does not repeat what a socket hook said. */
__weak __noinline int is_untold(const struct target *target, __u64 name)
{
	struct sent_key key = { .cookie = name };
	__u8 one = 1;

	if (!target)
		return 1;
	key.port = target->port;
	key.protocol = target->protocol;
	__builtin_memcpy(key.ip, target->ip, 16);
	return !bpf_map_update_elem(&sent, &key, &one, BPF_NOEXIST);
}

/* Global, because a program has 512 bytes of stack with all that it calls. */
__weak __noinline int report_attempt(const struct attempt *attempt,
				     const struct judgement *judgement, const struct mark *mark,
				     __u8 killed)
{
	struct event_connect event = { .head.kind = EVENT_CONNECT, .killed = killed };

	if (!attempt || !judgement)
		return -1;
	event.head.pid = attempt->pid;
	event.head.ts = bpf_ktime_get_boot_ns();
	event.cookie = attempt->target.protocol == TCP ? attempt->cookie : 0;
	event.port = attempt->target.port;
	event.protocol = attempt->target.protocol;
	event.via = attempt->via;
	event.family = attempt->family;
	event.narrowed = attempt->narrowed;
	event.judged = *judgement;
	__builtin_memcpy(event.ip, attempt->target.ip, 16);
	if (mark) {
		event.head.start = mark->start;
		event.hit_count = mark->hits.count;
		for (int i = 0; i < HITS_MAX; i++)
			event.hits[i] = mark->hits.needle[i];
	}
	emit(&event, sizeof(event));
	if (judgement->policy == ACTION_DENY)
		is_untold(&attempt->target, 0);
	return 0;
}

#endif
