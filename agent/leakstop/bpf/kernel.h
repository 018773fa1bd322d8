/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The few kernel structs that are read, relocated at load time (CO-RE). A generated
 * vmlinux.h would be three megabytes of the same.
 */
#ifndef LEAKSTOP_KERNEL_H
#define LEAKSTOP_KERNEL_H

#include <linux/bpf.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct file;

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	struct file *exe_file;
};

typedef struct {
	unsigned int val;
} kuid_t;

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
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct super_block {
	unsigned int s_dev;
	unsigned long s_magic;
};

struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	unsigned long i_ino;
	unsigned int i_nlink;
	struct super_block *i_sb;
	void *i_private;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint; /* in the parent */
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	unsigned int f_mode;
	struct inode *f_inode;
	struct path f_path;
	void *private_data;
};

struct upid {
	int nr;
};

struct pid {
	unsigned int level; /* of its namespace; 0 is the one that the machine began with */
	struct upid numbers[1];
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct kernfs_node {
	unsigned long long id;
	const char *name;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct kernel_siginfo {
	int si_code;
};

struct bpf_map {
	enum bpf_map_type map_type;
	unsigned int id;
};

struct bpf_prog_aux {
	unsigned int id;
	unsigned int used_map_cnt;
	struct bpf_map **used_maps;
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
};

struct bpf_link {
	struct bpf_prog *prog;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* in cgroup v2 */
};

struct task_struct {
	unsigned long long self_exec_id; /* another one after each exec */
	struct files_struct *files;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	struct pid *thread_pid;
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
	struct file *file;
};

struct sk_buff {
	unsigned char *head;
	unsigned int end; /* of the bytes at head; shared info stands there */
};

struct skb_shared_info {
	unsigned char flags;
};

struct in6_addr {
	unsigned char s6_addr[16];
};

typedef struct {
	long long counter;
} atomic64_t;

struct sock_common {
	unsigned int skc_daddr;
	unsigned short skc_dport;
	unsigned short skc_family;
	unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	atomic64_t skc_cookie;
};

struct sock {
	struct sock_common __sk_common;
	unsigned short sk_protocol;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bx;
	unsigned long cx;
	unsigned long dx;
	unsigned long ax;
	unsigned long si;
	unsigned long di;
};
#define first_argument(r)  ((r)->di)
#define second_argument(r) ((r)->si)
/* Of a function that begins: of C (System V ABI), and of Go (its ABIInternal). */
#define C_1(r)  ((r)->di)
#define C_2(r)  ((r)->si)
#define C_3(r)  ((r)->dx)
#define C_4(r)  ((r)->cx)
#define GO_1(r) ((r)->ax)
#define GO_2(r) ((r)->bx)
#define GO_3(r) ((r)->cx)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	unsigned long long regs[31];
	unsigned long long orig_x0; /* x0 holds the result by then */
};
#define first_argument(r)  ((r)->orig_x0)
#define second_argument(r) ((r)->regs[1])
#define C_1(r)             ((r)->regs[0])
#define C_2(r)             ((r)->regs[1])
#define C_3(r)             ((r)->regs[2])
#define C_4(r)             ((r)->regs[3])
#define GO_1(r)            C_1(r)
#define GO_2(r)            C_2(r)
#define GO_3(r)            C_3(r)
#endif

#pragma clang attribute pop

/* What a tracepoint of a system call hands over: not relocated, its layout is an interface. */
struct call_entry {
	__u64 common;
	__s64 syscall;
	__u64 arguments[6];
};

struct call_return {
	__u64 common;
	__s64 syscall;
	__s64 result;
};

/* struct iovec: one of the pieces of writev(2). */
struct piece {
	__u64 at;
	__u64 len;
};

#define READ_FIELD(to, from, field)                                                                \
	bpf_probe_read_kernel(&(to), sizeof(to), __builtin_preserve_access_index(&(from)->field))

#endif
