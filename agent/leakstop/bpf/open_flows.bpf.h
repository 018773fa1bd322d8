/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Where a write may go: the sockets that its process has open, and what is known of each. Read
 * from the process's table of files, and only when a secret was found.
 */
#ifndef LEAKSTOP_OPEN_FLOWS_BPF_H
#define LEAKSTOP_OPEN_FLOWS_BPF_H

#include "packet.bpf.h"
#include "tls_object.bpf.h"

#define S_IFMT          0170000 /* <linux/stat.h> */
#define S_IFSOCK        0140000
#define FILES_MAX       (1 << 20) /* /proc/sys/fs/nr_open, as it is by default */
#define TCP_ESTABLISHED 1         /* <net/tcp_states.h> */
#define TCP_CLOSE_WAIT  8

enum likeness { OTHER_NAME, UNNAMED, SAME_NAME };

/* A process writes to a TLS object: all that is known of it meanwhile. */
struct writing {
	__u32 busy;
	__u32 likeness; /* of the socket that decides */
	struct object_key key;
	__u64 at; /* of the bytes in the process's memory: the next one to read */
	__u64 end;
	__u64 size;
	__u64 name_hash;
	struct file **files; /* the process's open ones */
	__u32 file_count;
	__u32 first;   /* of them to look at */
	__u32 sockets; /* that it could write to */
	__u32 remote;  /* and those of them that lead off this machine */
	__u32 library;
	struct mark mark;
	struct flow flow; /* in hand */
	struct window window;
	struct event_write event;
	struct event_tls tls;
};

/*
 * The descriptor in a crypto/tls.Conn, or -1. Its first field is the interface net.Conn, whose
 * second word leads to a net.TCPConn, that to a net.netFD: a poll.FD of 56 bytes with the
 * descriptor at 16, then the family and the type of the socket, which have to be TCP's (Go 1.12
 * to 1.25).
 */
static __always_inline __s32 go_descriptor(__u64 connection)
{
	__u64 at, words[9];

	if (bpf_copy_from_user(&at, sizeof(at), (void *)(connection + 8)) ||
	    bpf_copy_from_user(&at, sizeof(at), (void *)at) ||
	    bpf_copy_from_user(words, sizeof(words), (void *)at))
		return -1;
	return (words[7] == AF_INET || words[7] == AF_INET6) && words[8] == SOCK_STREAM ? words[2]
											: -1;
}

/* Whom an open TCP socket talks to. Returns 0, or -1 if to nobody. */
static __always_inline int read_target(const struct sock *sk, struct target *target)
{
	__u16 family, protocol, port;
	__u32 address;
	__u8 state;

	if (READ_FIELD(family, sk, __sk_common.skc_family) ||
	    READ_FIELD(protocol, sk, sk_protocol) || READ_FIELD(state, sk, __sk_common.skc_state) ||
	    READ_FIELD(port, sk, __sk_common.skc_dport))
		return -1;
	if ((family != AF_INET && family != AF_INET6) || protocol != TCP ||
	    (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT))
		return -1;
	target->protocol = TCP;
	target->port = bpf_ntohs(port);
	if (family == AF_INET6)
		return READ_FIELD(target->ip, sk, __sk_common.skc_v6_daddr);
	if (READ_FIELD(address, sk, __sk_common.skc_daddr))
		return -1;
	map_ipv4(target->ip, address);
	return 0;
}

/* What is known of the socket, into the flow in hand. Returns 0, or -1 if it is not one of TCP's. */
static __always_inline int look_up_flow(struct writing *w, const struct sock *sk, __u64 *cookie)
{
	struct target target = {};
	struct flow *flow;

	if (read_target(sk, &target) || READ_FIELD(*cookie, sk, __sk_common.skc_cookie.counter))
		return -1;
	flow = bpf_map_lookup_elem(&flows, cookie);
	if (flow) {
		w->flow = *flow;
		return 0;
	}
	__builtin_memset(&w->flow, 0, sizeof(w->flow));
	w->flow.target = target;
	w->flow.place.local = is_loopback(target.ip);
	return 0;
}

/* Keeps the verdict of the flow in hand if it is the likelier one, or as likely and worse. */
__weak __noinline int weigh_flow(struct writing *w, __u64 cookie)
{
	__u32 likeness = UNNAMED;
	struct judgement j = {};

	if (!w)
		return 0;
	w->sockets++;
	if (w->flow.place.local)
		return 0;
	if (w->name_hash && w->flow.name)
		likeness = w->name_hash == w->flow.name ? SAME_NAME : OTHER_NAME;
	if (judge_place(&w->flow.place, &w->flow.target, &w->mark, &j))
		j = unjudgeable(REASON_UNPARSABLE);
	if (w->remote++ && (likeness < w->likeness ||
			    (likeness == w->likeness && j.carriage <= w->event.judged.carriage)))
		return 0;
	w->likeness = likeness;
	w->event.judged = j;
	w->event.cookie = cookie;
	w->event.port = w->flow.target.port;
	__builtin_memcpy(w->event.ip, w->flow.target.ip, 16);
	return 0;
}

__weak __noinline int weigh_socket(struct writing *w, __u64 sk)
{
	__u64 cookie = 0;

	return w && !look_up_flow(w, (const void *)sk, &cookie) ? weigh_flow(w, cookie) : 0;
}

/*
 * Its sockets lead to a relay on this machine, or there are none: a pipe to one. The relay has
 * shown the name that the client's hello has, since it carried that.
 */
static __always_inline void weigh_relayed(struct writing *w)
{
	struct flow *flow = w->name_hash ? bpf_map_lookup_elem(&shown_flows, &w->name_hash) : 0;

	if (!flow)
		return;
	w->flow = *flow;
	weigh_flow(w, 0);
}

static long weigh_file(__u32 i, struct writing **writing)
{
	struct writing *w = *writing;
	__u32 fd = w->first + i;
	struct socket *socket;
	struct inode *inode;
	struct file *file, *own;
	struct sock *sk;
	__u16 mode;

	if (fd >= w->file_count)
		return 1;
	if (bpf_probe_read_kernel(&file, sizeof(file), w->files + fd) || !file ||
	    READ_FIELD(inode, file, f_inode) || READ_FIELD(mode, inode, i_mode) ||
	    (mode & S_IFMT) != S_IFSOCK || READ_FIELD(socket, file, private_data) || !socket ||
	    READ_FIELD(own, socket, file) || own != file || READ_FIELD(sk, socket, sk) || !sk)
		return 0;
	weigh_socket(w, (__u64)sk);
	return 0;
}

/*
 * The sockets that the write may be for: the one that the object names, or all. Another thread may
 * open or close files meanwhile; what is read then is at worst one verdict too much or too few.
 */
static __always_inline void weigh_open_sockets(struct writing *w)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files;
	struct fdtable *table;

	w->sockets = w->remote = w->likeness = 0;
	if (READ_FIELD(files, task, files) || READ_FIELD(table, files, fdt) ||
	    READ_FIELD(w->files, table, fd) || READ_FIELD(w->file_count, table, max_fds))
		return;
	w->first = w->library == LIBRARY_GO ? go_descriptor(w->key.object) : -1;
	bpf_loop(1, weigh_file, &w, 0);
	if (w->sockets) {
		w->event.tie = TIE_SOCKET;
		return;
	}
	w->first = 0;
	bpf_loop(FILES_MAX, weigh_file, &w, 0);
	if (!w->remote)
		weigh_relayed(w);
	w->event.tie = !w->sockets ? TIE_NONE : w->likeness == SAME_NAME ? TIE_NAME : TIE_FLOWS;
}

#endif
