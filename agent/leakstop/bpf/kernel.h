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

struct user_namespace {
	int level; /* 0 is the one that the machine began with */
};

struct net {
	struct user_namespace *user_ns;
};

struct nsproxy {
	struct net *net_ns;
};

struct task_struct {
	struct nsproxy *nsproxy;
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

struct sk_buff {
	unsigned char *head;
	unsigned int end; /* of the bytes at head; shared info stands there */
};

struct skb_shared_info {
	unsigned char flags;
};

struct sock_common {
	unsigned short skc_family;
};

struct sock {
	struct sock_common __sk_common;
};

struct socket {
	struct sock *sk;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di;
	unsigned long si;
};
#define first_argument(r)  ((r)->di)
#define second_argument(r) ((r)->si)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	unsigned long long regs[31];
	unsigned long long orig_x0; /* x0 holds the result by then */
};
#define first_argument(r)  ((r)->orig_x0)
#define second_argument(r) ((r)->regs[1])
#endif

#pragma clang attribute pop

#endif
