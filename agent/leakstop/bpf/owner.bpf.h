/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * To whom a process belongs, and what it meets of the policy because of that: the AND of what its
 * step, its program and its container meet (policy/scopes.py). Kept by process and not by task:
 * the workers of io_uring pass through no tracepoint of fork. What is not known meets the least.
 */
#ifndef LEAKSTOP_OWNER_BPF_H
#define LEAKSTOP_OWNER_BPF_H

#include "verdict.bpf.h"

#define SIGCONT     18
#define SIGSTOP     19
#define AGENT_LIVES (1000 * 1000000ULL) /* ns after its last sign */

/* What a tag of TAG_STEPS and above meets, once the step has its name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct vec);
} steps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u64); /* struct owner's container */
	__type(value, struct vec);
} containers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} last_tag SEC(".maps");

/* Processes that are stopped until their step or their container has its name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct hold);
} holds SEC(".maps");

/* When the agent gave its last sign (boot clock, ns): nobody waits for one that is gone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} heartbeat SEC(".maps");

static __always_inline int is_steps(__u32 tag)
{
	return tag >= TAG_STEPS;
}

static __always_inline __u32 fresh_tag(void)
{
	__u32 zero = 0, *last = bpf_map_lookup_elem(&last_tag, &zero);

	return last ? TAG_STEPS + __sync_fetch_and_add(last, 1) : TAG_UNKNOWN;
}

/* Of a program that is not known, whatever denies some program holds. */
static __always_inline void forget_program(struct owner *owner)
{
	owner->inode = 0;
	for (int i = 0; i < 4; i++)
		owner->program.w[i] = cfg.programless.w[i] | cfg.deny.w[i];
}

/* A child is its parent's, but for the worker's: each of those is a step of its own. */
static __always_inline __u32 pass_on(__u32 parent, __u32 child, __u64 start)
{
	struct owner *from = bpf_map_lookup_elem(&owners, &parent), owner = {};

	if (from)
		owner = *from;
	else
		forget_program(&owner);
	owner.start = start;
	if (cfg.worker && parent == cfg.worker)
		owner.tag = fresh_tag();
	if (owner.tag == TAG_UNKNOWN && !owner.container) {
		bpf_map_delete_elem(&owners, &child); /* of one who had its number */
	} else if (bpf_map_update_elem(&owners, &child, &owner, BPF_ANY)) {
		lose(LOSS_OWNERS);
		return TAG_UNKNOWN;
	}
	return owner.tag;
}

/*
 * The owner of a process that becomes another program. A service of the machine that starts a
 * new one may do so for whoever asks (systemd-run, at, D-Bus), so that one is the job's. Without a
 * worker nobody else is guarded who could come from outside.
 */
static __always_inline struct owner *renew_owner(__u32 pid, __u64 start)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);
	struct owner newcomer = { .start = start, .tag = TAG_JOB };

	if (!owner && !cfg.worker) {
		bpf_map_update_elem(&owners, &pid, &newcomer, BPF_NOEXIST);
		owner = bpf_map_lookup_elem(&owners, &pid);
	}
	if (owner) {
		if (owner->tag == TAG_MACHINE)
			owner->tag = TAG_JOB;
		forget_program(owner);
	}
	return owner;
}

/*
 * Stops a process, before its first instruction, until user space has said what it may do.
 * Returns whether it did.
 */
static __always_inline int hold_back(__u32 pid, const struct owner *owner, int first_of_step)
{
	struct hold hold = { .since = bpf_ktime_get_boot_ns() };
	__u64 container, *beat;
	__u32 zero = 0;

	if (!owner)
		return 0;
	hold.start = owner->start;
	hold.tag = owner->tag;
	container = owner->container;
	if (cfg.hold_steps && first_of_step && !bpf_map_lookup_elem(&steps, &hold.tag))
		hold.waits |= WAITS_STEP;
	if (cfg.hold_containers && container && !bpf_map_lookup_elem(&containers, &container))
		hold.waits |= WAITS_CONTAINER;
	hold.container = container;
	beat = bpf_map_lookup_elem(&heartbeat, &zero);
	if (!hold.waits || !beat || hold.since > *beat + AGENT_LIVES)
		return 0;
	/* In this order: whoever reads the map lets go, and the stop must not come after that. */
	if (bpf_send_signal(SIGSTOP))
		return 0;
	if (!bpf_map_update_elem(&holds, &pid, &hold, BPF_ANY))
		return 1;
	bpf_send_signal(SIGCONT);
	return 0;
}

/* Takes away what one with this owner does not meet. */
__weak __noinline int narrow_to(struct vec *who, const struct owner *owner)
{
	const volatile struct vec *step, *box;
	__u64 container;
	__u32 tag;

	if (!who)
		return -1;
	tag = owner ? owner->tag : TAG_UNKNOWN;
	container = owner ? owner->container : 0;
	/* A note's maker may be nobody, with no program either. */
	if (!owner || (tag == TAG_UNKNOWN && !container)) {
		restrict_to(who, &cfg.nobody);
		return 0;
	}
	step = is_steps(tag) ? bpf_map_lookup_elem(&steps, &tag) : 0;
	box = container ? bpf_map_lookup_elem(&containers, &container) : 0;
	restrict_to(who, &owner->program);
	if (step)
		restrict_to(who, step);
	else if (tag == TAG_UNKNOWN)
		restrict_to(who, &cfg.unsure);
	else if (tag == TAG_RUNNER || tag == TAG_MACHINE)
		restrict_to(who, &cfg.runner);
	else
		restrict_to(who, &cfg.stepless);
	if (box)
		restrict_to(who, box);
	else if (container)
		restrict_to(who, &cfg.boxed);
	else
		restrict_to(who, &cfg.unboxed);
	return 0;
}

/* Whose questions are others', and judged when they asked: a resolver's on this machine, Docker's. */
static __always_inline int asks_for_others(const struct owner *owner)
{
	return owner && (owner->tag == TAG_MACHINE || owner->tag == TAG_ENGINE);
}

/*
 * What a process meets that uses a socket: no more than whoever made it. Written into its note,
 * too, for packets, which run on anybody's stack.
 */
__weak __noinline int find_who(__u32 pid, struct sock_note *note, struct vec *who)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);
	struct vec users;

	if (!who)
		return -1;
	__builtin_memset(who, 0xff, sizeof(*who));
	narrow_to(who, owner);
	if (note) {
		users = *who;
		narrow_to(who, &note->maker);
		note->narrowed = !equals(&users, who);
		note->who = *who;
		note->relays = asks_for_others(owner) && asks_for_others(&note->maker);
	}
	return 0;
}

/* Who makes a socket: what he meets then, and who he is, since his step may yet get its name. */
__weak __noinline int sign(struct sock_note *note, __u32 pid)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);

	if (!note)
		return -1;
	if (owner)
		note->maker = *owner;
	return find_who(pid, note, &note->who);
}

#endif
