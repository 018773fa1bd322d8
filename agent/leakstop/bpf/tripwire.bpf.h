/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Sees who lays hands on the guard or on the runner, on every kernel. Tracepoints of system calls:
 * blind for int 0x80 and io_uring, free for all other calls. Nothing is denied here: whoever opens
 * the runner's memory dies before the call returns to it.
 */
#ifndef LEAKSTOP_TRIPWIRE_BPF_H
#define LEAKSTOP_TRIPWIRE_BPF_H

#include "tamper.bpf.h"

/* Calls that are under way and will be told of when it is known what came of them, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct event_tamper);
} calls SEC(".maps");

/* Of a program that nothing is told of for what it is. */
#define ORDINARY 0xff

static __always_inline void tell_on_return(const struct event_tamper *event)
{
	__u64 thread = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&calls, &thread, event, BPF_ANY);
}

/* Whether it matters that somebody else has loaded or attached a program. */
static __always_inline bool judge_programs(struct event_tamper *event, __s64 result)
{
	struct our_name *name = 0;

	if (result < 0) /* what was not even loaded changes nothing */
		return false;
	if (event->argument == BPF_PROG_LOAD)
		name = our_table_of(object_at(result));
	if (!name)
		return event->whom != ORDINARY;
	event->trick = TRICK_BPF;
	__builtin_memset(event->text, 0, sizeof(event->text));
	__builtin_memcpy(event->text, name->text, sizeof(name->text));
	return true;
}

SEC("tracepoint/syscalls/sys_exit_bpf")
int on_return(struct call_return *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct event_tamper *call = bpf_map_lookup_elem(&calls, &thread);
	struct event_tamper event;

	if (!call)
		return 0;
	event = *call;
	bpf_map_delete_elem(&calls, &thread);
	event.denied = ctx->result < 0;
	if (event.trick == TRICK_PROGRAMS && !judge_programs(&event, ctx->result))
		return 0;
	tell(&event);
	return 0;
}

/* ---- the memory of others ---- */

SEC("tracepoint/syscalls/sys_exit_openat")
int on_open(struct call_return *ctx)
{
	struct event_tamper event = {};
	enum sight sight;
	__u32 thread = 0;

	if (ctx->result < 0)
		return 0;
	sight = sight_of(file_at(ctx->result), &thread);
	if (sight == SIGHT_NONE || !intrudes(thread, sight, &event))
		return 0;
	__builtin_memcpy(event.text, "procfs", sizeof("procfs"));
	tell(&event);
	return 0;
}

/* Whether numbers of processes mean to this one what they mean here: others see no protected one. */
static __always_inline bool counts_as_we_do(void)
{
	return !BPF_CORE_READ(bpf_get_current_task_btf(), thread_pid, level);
}

static __always_inline void on_memory_call(__u32 thread, const char *way, __u32 len)
{
	struct event_tamper event = {};

	if (!intrudes(thread, SIGHT_MEMORY, &event))
		return;
	__builtin_memcpy(event.text, way, len);
	tell_on_return(&event);
}

#define ON_MEMORY_CALL(thread, way) on_memory_call(thread, way, sizeof(way))

#define PTRACE_ATTACH 16 /* <linux/ptrace.h> */
#define PTRACE_SEIZE  0x4206

SEC("tracepoint/syscalls/sys_enter_ptrace")
int on_ptrace(struct call_entry *ctx)
{
	if ((ctx->arguments[0] == PTRACE_ATTACH || ctx->arguments[0] == PTRACE_SEIZE) &&
	    counts_as_we_do())
		ON_MEMORY_CALL(ctx->arguments[1], "ptrace");
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_process_vm_readv")
int on_vm_read(struct call_entry *ctx)
{
	if (counts_as_we_do())
		ON_MEMORY_CALL(ctx->arguments[0], "process_vm_readv");
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_process_vm_writev")
int on_vm_write(struct call_entry *ctx)
{
	if (counts_as_we_do())
		ON_MEMORY_CALL(ctx->arguments[0], "process_vm_writev");
	return 0;
}

#define PID_FS_MAGIC 0x50494446 /* <linux/magic.h>; before 6.9 a pidfd was an anonymous inode */

SEC("tracepoint/syscalls/sys_enter_pidfd_getfd")
int on_getfd(struct call_entry *ctx)
{
	struct file *file = file_at(ctx->arguments[0]);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct pid *pid = BPF_CORE_READ(file, private_data);

	if (BPF_CORE_READ(inode, i_sb, s_magic) == PID_FS_MAGIC)
		pid = BPF_CORE_READ(inode, i_private);
	ON_MEMORY_CALL(BPF_CORE_READ(pid, numbers[0].nr), "pidfd_getfd");
	return 0;
}

/* ---- bpf(2) ---- */

/* What socket filters and the device rules of containers' engines are: nothing that we see by. */
static __always_inline bool is_ordinary_program(__u32 command, const struct bpf_request *request)
{
	__u32 type = request->words[0];

	if (command == BPF_PROG_LOAD)
		return type == BPF_PROG_TYPE_SOCKET_FILTER || type == BPF_PROG_TYPE_CGROUP_DEVICE;
	return (command != BPF_PROG_ATTACH && command != BPF_LINK_CREATE) ||
	       request->words[ATTACH_TYPE] == BPF_CGROUP_DEVICE;
}

SEC("tracepoint/syscalls/sys_enter_bpf")
int on_bpf(struct call_entry *ctx)
{
	__u32 command = ctx->arguments[0];
	struct bpf_request request = {};
	struct event_tamper event = {};
	__u64 size = ctx->arguments[2];
	bool ordinary;

	barrier_var(size);
	if (size > sizeof(request))
		size = sizeof(request);
	if (bpf_probe_read_user(&request, size, (void *)ctx->arguments[1]))
		return 0;
	if (grabs_ours(command, &request, &event)) {
		tell_on_return(&event);
		return 0;
	}
	ordinary = is_ordinary_program(command, &request);
	if ((ordinary && command != BPF_PROG_LOAD) || is_protected() || !is_guarded() ||
	    tag_of(bpf_get_current_pid_tgid() >> 32) == TAG_MACHINE)
		return 0;
	begin_tamper(&event, TRICK_PROGRAMS, command);
	event.whom = ordinary ? ORDINARY : 0;
	if (command == BPF_PROG_LOAD) {
		event.target = request.words[0];
		__builtin_memcpy(event.text, request.words + PROGRAM_NAME, BPF_OBJ_NAME_LEN);
	}
	tell_on_return(&event);
	return 0;
}

/* ---- signals, limits, cgroups, the clock ---- */

SEC("tp_btf/signal_generate")
int BPF_PROG(on_signal, int sig, struct kernel_siginfo *info, struct task_struct *task)
{
	struct event_tamper event = {};

	if (is_attack(sig, info, task, &event))
		tell(&event);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_prlimit64")
int on_limit(struct call_entry *ctx)
{
	__u32 thread = ctx->arguments[0];
	struct event_tamper event = {};

	/* Of itself (0), or only read: what every program does as it starts. */
	if (!thread || !ctx->arguments[2] || !counts_as_we_do() || !limits(thread, &event))
		return 0;
	event.argument = ctx->arguments[1];
	tell_on_return(&event);
	return 0;
}

#define CGROUP_DEPTH 32

static __always_inline bool is_below_guarded(struct cgroup *cgroup)
{
	for (int i = 0; i < CGROUP_DEPTH && cgroup; i++) {
		if (BPF_CORE_READ(cgroup, kn, id) == cfg.cgroup)
			return true;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return false;
}

/* A process is in another cgroup now. Who has an owner was in the guarded one. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move, struct cgroup *to, const char *path, struct task_struct *task)
{
	struct event_tamper event = {};
	__u32 pid = task->tgid;

	/* Number 0 is the hierarchy of version 2. */
	if (to->root->hierarchy_id || !bpf_map_lookup_elem(&owners, &pid) || is_below_guarded(to))
		return 0;
	begin_tamper(&event, TRICK_CGROUP, bpf_get_current_pid_tgid() >> 32); /* by whom */
	event.head.pid = pid;
	event.head.start = task->group_leader->start_boottime;
	bpf_probe_read_kernel_str(event.text, sizeof(event.text), path);
	tell(&event);
	return 0;
}

/* clone3 puts a child into another cgroup before anybody has moved it. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_birth, struct task_struct *parent, struct task_struct *child)
{
	struct event_tamper event = {};
	struct cgroup *to;

	if (child->cgroups == parent->cgroups || child->pid != child->tgid || !is_guarded())
		return 0;
	to = child->cgroups->dfl_cgrp;
	if (is_below_guarded(to))
		return 0;
	begin_tamper(&event, TRICK_CGROUP, parent->tgid); /* by whom */
	event.head.pid = child->pid;
	event.head.start = child->start_boottime;
	bpf_probe_read_kernel_str(event.text, sizeof(event.text), to->kn->name);
	tell(&event);
	return 0;
}

static __always_inline int on_clock(const char *way, __u32 len)
{
	struct event_tamper event = {};

	if (is_protected() || !is_guarded())
		return 0;
	begin_tamper(&event, TRICK_CLOCK, 0);
	__builtin_memcpy(event.text, way, len);
	tell(&event);
	return 0;
}

#define ON_CLOCK(way) on_clock(way, sizeof(way))

SEC("tracepoint/syscalls/sys_exit_clock_settime")
int on_settime(struct call_return *ctx)
{
	return ctx->result < 0 ? 0 : ON_CLOCK("clock_settime");
}

SEC("tracepoint/syscalls/sys_exit_settimeofday")
int on_settimeofday(struct call_return *ctx)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

	/* Without a time it is the time zone that is set. */
	return ctx->result < 0 || !first_argument(regs) ? 0 : ON_CLOCK("settimeofday");
}

#define ADJ_SETOFFSET 0x0100 /* <linux/timex.h>; otherwise it is read, or made to go a bit faster */

static __always_inline int on_adjustment(__s64 result, __u64 at, const char *way, __u32 len)
{
	__u32 modes = 0; /* the first of struct timex */

	if (result < 0 || bpf_probe_read_user(&modes, sizeof(modes), (void *)at))
		return 0;
	return modes & ADJ_SETOFFSET ? on_clock(way, len) : 0;
}

SEC("tracepoint/syscalls/sys_exit_adjtimex")
int on_adjtimex(struct call_return *ctx)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

	return on_adjustment(ctx->result, first_argument(regs), "adjtimex", sizeof("adjtimex"));
}

SEC("tracepoint/syscalls/sys_exit_clock_adjtime")
int on_clock_adjtime(struct call_return *ctx)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

	return on_adjustment(ctx->result, second_argument(regs), "clock_adjtime",
			     sizeof("clock_adjtime"));
}

#endif
