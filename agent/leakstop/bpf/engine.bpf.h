/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Requests to a container engine. Only what is written to a unix socket counts, since others have
 * such paths, too (`POST /session` of WebDriver); which socket that is does not: who asks for
 * nothing has nothing, and who lies takes a container from somebody and gets none.
 */
#ifndef LEAKSTOP_ENGINE_BPF_H
#define LEAKSTOP_ENGINE_BPF_H

#include "container.bpf.h"
#include "open_flows.bpf.h"

#define AF_UNIX 1

/* What else containers are called, by FNV-1a of it: written by the agent, which asks the engine. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u64);
	__type(value, __u64);
} container_names SEC(".maps");

#define METHOD      5                 /* bytes of "POST " */
#define POST        0x2f2054534f50ULL /* "POST /" */
#define POST_MASK   0xffffffffffffULL
#define REQUEST_MIN 8

/* FNV-1a of the words that matter (https://docs.docker.com/reference/api/engine/). */
#define WORD_CONTAINERS 0xcc4a1ead36658a71ULL
#define WORD_START      0xee5d97ad45ad251fULL
#define WORD_RESTART    0x9e1e242908cbee6cULL
#define WORD_EXEC       0xe7c75e608ea39b5cULL
#define WORD_BUILD      0x802517e298c70b03ULL
#define WORD_SESSION    0x3ca2c49553a457d7ULL
#define WORD_GRPC       0xfb35907243c2a125ULL

#define LET_IN_NS (10 * 1000000000ULL) /* from the request to the process, on a busy machine */

/* The runner starts what the job has chosen: images for services, for the job itself. */
static __always_inline __u32 tag_of_asker(__u32 pid)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &pid);

	if (!owner)
		return TAG_UNKNOWN;
	return owner->tag == TAG_RUNNER ? TAG_JOB : owner->tag;
}

static __always_inline void open_door(__u64 container, __u32 tag)
{
	struct door fresh = { .tag = tag }, *door;
	__u64 now = bpf_ktime_get_boot_ns();

	bpf_map_update_elem(&doors, &container, &fresh, BPF_NOEXIST);
	door = bpf_map_lookup_elem(&doors, &container);
	if (!door)
		return;
	if (door->tag != tag || now > door->until)
		door->left = 0;
	door->tag = tag;
	door->until = now + LET_IN_NS;
	__sync_fetch_and_add(&door->left, 1);
}

static __always_inline void ask_for(__u64 container, __u32 pid, __u32 tag, int enters)
{
	/* One that runs, and that nobody has asked for, is nobody's. */
	struct claim fresh = { .tag = enters ? TAG_UNKNOWN : tag, .asker = pid }, *claim;

	bpf_map_update_elem(&claims, &container, &fresh, BPF_NOEXIST);
	claim = bpf_map_lookup_elem(&claims, &container);
	if (claim && claim->tag != tag)
		claim->tag = TAG_UNKNOWN;
	else if (claim && enters)
		open_door(container, tag);
}

/* BuildKit's client opens a session, or speaks gRPC, before it asks for the build itself. */
static __always_inline void ask_for_build(__u32 pid, __u32 tag, int kit)
{
	struct build build = { .tag = tag, .kit = kit };

	if (kit)
		bpf_map_update_elem(&builds, &pid, &build, BPF_ANY);
	else
		bpf_map_update_elem(&builds, &pid, &build, BPF_NOEXIST);
}

static __always_inline int is_unix_socket(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files;
	struct socket *socket;
	struct fdtable *table;
	struct inode *inode;
	struct file *file, **open;
	struct sock *sk;
	__u32 count;
	__u16 word;

	if (READ_FIELD(files, task, files) || READ_FIELD(table, files, fdt) ||
	    READ_FIELD(open, table, fd) || READ_FIELD(count, table, max_fds) || fd >= count ||
	    bpf_probe_read_kernel(&file, sizeof(file), open + fd) || !file ||
	    READ_FIELD(inode, file, f_inode) || READ_FIELD(word, inode, i_mode) ||
	    (word & S_IFMT) != S_IFSOCK || READ_FIELD(socket, file, private_data) || !socket ||
	    READ_FIELD(sk, socket, sk) || !sk || READ_FIELD(word, sk, __sk_common.skc_family))
		return 0;
	return word == AF_UNIX;
}

static __always_inline void tell_of_name(struct scratch *s, __u32 pid, __u32 tag, int enters)
{
	struct event_engine *event = &s->engine;
	__u32 len = s->words.len;

	fill_head(&event->head, EVENT_ENGINE, pid, 0);
	event->tag = tag;
	event->enters = enters;
	event->len = len;
	__builtin_memcpy(event->path, s->words.text, REQUEST_COPY);
	emit(event, sizeof(*event));
}

static __always_inline void take_request(struct scratch *s, __u32 pid)
{
	const struct word *words = s->words.words;
	__u64 what = words[0].hash, container;
	__u32 tag = tag_of_asker(pid);
	int enters = what == WORD_EXEC;
	__u64 *named;

	if (what == WORD_BUILD || what == WORD_SESSION || what == WORD_GRPC) {
		ask_for_build(pid, tag, what != WORD_BUILD);
		return;
	}
	if (words[2].hash != WORD_CONTAINERS ||
	    (what != WORD_START && what != WORD_RESTART && !enters))
		return;
	if (is_id(&words[1])) {
		container = words[1].id;
	} else {
		container = words[1].hash;
		named = bpf_map_lookup_elem(&container_names, &container);
		if (!named) {
			tell_of_name(s, pid, tag, enters);
			return;
		}
		container = *named;
	}
	ask_for(container, pid, tag, enters);
}

__weak __noinline int hear_request(__u32 fd, __u64 text, __u64 len)
{
	__u32 copied;
	struct scratch *s;

	text += METHOD;
	len -= METHOD;
	copied = len < REQUEST_COPY ? len : REQUEST_COPY;
	if (!is_guarded() || !is_unix_socket(fd))
		return 0;
	s = claim();
	if (!s)
		return 0;
	barrier_var(copied);
	if (copied <= REQUEST_COPY && !bpf_probe_read_user(s->words.text, copied, (void *)text)) {
		s->words.is_name = 0;
		read_words(&s->words, copied);
		take_request(s, current_pid());
	}
	release(s);
	return 0;
}

/* Called for every write of the machine: what is none of a request costs one read. */
static __always_inline int on_request(__u32 fd, __u64 text, __u64 len)
{
	__u64 head;

	if (len < REQUEST_MIN || bpf_probe_read_user(&head, sizeof(head), (void *)text) ||
	    (head & POST_MASK) != POST)
		return 0;
	hear_request(fd, text, len);
	return 0;
}

static __always_inline int on_request_pieces(__u32 fd, __u64 pieces)
{
	struct piece first;

	if (bpf_probe_read_user(&first, sizeof(first), (void *)pieces))
		return 0;
	return on_request(fd, first.at, first.len);
}

SEC("tracepoint/syscalls/sys_enter_write")
int on_request_write(struct call_entry *ctx)
{
	return on_request(ctx->arguments[0], ctx->arguments[1], ctx->arguments[2]);
}

SEC("tracepoint/syscalls/sys_enter_sendto")
int on_request_send(struct call_entry *ctx)
{
	return on_request(ctx->arguments[0], ctx->arguments[1], ctx->arguments[2]);
}

SEC("tracepoint/syscalls/sys_enter_writev")
int on_request_writev(struct call_entry *ctx)
{
	return on_request_pieces(ctx->arguments[0], ctx->arguments[1]);
}

SEC("tracepoint/syscalls/sys_enter_sendmsg")
int on_request_message(struct call_entry *ctx)
{
	__u64 message[3]; /* its name, the name's length, its pieces */

	if (bpf_probe_read_user(message, sizeof(message), (void *)ctx->arguments[1]))
		return 0;
	return on_request_pieces(ctx->arguments[0], message[2]);
}

#endif
