/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The few kernel structs that are read, relocated at load time (CO-RE). A generated
 * vmlinux.h would be three megabytes of the same.
 */
#ifndef LEAKSTOP_KERNEL_H
#define LEAKSTOP_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

struct signal_struct {
	atomic_t live;
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	unsigned long long start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct signal_struct *signal;
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

#endif
