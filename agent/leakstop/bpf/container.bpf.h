/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * To whom a container belongs. A daemon starts it, so fork() does not tell; the request does
 * (engine.bpf.h), which is written before the container's first process is made, and has the
 * container's id. Nothing depends on time. What was asked for in a way that is not seen belongs
 * to nobody, and so does what two steps have asked for: whoever hides has less, not more.
 */
#ifndef LEAKSTOP_CONTAINER_BPF_H
#define LEAKSTOP_CONTAINER_BPF_H

#include "event.bpf.h"
#include "kernel.h"
#include "owner.bpf.h"
#include "words.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* LRU: what is forgotten belongs to nobody. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* struct owner's container */
	__type(value, struct claim);
} claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct door);
} doors SEC(".maps");

#define BUILDS_MAX 256

struct build {
	__u32 tag;
	__u32 kit; /* BuildKit does it */
};

/* Processes that have asked for an image to be built. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BUILDS_MAX);
	__type(key, __u32);
	__type(value, struct build);
} builds SEC(".maps");

struct build_walk {
	struct claim claim;
	__u32 kit; /* looked for */
	__u32 count;
	__u32 found;
	__u32 several;
};

static long read_build(void *map, const __u32 *pid, const struct build *build, struct build_walk *w)
{
	w->count++;
	if (build->kit != w->kit)
		return 0;
	if (w->found++ && w->claim.tag != build->tag)
		w->several = 1;
	w->claim.tag = build->tag;
	w->claim.asker = *pid;
	return 0;
}

/*
 * An engine makes containers of its own accord in which it builds an image. If but one has asked for
 * a build, they are his. BuildKit's have no id of Docker's, so a container that somebody starts in
 * secret meanwhile is none of them. A full table may lack one.
 */
static __always_inline struct claim claim_of_build(int kit)
{
	struct build_walk w = { .kit = kit };
	struct claim nobodys = {};

	bpf_for_each_map_elem(&builds, read_build, &w, 0);
	return w.several || w.count >= BUILDS_MAX ? nobodys : w.claim;
}

/* Whether whoever asked for the container has asked for one more process in it. */
static __always_inline int is_let_in(__u64 container, __u32 tag)
{
	struct door *door = bpf_map_lookup_elem(&doors, &container);

	if (!door || door->tag != tag || bpf_ktime_get_boot_ns() > door->until)
		return 0;
	if ((int)__sync_fetch_and_add(&door->left, -1) > 0) /* of two at once one is let in */
		return 1;
	__sync_fetch_and_add(&door->left, 1);
	return 0;
}

static __always_inline void enter(struct owner *owner, __u32 pid, __u64 container, int docker)
{
	struct claim fresh = claim_of_build(!docker), *claim;
	struct event_container event = { .container = container };

	bpf_map_update_elem(&claims, &container, &fresh, BPF_NOEXIST);
	claim = bpf_map_lookup_elem(&claims, &container);
	event.first = !claim || __sync_fetch_and_add(&claim->members, 1) <= 0;
	event.stays = owner->tag != TAG_ENGINE && owner->tag != TAG_MACHINE;
	owner->container = container;
	if (!event.stays) {
		owner->tag = claim ? claim->tag : TAG_UNKNOWN;
		if (!event.first && !is_let_in(container, owner->tag))
			owner->tag = TAG_UNKNOWN;
	}
	fill_head(&event.head, EVENT_CONTAINER, pid, owner->start);
	event.tag = owner->tag;
	event.asker = claim && !event.stays && event.tag != TAG_UNKNOWN ? claim->asker : 0;
	emit(&event, sizeof(event));
}

/*
 * What container a cgroup is of: `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`; 0 if its name has
 * no id. `whole`: a number for all of the name. An engine's process in a cgroup without an id is in a
 * container, too: BuildKit and containerd have names of their own.
 */
__weak __noinline __u64 read_container(__u64 name, __u64 *whole)
{
	struct scratch *s = claim();
	__u64 container = 0;
	long len;

	if (!s)
		return 0;
	len = bpf_probe_read_kernel_str(s->words.text, REQUEST_COPY, (void *)name);
	if (whole && len > 1 && len <= REQUEST_COPY) {
		s->words.is_name = 1;
		read_words(&s->words, len);
		for (int i = 0; i < 2 && !container; i++)
			if (is_id(&s->words.words[i]))
				container = s->words.words[i].id;
		*whole = s->words.whole;
	}
	release(s);
	return container;
}

/* A process is now in this cgroup. Those in a container stay in that one, wherever they go. */
static __always_inline void settle(__u32 pid, struct cgroup *cgroup)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);
	__u64 container, whole = 0;

	if (!owner || owner->container)
		return;
	container = read_container((__u64)BPF_CORE_READ(cgroup, kn, name), &whole);
	if (container)
		enter(owner, pid, container, 1);
	else if (whole && owner->tag == TAG_ENGINE)
		enter(owner, pid, whole, 0);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_container, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	if (is_guarded())
		settle(task->tgid, cgroup);
	return 0;
}

/* A child of this container's process, which is in it, too; or one that clone3 puts into one. */
static __always_inline void born_inside(struct task_struct *parent, struct task_struct *child)
{
	__u32 pid = child->pid;
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);
	struct claim *claim;
	__u64 container;

	if (!owner)
		return;
	container = owner->container;
	if (container) {
		claim = bpf_map_lookup_elem(&claims, &container);
		if (claim)
			__sync_fetch_and_add(&claim->members, 1);
	} else if (child->cgroups != parent->cgroups) {
		settle(pid, child->cgroups->dfl_cgrp);
	}
}

/*
 * At the end of a process: wherever it has gone meanwhile, its number will be another's. Two
 * threads may be its last ones; only one of them finds an owner to take away.
 */
static __always_inline void forget_owner(__u32 pid)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);
	__u64 container = owner ? owner->container : 0;
	struct claim *claim = container ? bpf_map_lookup_elem(&claims, &container) : 0;

	if (!bpf_map_delete_elem(&owners, &pid) && claim)
		__sync_fetch_and_add(&claim->members, -1);
	bpf_map_delete_elem(&holds, &pid);
	bpf_map_delete_elem(&builds, &pid);
}

#endif
