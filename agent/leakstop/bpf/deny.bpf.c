// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * Denies in block mode what root in the job would do to the guard and to the runner. fmod_ret
 * programs on the kernel's security hooks: nobody gets around those by int 0x80, io_uring or a
 * table of files that he shares. They need fentry, which not every kernel has. An object of its
 * own, so that the data plane loads without it; its maps are the data plane's.
 */
#include "tamper.bpf.h"

#define EPERM        1
#define EACCES       13
#define EAFNOSUPPORT 97
#define AF_UNIX      1
#define AF_INET      2
#define AF_INET6     10
#define AF_NETLINK   16
#define AF_PACKET    17
#define AF_ALG       38
#define AF_VSOCK     40
#define AF_XDP       44

#define PTRACE_MODE_ATTACH 2          /* <linux/ptrace.h> */
#define BPF_FS_MAGIC       0xcafe4a11 /* <linux/magic.h> */

static __always_inline int deny(struct event_tamper *event)
{
	event->denied = 1;
	tell(event);
	return -EPERM;
}

/* ---- the memory of others ---- */

/* They go on where they may not read, as they do for the processes of others. */
static __always_inline bool is_hidden(__u32 thread, enum sight sight)
{
	return sight == SIGHT_ENVIRONMENT && protection_of(thread) == PROTECTED_WORKER &&
	       reads_all() && !is_protected() && is_guarded();
}

SEC("fmod_ret/security_file_open")
int BPF_PROG(deny_open, struct file *file)
{
	struct event_tamper event = {};
	enum sight sight;
	__u32 thread = 0;

	sight = sight_of(file, &thread);
	if (sight == SIGHT_NONE)
		return 0;
	if (!intrudes(thread, sight, &event))
		return is_hidden(thread, sight) ? -EACCES : 0;
	__builtin_memcpy(event.text, "procfs", sizeof("procfs"));
	return deny(&event);
}

#define ACCESS "ptrace, process_vm or pidfd_getfd"

/* ptrace, process_vm_readv and _writev, pidfd_getfd; what only looks on (ps) asks for less. */
SEC("fmod_ret/security_ptrace_access_check")
int BPF_PROG(deny_access, struct task_struct *task, unsigned int mode)
{
	struct event_tamper event = {};

	if (!(mode & PTRACE_MODE_ATTACH) || !intrudes(task->pid, SIGHT_MEMORY, &event))
		return 0;
	__builtin_memcpy(event.text, ACCESS, sizeof(ACCESS));
	return deny(&event);
}

/* ---- what the guard consists of ---- */

static long is_agents(void *map, const __u32 *thread, const __u8 *kind, __u32 *lives)
{
	*lives = *kind == PROTECTED_AGENT;
	return *lives; /* ends the walk */
}

/* When nobody is left who could take the guard down in order, others have to. */
static __always_inline bool is_alive(void)
{
	__u32 lives = 0;

	bpf_for_each_map_elem(&protected, is_agents, &lives, 0);
	return lives;
}

/* What was denied is told by who sees the call return (tripwire.bpf.h). */
SEC("fmod_ret/security_bpf")
int BPF_PROG(deny_bpf, int command, const void *attr, unsigned int size)
{
	struct bpf_request request = {};
	struct event_tamper event = {};
	__u64 len = size;

	barrier_var(len);
	if (len > sizeof(request))
		len = sizeof(request);
	if (bpf_probe_read_kernel(&request, len, attr))
		return 0;
	return grabs_ours(command, &request, &event) && is_alive() ? -EPERM : 0;
}

/* At the end of its loading, when it gets a descriptor: by then it is known what it holds. */
SEC("fmod_ret/security_bpf_prog")
int BPF_PROG(deny_program, struct bpf_prog *program)
{
	struct event_tamper event = {};
	struct our_name *name;

	if (is_protected() || !is_guarded())
		return 0;
	name = our_table_of(program);
	if (!name || !is_alive())
		return 0;
	begin_tamper(&event, TRICK_BPF, BPF_PROG_LOAD);
	__builtin_memcpy(event.text, name->text, sizeof(name->text));
	return deny(&event);
}

SEC("fmod_ret/security_task_kill")
int BPF_PROG(deny_kill, struct task_struct *task, struct kernel_siginfo *info, int sig,
	     const void *cred)
{
	struct event_tamper event = {};

	/* init ends what it has begun, and the machine */
	if (bpf_get_current_pid_tgid() >> 32 == 1 || !is_attack(sig, info, task, &event))
		return 0;
	return deny(&event);
}

/* What a file has sent (F_SETOWN): those pass no other hook. */
SEC("fmod_ret/security_file_send_sigiotask")
int BPF_PROG(deny_sigio, struct task_struct *task, const void *owner, int sig)
{
	struct event_tamper event = {};
	__u32 thread = task->pid;
	__u8 whom = protection_of(thread);

	sig = sig ?: SIGIO;
	if (!whom || !endangers(whom, sig))
		return 0;
	begin_tamper(&event, TRICK_SIGNAL, sig);
	event.head.pid = event.head.start = 0; /* who runs is not who has asked for it */
	event.target = thread;
	event.whom = whom;
	return deny(&event);
}

/* What was denied is told by who sees the call return. */
SEC("fmod_ret/security_task_setrlimit")
int BPF_PROG(deny_limit, struct task_struct *task, unsigned int resource, const void *limit)
{
	struct event_tamper event = {};

	return limits(task->pid, &event) ? -EPERM : 0;
}

static __always_inline int on_mount(const struct super_block *super, const char *way, __u32 len)
{
	struct event_tamper event = {};
	__u32 device = BPF_CORE_READ(super, s_dev);

	if (BPF_CORE_READ(super, s_magic) != BPF_FS_MAGIC || !find_ours(OUR_MOUNT, device) ||
	    is_protected() || !is_guarded() || !is_alive())
		return 0;
	begin_tamper(&event, TRICK_MOUNT, 0);
	__builtin_memcpy(event.text, way, len);
	return deny(&event);
}

#define ON_MOUNT(super, way) on_mount(super, way, sizeof(way))

SEC("fmod_ret/security_sb_umount")
int BPF_PROG(deny_umount, struct vfsmount *mount, int flags)
{
	return ON_MOUNT(BPF_CORE_READ(mount, mnt_sb), "umount");
}

SEC("fmod_ret/security_path_unlink")
int BPF_PROG(deny_unlink, const struct path *directory, struct dentry *entry)
{
	return ON_MOUNT(BPF_CORE_READ(entry, d_sb), "unlink");
}

/* ---- sockets that no cgroup hook is asked about ---- */

/*
 * Told by who sees socket(2) return (family.bpf.h). Of other families everything is as if the
 * kernel had none of them: some tools try them all.
 */
SEC("fmod_ret/security_socket_create")
int BPF_PROG(deny_socket, int family, int type, int protocol, int kern)
{
	__u32 tag;

	if (kern || family == AF_UNIX || family == AF_INET || family == AF_INET6 ||
	    family == AF_NETLINK || family == AF_ALG || is_protected() || !is_guarded())
		return 0;
	tag = tag_of(bpf_get_current_pid_tgid() >> 32);
	/* DHCP clients, and engines that announce a container's address */
	if (tag == TAG_MACHINE || tag == TAG_ENGINE)
		return 0;
	return family == AF_PACKET || family == AF_VSOCK || family == AF_XDP ? -EPERM
									     : -EAFNOSUPPORT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
