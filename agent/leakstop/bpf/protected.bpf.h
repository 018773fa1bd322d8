/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whose memory holds secrets that are not its own, and who may lay hands on it. */
#ifndef LEAKSTOP_PROTECTED_BPF_H
#define LEAKSTOP_PROTECTED_BPF_H

#include "event.bpf.h"
#include "kernel.h"

/* By fork: until it becomes another program it has the memory of who made it. */
#define PROTECTED_BORN 0x80

/* enum protected_kind, or 0 */
static __always_inline __u8 protection_of(__u32 thread)
{
	__u8 *kind = bpf_map_lookup_elem(&protected, &thread);

	return kind ? *kind & ~PROTECTED_BORN : 0;
}

/* Whether it is the guard, or whom it protects, that runs. */
static __always_inline int is_protected(void)
{
	__u8 kind = protection_of(bpf_get_current_pid_tgid());

	return kind == PROTECTED_AGENT || kind == PROTECTED_WORKER;
}

/* At fork, of threads too. */
static __always_inline void protect_born(const struct task_struct *parent,
					 const struct task_struct *child)
{
	__u32 from = parent->pid, born = child->pid;
	__u8 *kind = bpf_map_lookup_elem(&protected, &from);
	__u8 inherited;

	if (!kind)
		return;
	inherited = child->pid == child->tgid ? *kind | PROTECTED_BORN : *kind;
	bpf_map_update_elem(&protected, &born, &inherited, BPF_ANY);
}

/* At exec. */
static __always_inline void release_born(__u32 pid)
{
	__u8 *kind = bpf_map_lookup_elem(&protected, &pid);

	if (kind && *kind & PROTECTED_BORN)
		bpf_map_delete_elem(&protected, &pid);
}

/* At the exit of a thread. */
static __always_inline void release_protected(const struct task_struct *task)
{
	__u32 thread = task->pid;

	if (protection_of(thread))
		bpf_map_delete_elem(&protected, &thread);
}

static __always_inline __u32 tag_of(__u32 pid)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);

	return owner ? owner->tag : TAG_UNKNOWN;
}

#endif
