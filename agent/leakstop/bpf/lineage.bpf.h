/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Processes: who made whom, what they became, and which secrets stand in their arguments. */
#ifndef LEAKSTOP_LINEAGE_BPF_H
#define LEAKSTOP_LINEAGE_BPF_H

#include <stddef.h>
#include "image.bpf.h"
#include "program.bpf.h"
#include "scan.bpf.h"
#include "container.bpf.h"
#include "protected.bpf.h"

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 pid = child->pid, ppid = parent->tgid;
	struct event_fork event = {};
	struct mark *mark;

	protect_born(parent, child);
	if (child->pid != child->tgid || !is_guarded())
		return 0;
	fill_head(&event.head, EVENT_FORK, pid, child->start_boottime);
	event.ppid = ppid;
	event.tag = pass_on(ppid, pid, child->start_boottime);
	born_inside(parent, child);
	/* The child is the same image with the same arguments until it calls exec. */
	mark = bpf_map_lookup_elem(&marks, &ppid);
	if (mark && bpf_map_update_elem(&marks, &pid, mark, BPF_ANY)) {
		lose(LOSS_MARKS);
		bpf_send_signal(9); /* the parent: better dead than with an unmarked twin */
	}
	emit(&event, sizeof(event));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 pid = task->tgid;
	struct event_exit event = {};

	release_protected(task);
	if (task->signal->live.counter != 0)
		return 0;
	forget_owner(pid);
	if (!is_guarded())
		return 0;
	bpf_map_delete_elem(&marks, &pid);
	bpf_map_delete_elem(&images, &pid);
	fill_head(&event.head, EVENT_EXIT, pid, task->group_leader->start_boottime);
	event.code = task->group_leader->exit_code;
	emit(&event, sizeof(event));
	return 0;
}

struct argv_walk {
	struct scratch *scratch;
	unsigned long start;
	unsigned long end;
	__u32 fault;
	__u32 pad;
};

static long scan_chunk(__u32 i, struct argv_walk *walk)
{
	struct window *w = &walk->scratch->window;
	unsigned long chunk = walk->start + (unsigned long)i * WINDOW_CHUNK;
	unsigned long first = i ? chunk - WINDOW_EDGE : chunk;
	unsigned long len;

	if (chunk >= walk->end)
		return 1;
	len = walk->end - first;
	if (len > WINDOW)
		len = WINDOW;
	barrier_var(len);
	if (len > WINDOW)
		return 1;
	/* copy_strings() has just touched these pages, so a fault means swap: say so */
	if (bpf_probe_read_user(w->bytes, len, (void *)first)) {
		walk->fault = 1;
		return 1;
	}
	w->from = 0;
	w->to = len;
	scan_window(w, &walk->scratch->hits);
	return 0;
}

/* Arguments end below 6 MiB (3/4 of the 8 MiB stack limit, fs/exec.c: bprm_stack_limits). */
#define CHUNKS_MAX (6 * 1024 * 1024 / WINDOW_CHUNK)

static __always_inline void set_mark(__u32 pid, __u64 start, const struct hits *hits)
{
	struct mark mark = { .start = start };

	bpf_map_delete_elem(&marks, &pid); /* each exec is judged by its own arguments */
	if (!hits->count)
		return;
	mark.hits = *hits;
	if (bpf_map_update_elem(&marks, &pid, &mark, BPF_ANY)) {
		lose(LOSS_MARKS);
		bpf_send_signal(9); /* it cannot be held back later */
	}
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u32 pid = task->tgid;
	__u64 start = task->group_leader->start_boottime;
	struct owner *owner;
	struct scratch *s;
	struct event_exec *event;
	struct argv_walk walk = {};
	unsigned long total, copied;

	release_born(pid);
	if (!is_guarded())
		return 0;
	owner = renew_owner(pid, start);
	s = claim();
	if (!s) {
		/* Not scanned, so not known to be harmless. */
		if (cfg.scans && cfg.block)
			bpf_send_signal(9);
		return 0;
	}
	walk.scratch = s;
	walk.start = task->mm->arg_start;
	walk.end = task->mm->arg_end;
	total = walk.end - walk.start;
	s->hits.count = 0;
	if (cfg.scans)
		bpf_loop(CHUNKS_MAX, scan_chunk, &walk, 0);
	set_mark(pid, start, &s->hits);
	note_image(pid, bprm);
	read_program(&s->program, task, bprm);
	if (owner)
		own_program(owner, &s->program);

	event = &s->exec;
	fill_head(&event->head, EVENT_EXEC, pid, start);
	event->cgroup = bpf_get_current_cgroup_id();
	event->ppid = task->real_parent->tgid;
	event->uid = bpf_get_current_uid_gid();
	event->argv_bytes = total;
	event->hit_count = s->hits.count;
	event->inode = s->program.inode;
	event->unlinked = s->program.unlinked;
	event->tag = owner ? owner->tag : TAG_UNKNOWN;
	event->held = hold_back(pid, owner, cfg.worker && event->ppid == cfg.worker);
	__builtin_memcpy(event->program, s->program.path, sizeof(event->program));
	if (!s->program.whole && !s->program.unlinked)
		event->program[0] = 0;
	event->unscanned = walk.fault || total > (unsigned long)CHUNKS_MAX * WINDOW_CHUNK;
	if (event->unscanned)
		lose(LOSS_ARGV);
	for (int i = 0; i < HITS_MAX; i++)
		event->hits[i] = s->hits.needle[i];
	if (bpf_probe_read_kernel_str(event->exe, sizeof(event->exe), bprm->filename) < 0)
		event->exe[0] = 0;
	copied = total < ARGV_COPY ? total : ARGV_COPY;
	barrier_var(copied);
	if (copied > ARGV_COPY)
		copied = ARGV_COPY;
	if (bpf_probe_read_user(event->argv, copied, (void *)walk.start))
		copied = 0;
	event->argv_copied = copied;
	emit(event, offsetof(struct event_exec, argv) + copied);
	release(s);
	return 0;
}

#endif
