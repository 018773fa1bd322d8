/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What every program that tells of a process begins with. */
#ifndef LEAKSTOP_EVENT_BPF_H
#define LEAKSTOP_EVENT_BPF_H

#include "maps.bpf.h"

static __always_inline int is_guarded(void)
{
	return bpf_current_task_under_cgroup(&guarded, 0) == 1;
}

static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline void fill_head(struct event_head *head, __u32 kind, __u32 pid, __u64 start)
{
	head->kind = kind;
	head->pid = pid;
	head->ts = bpf_ktime_get_boot_ns();
	head->start = start;
}

#endif
