/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What counts as laying hands on the guard or on the runner: judged the same way by who sees it
 * happen (tripwire.bpf.h) and by who denies it (deny.bpf.c).
 */
#ifndef LEAKSTOP_TAMPER_BPF_H
#define LEAKSTOP_TAMPER_BPF_H

#include <stdbool.h>
#include "protected.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define TOLD_A_SECOND 8
#define SECOND_NS     1000000000ULL

struct told_key {
	__u32 pid;
	__u16 trick;
	__u16 argument;
};

struct told {
	__u64 since; /* boot clock, ns */
	__u64 count;
};

/* What each process was told of, so that a flood of one trick hides no other. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct told_key);
	__type(value, struct told);
} told SEC(".maps");

enum our_kind { OUR_PROGRAM, OUR_MAP, OUR_MOUNT };

struct our_name {
	char text[16];
};

/* The guard's own objects: their kind, then their id (of a mount its device). By the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u64);
	__type(value, struct our_name);
} ours SEC(".maps");

static __always_inline struct our_name *find_ours(__u64 kind, __u32 id)
{
	__u64 key = kind << 32 | id;

	return bpf_map_lookup_elem(&ours, &key);
}

static __always_inline void begin_tamper(struct event_tamper *event, __u8 trick, __u64 argument)
{
	struct task_struct *task = bpf_get_current_task_btf();

	fill_head(&event->head, EVENT_TAMPER, task->tgid, task->group_leader->start_boottime);
	event->trick = trick;
	event->argument = argument;
}

static __always_inline void tell(struct event_tamper *event)
{
	struct told_key key = {
		.pid = event->head.pid,
		.trick = event->trick,
		.argument = event->argument,
	};
	struct told first = { .since = event->head.ts, .count = 1 };
	struct told *before = bpf_map_lookup_elem(&told, &key);

	if (!before || event->head.ts - before->since > SECOND_NS)
		bpf_map_update_elem(&told, &key, &first, BPF_ANY);
	else if (__sync_fetch_and_add(&before->count, 1) >= TOLD_A_SECOND)
		return;
	emit(event, sizeof(*event));
}

/* ---- whose memory ---- */

#define PROC_SUPER_MAGIC 0x9fa0 /* <linux/magic.h> */
#define FMODE_PATH       0x4000 /* <linux/fs.h>: names a file, and reads nothing */

/* What of whose an open file shows: of a procfs, wherever that is mounted. */
static __always_inline enum sight sight_of(const struct file *file, __u32 *thread)
{
	const struct inode *inode = BPF_CORE_READ(file, f_inode);
	const struct proc_inode *entry;
	union {
		char text[8];
		__u64 word;
	} name = {};

	if (BPF_CORE_READ(inode, i_sb, s_magic) != PROC_SUPER_MAGIC ||
	    BPF_CORE_READ(file, f_mode) & FMODE_PATH)
		return SIGHT_NONE;
	entry = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	*thread = BPF_CORE_READ(entry, pid, numbers[0].nr);
	bpf_probe_read_kernel_str(name.text, sizeof(name.text),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (name.word == 0x6d656d) /* "mem" */
		return SIGHT_MEMORY;
	return name.word == 0x6e6f7269766e65 ? SIGHT_ENVIRONMENT : SIGHT_NONE; /* "environ" */
}

/*
 * Whether this program opens everybody's environment, whatever it is asked for: ps(1) of procps 4
 * does, and so does needrestart, a script of Perl's that Ubuntu's apt calls in the end. It is not
 * killed for that. Root's own file, as far as that goes: it can be made to show what it has read.
 */
static __always_inline bool reads_all(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *program = BPF_CORE_READ(task, mm, exe_file);
	union {
		char text[8];
		__u64 word;
	} name = {};
	union {
		char text[16];
		__u64 words[2];
	} script = {};

	if (!program || BPF_CORE_READ(program, f_inode, i_uid.val))
		return false;
	bpf_probe_read_kernel_str(name.text, sizeof(name.text),
				  BPF_CORE_READ(program, f_path.dentry, d_name.name));
	if (name.word == 0x7370) /* "ps" */
		return true;
	/* "perl", and "needrestart": that name is its own to choose, so only root's. */
	return name.word == 0x6c726570 && !(__u32)bpf_get_current_uid_gid() &&
	       !bpf_get_current_comm(script.text, sizeof(script.text)) &&
	       script.words[0] == 0x747365726465656e && script.words[1] == 0x747261;
}

/*
 * Whether this process may not see that of a protected thread; the event is begun then. The
 * machine's own services from before may: some look for malware in everybody's memory.
 */
static __always_inline bool intrudes(__u32 thread, enum sight sight, struct event_tamper *event)
{
	__u8 whom = protection_of(thread);
	__u32 tag;

	if (!whom || is_protected() || !is_guarded())
		return false;
	if (sight == SIGHT_ENVIRONMENT && (whom != PROTECTED_WORKER || reads_all()))
		return false; /* the others' has nothing that was not the job's before */
	tag = tag_of(bpf_get_current_pid_tgid() >> 32);
	if (tag == TAG_MACHINE || (tag == TAG_RUNNER && whom != PROTECTED_AGENT))
		return false;
	begin_tamper(event, whom == PROTECTED_AGENT ? TRICK_TRACE : TRICK_READ, sight);
	event->target = thread;
	event->whom = whom;
	event->killed = cfg.block && bpf_send_signal(9) == 0;
	return true;
}

/* ---- signals ---- */

#define SIGCHLD  17 /* <asm-generic/signal.h> */
#define SIGCONT  18
#define SIGURG   23
#define SIGWINCH 28
#define SIGIO    29
#define SIG(n)   (1ULL << (n))
/* What a process does not notice unless it wants to, or what makes it go on. */
#define HARMLESS (SIG(0) | SIG(SIGCHLD) | SIG(SIGCONT) | SIG(SIGURG) | SIG(SIGWINCH))
/* QUIT ILL TRAP ABRT BUS FPE SEGV XCPU XFSZ SYS: what writes a process's memory to a file. */
#define DUMPING                                                                                    \
	(SIG(3) | SIG(4) | SIG(5) | SIG(6) | SIG(7) | SIG(8) | SIG(11) | SIG(24) | SIG(25) |       \
	 SIG(31))
/* ILL TRAP BUS FPE SEGV CHLD IO SYS: their codes have meanings of their own (<linux/signal.h>). */
#define SPECIFIC (SIG(4) | SIG(5) | SIG(7) | SIG(8) | SIG(11) | SIG(SIGCHLD) | SIG(SIGIO) | SIG(31))
#define SI_SIGIO -5 /* <asm-generic/siginfo.h> */
#define NSIGPOLL 6

enum origin { BY_KERNEL, BY_PROCESS, BY_FILE };

/*
 * Who sends a signal. The kernel's own come in anybody's time, and so does what somebody has it
 * send when a file has something to read (fcntl: F_SETOWN, F_SETSIG). A process may give its own
 * any code below 0 (rt_sigqueueinfo), the kernel's of timers included; nobody who is protected
 * has such a timer.
 */
static __always_inline enum origin origin_of(int sig, const struct kernel_siginfo *info)
{
	int code;

	if (!info) /* SEND_SIG_NOINFO */
		return BY_PROCESS;
	if ((unsigned long)info <= 2) /* SEND_SIG_PRIV */
		return sig == SIGIO ? BY_FILE : BY_KERNEL;
	code = BPF_CORE_READ(info, si_code);
	if (code <= 0)
		return code == SI_SIGIO ? BY_FILE : BY_PROCESS;
	if (sig == SIGIO || (code <= NSIGPOLL && !(SPECIFIC & SIG(sig & 63))))
		return BY_FILE;
	return BY_KERNEL;
}

/* Whether a signal does one who is protected any harm. */
static __always_inline bool endangers(__u8 whom, int sig)
{
	__u64 signal = SIG(sig & 63);

	if (whom == PROTECTED_AGENT)
		return !(HARMLESS & signal);
	return whom == PROTECTED_WORKER && DUMPING & signal;
}

/* Whether a signal at a protected process is none of this one's business. */
static __always_inline bool is_attack(int sig, const struct kernel_siginfo *info,
				      const struct task_struct *task, struct event_tamper *event)
{
	enum origin origin = origin_of(sig, info);
	__u32 thread = task->pid;
	__u8 whom = protection_of(thread);

	if (!whom || origin == BY_KERNEL || !endangers(whom, sig))
		return false;
	if (origin == BY_PROCESS &&
	    (is_protected() || !is_guarded() ||
	     (whom != PROTECTED_AGENT && tag_of(bpf_get_current_pid_tgid() >> 32) == TAG_RUNNER)))
		return false;
	begin_tamper(event, TRICK_SIGNAL, sig);
	if (origin == BY_FILE) /* who runs is not who has asked for it */
		event->head.pid = event->head.start = 0;
	event->target = thread;
	event->whom = whom;
	return true;
}

/*
 * Whether this process may not set limits for a protected one: without files it sees nothing, and
 * beyond its time or its stack the kernel makes it dump its memory.
 */
static __always_inline bool limits(__u32 thread, struct event_tamper *event)
{
	__u8 whom = protection_of(thread);
	__u32 tag;

	if (!whom || whom == PROTECTED_RUNNER || is_protected() || !is_guarded())
		return false;
	tag = tag_of(bpf_get_current_pid_tgid() >> 32);
	if (tag == TAG_MACHINE || (tag == TAG_RUNNER && whom != PROTECTED_AGENT))
		return false;
	begin_tamper(event, TRICK_LIMIT, 0);
	event->target = thread;
	event->whom = whom;
	return true;
}

/* ---- bpf(2) ---- */

/* The start of union bpf_attr, as far as it is looked at. */
struct bpf_request {
	__u32 words[16];
};

#define PROGRAM_NAME 12 /* where these stand in it: words */
#define ATTACH_TYPE  2
#define VALUE        4 /* and the next */
#define BATCH_MAP    9

/* The file behind a descriptor of this process, or nothing. */
static __always_inline struct file *file_at(__u32 descriptor)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = 0;

	if (descriptor < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), files + descriptor);
	return file;
}

/* The BPF object behind a descriptor. */
static __always_inline void *object_at(__u32 descriptor)
{
	struct file *file = file_at(descriptor);

	return BPF_CORE_READ(file, private_data);
}

static __always_inline struct our_name *our_program(const struct bpf_prog *program)
{
	return find_ours(OUR_PROGRAM, BPF_CORE_READ(program, aux, id));
}

/* Which of our objects a request is about; each word was a descriptor of the right kind or fails. */
static __always_inline struct our_name *our_object(__u32 command, const struct bpf_request *request)
{
	const struct bpf_link *link;
	const struct bpf_map *map;
	enum bpf_map_type type;
	__u32 inner;

	switch (command) {
	case BPF_LINK_DETACH:
	case BPF_LINK_UPDATE:
		link = object_at(request->words[0]);
		return our_program(BPF_CORE_READ(link, prog));
	case BPF_PROG_DETACH:
		return our_program(object_at(request->words[1]));
	case BPF_MAP_UPDATE_ELEM:
		map = object_at(request->words[0]);
		type = BPF_CORE_READ(map, map_type);
		/* What stands in another table, that one's programs can write. */
		if (type == BPF_MAP_TYPE_ARRAY_OF_MAPS || type == BPF_MAP_TYPE_HASH_OF_MAPS) {
			if (bpf_probe_read_user(&inner, sizeof(inner),
						(void *)(request->words[VALUE] |
							 (__u64)request->words[VALUE + 1] << 32)))
				return 0;
			map = object_at(inner);
		}
		break;
	case BPF_MAP_LOOKUP_ELEM:
	case BPF_MAP_DELETE_ELEM:
	case BPF_MAP_GET_NEXT_KEY:
	case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
	case BPF_MAP_FREEZE:
		map = object_at(request->words[0]);
		break;
	case BPF_MAP_LOOKUP_BATCH:
	case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
	case BPF_MAP_UPDATE_BATCH:
	case BPF_MAP_DELETE_BATCH:
		map = object_at(request->words[BATCH_MAP]);
		break;
	default:
		return 0;
	}
	return find_ours(OUR_MAP, BPF_CORE_READ(map, id));
}

#define MAPS_MAX 64 /* MAX_USED_MAPS of <linux/bpf_verifier.h> */

/* A table of the guard's that a program of somebody else's has in its hands: it can write there. */
static __always_inline struct our_name *our_table_of(const struct bpf_prog *program)
{
	const struct bpf_prog_aux *aux = BPF_CORE_READ(program, aux);
	struct bpf_map **maps = BPF_CORE_READ(aux, used_maps), *map;
	__u32 count = BPF_CORE_READ(aux, used_map_cnt);
	struct our_name *name = 0;

	if (find_ours(OUR_PROGRAM, BPF_CORE_READ(aux, id)))
		return 0;
	for (__u32 i = 0; i < MAPS_MAX && i < count && !name; i++)
		if (!bpf_probe_read_kernel(&map, sizeof(map), maps + i))
			name = find_ours(OUR_MAP, BPF_CORE_READ(map, id));
	return name;
}

/* Whether a call lays hands on what is ours. */
static __always_inline bool grabs_ours(__u32 command, const struct bpf_request *request,
				       struct event_tamper *event)
{
	struct our_name *name;

	if (is_protected())
		return false;
	name = our_object(command, request);
	if (!name || !is_guarded())
		return false;
	begin_tamper(event, TRICK_BPF, command);
	__builtin_memcpy(event->text, name->text, sizeof(name->text));
	return true;
}

#endif
