/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Sockets that were open before the guard, whose making no hook has seen. */
#ifndef LEAKSTOP_OLDER_BPF_H
#define LEAKSTOP_OLDER_BPF_H

#include "socket.bpf.h"
#include "kernel.h"

/* Whether it ran before the guard, and is not the job's: what it has open is trusted. */
static __always_inline int is_machines(const struct owner *owner)
{
	return !cfg.worker || (owner && owner->tag > TAG_UNKNOWN && owner->tag <= TAG_RUNNER);
}

/* One of the job among those who hold a socket is enough, in whichever order they come. */
static __always_inline void note_holder(struct sock_note *note, __u32 pid)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);
	int trusted = is_machines(owner);

	if (!note->pid || (note->flags & SOCK_TRUSTED && !trusted)) {
		note->pid = pid;
		note->flags = trusted ? SOCK_OLDER | SOCK_TRUSTED : SOCK_OLDER;
		sign(note, pid);
	}
}

/* What a trusted one sends is nobody's business, as if it stayed on this machine. */
static __always_inline void keep_older(__u64 cookie, int trusted)
{
	struct flow flow = { .place.local = 1 };

	if (trusted)
		bpf_map_update_elem(&flows, &cookie, &flow, BPF_ANY);
	else
		bpf_map_delete_elem(&flows, &cookie);
}

/* Run to its end once, when every new socket gets its note by itself (on_socket). */
SEC("iter/task_file")
int on_older(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock_note *note;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	note = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (note && !(note->flags & SOCK_OLDER))
		return 0;
	if (!note) {
		note = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!note) {
			lose(LOSS_SOCKETS);
			return 0;
		}
	}
	note_holder(note, task->tgid);
	keep_older(bpf_get_socket_cookie(sk), note->flags & SOCK_TRUSTED);
	return 0;
}

#endif
