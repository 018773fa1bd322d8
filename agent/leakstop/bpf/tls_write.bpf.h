/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a process is about to give to its TLS library: scanned whole before the function runs.
 * A secret that may not go where the connection leads ends the process, so that nothing of it
 * is ever encrypted. Entry probes only: since Linux 6.11 return probes need a system call
 * (uretprobe) that a strict seccomp filter does not allow.
 */
#ifndef LEAKSTOP_TLS_WRITE_BPF_H
#define LEAKSTOP_TLS_WRITE_BPF_H

#include "open_flows.bpf.h"
#include "protected.bpf.h"
#include "plaintext.bpf.h"

#define WRITE_MAX      (1ULL << 34) /* bpf_loop() has 2^23 rounds, of a page each */
#define INT_MAX        0x7fffffffULL
#define HTTP2_BEGINS   0x5448202a20495250ULL /* "PRI * HT" */
#define HTTP2_SETTINGS 4 /* a frame's type, behind its length; flags and stream are zero */
#define HTTP2_ACK      0x100ULL
#define WELL_BEGUN     (64 << 10) /* bytes; as many of a connection are unpacked in user space */
#define PIECES_LIMIT   1024       /* UIO_MAXIOV */
#define WRITINGS_MAX   64

/*
 * Not per processor: a program that waits for a page to be read may go on where another one
 * works. Claimed and given back; a process cannot keep one but by waiting in the program.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WRITINGS_MAX);
	__type(key, __u32);
	__type(value, struct writing);
} writings SEC(".maps");

static long claim_slot(__u32 i, __u32 *slot)
{
	__u32 at = (*slot + i) % WRITINGS_MAX;
	struct writing *w = bpf_map_lookup_elem(&writings, &at);

	if (!w || __sync_val_compare_and_swap(&w->busy, 0, 1))
		return 0;
	*slot = at + WRITINGS_MAX; /* found */
	return 1;
}

static __always_inline struct writing *claim_writing(void)
{
	__u32 slot = bpf_get_smp_processor_id() % WRITINGS_MAX;

	bpf_loop(WRITINGS_MAX, claim_slot, &slot, 0);
	if (slot < WRITINGS_MAX)
		return 0;
	slot -= WRITINGS_MAX;
	return bpf_map_lookup_elem(&writings, &slot);
}

static __always_inline void give_back(struct writing *w)
{
	__sync_lock_test_and_set(&w->busy, 0);
}

/* Process 1 would take the machine with it, and the agent the guard. Returns whether it dies. */
static __always_inline int end_process(void)
{
	return current_pid() != 1 && protection_of(bpf_get_current_pid_tgid()) != PROTECTED_AGENT &&
	       bpf_send_signal(9) == 0;
}

/*
 * More than an int holds, where there is no such memory: a negative number, which libraries
 * refuse. SSL_write_ex() and the like do take so much at once.
 */
static __always_inline int is_no_size(__u64 data, __u64 size)
{
	char last;

	return size > INT_MAX &&
	       (size >= WRITE_MAX || bpf_copy_from_user(&last, 1, (void *)(data + size - 1)));
}

/* There is no memory to scan it in, so it is not known to be harmless. */
static __always_inline void pass_unseen(void)
{
	lose(LOSS_SCRATCH);
	if (cfg.block && cfg.scans)
		end_process();
}

struct page_walk {
	struct writing *writing;
	struct tls_object *object;
	__u64 limit;  /* how many bytes of the connection are handed on */
	__u64 pieces; /* where the write's pieces stand, if it has more than the one in hand */
};

/* Puts what was written before in front of the piece. */
static __always_inline void join_tail(struct window *w, const struct tls_object *object, __u32 len)
{
	__u32 tail = object->tail_len;

	for (__u32 i = 0; i < WINDOW_EDGE; i += 8)
		*(__u64 *)(w->bytes + i) = *(const __u64 *)(object->tail + i);
	w->from = WINDOW_EDGE - (tail <= WINDOW_EDGE ? tail : 0);
	w->seen = WINDOW_EDGE;
	w->to = WINDOW_EDGE + len;
}

/* Keeps the end of what the window holds: `len` bytes behind the tail. */
static __always_inline void keep_tail(struct window *w, struct tls_object *object, __u32 len)
{
	__u32 whole = object->tail_len + len;

	for (__u32 i = 0; i < WINDOW_EDGE; i += 8)
		*(__u64 *)(object->tail + i) = word_at(w->bytes + len + i);
	object->tail_len = whole < WINDOW_EDGE ? whole : WINDOW_EDGE;
	w->gone -= len;
}

/*
 * Hands the piece on to be looked through in user space. The event's head takes the place of the
 * tail, which is not needed any more: so the bytes are not copied once again.
 */
__weak __noinline int hand_on(struct writing *w, const struct tls_object *object, __u32 len,
			      __u64 limit)
{
	struct event_plaintext *event;

	if (!w || !object)
		return 0;
	if (len > limit - object->written)
		len = limit - object->written;
	barrier_var(len);
	if (len > WINDOW_CHUNK)
		return 0;
	barrier_var(len);
	event = (void *)(w->window.bytes + WINDOW_EDGE - offsetof(struct event_plaintext, bytes));
	fill_head(&event->head, EVENT_PLAINTEXT, w->key.tgid, w->key.start);
	event->stream = w->key.object;
	event->offset = object->written;
	__builtin_memset(event->ip, 0, sizeof(event->ip));
	event->port = 0;
	event->channel = CHANNEL_TLS;
	event->library = w->library;
	hand_over(event, len);
	return 0;
}

/*
 * Who speaks HTTP/2 begins with it: a client with words of its own, either side with a frame of
 * SETTINGS, which it answers, too (RFC 9113, 3.4 and 6.5). Any write is looked at, and the memory
 * itself: of the first piece less may be in one page.
 */
static __always_inline void look_for_http2(const struct writing *w, struct tls_object *object)
{
	__u64 first;

	if (object->no_http2 && !bpf_copy_from_user(&first, sizeof(first), (void *)w->at) &&
	    (first == HTTP2_BEGINS || (first >> 24 & ~HTTP2_ACK) == HTTP2_SETTINGS))
		object->no_http2 = 0;
}

/* Up to the end of a page: behind it memory may be another's, or none. */
static long scan_page(__u32 i, struct page_walk *walk)
{
	struct writing *w = walk->writing;
	__u64 left = w->end - w->at;
	__u32 len = WINDOW_CHUNK - (w->at & (WINDOW_CHUNK - 1));

	if (w->at >= w->end)
		return 1;
	if (len > left)
		len = left;
	len -= 1; /* 6.1's verifier learns nothing from `!len` */
	barrier_var(len);
	if (len > WINDOW_CHUNK - 1)
		return 1;
	len += 1;
	barrier_var(len);
	/* The write itself will not get any further than this. */
	if (bpf_copy_from_user(w->window.bytes + WINDOW_EDGE, len, (void *)w->at))
		return 1;
	join_tail(&w->window, walk->object, len);
	w->window.no_hpack = walk->object->no_http2 && walk->object->written >= WELL_BEGUN;
	scan_window(&w->window, &w->mark.hits);
	keep_tail(&w->window, walk->object, len);
	if (walk->object->written < walk->limit)
		hand_on(w, walk->object, len, walk->limit);
	walk->object->written += len;
	w->at += len;
	return 0;
}

/* A write has one, or they stand one behind the other. */
static long scan_piece(__u32 i, struct page_walk *walk)
{
	struct writing *w = walk->writing;
	struct piece piece = { .len = 1 };

	if (walk->pieces) {
		if (bpf_copy_from_user(&piece, sizeof(piece),
				       (void *)(walk->pieces + i * sizeof(piece))))
			piece.len = 1; /* not read */
		w->at = piece.at;
		w->end = piece.at + piece.len;
		w->size += piece.len;
	}
	if (!i)
		look_for_http2(w, walk->object);
	bpf_loop(WRITE_MAX / WINDOW_CHUNK + 1, scan_page, walk, 0);
	return w->at != w->end;
}

/* Says that this object's plaintext is seen. */
__weak __noinline int report_tls(struct writing *w, const struct tls_object *object)
{
	struct event_tls *event;
	__u32 len;

	if (!w || !object)
		return -1;
	event = &w->tls;
	fill_head(&event->head, EVENT_TLS, w->key.tgid, w->key.start);
	event->object = w->key.object;
	event->library = w->library;
	len = event->name_len = object->name_len;
	__builtin_memcpy(event->name, object->name.text, sizeof(event->name));
	emit(event, offsetof(struct event_tls, name) + (len & (NAME_MAX_TEXT - 1)));
	return 0;
}

/* A number for what was found and what becomes of it. */
static __always_inline __u64 summarise(const struct writing *w)
{
	__u64 sum = FNV_BASIS ^ (w->event.judged.carriage << 8 | w->event.tie);

	for (int i = 0; i < HITS_MAX; i++)
		sum = (sum ^ (i < w->mark.hits.count ? w->mark.hits.needle[i] + 1 : 0)) * FNV_PRIME;
	return sum;
}

/* Whoever writes the same to the same host for hours is one event. */
__weak __noinline int report_tls_write(struct writing *w, struct tls_object *object)
{
	struct event_write *event;
	__u64 sum;
	__u32 len;

	if (!w || !object)
		return -1;
	event = &w->event;
	sum = summarise(w);
	if (sum == object->told && event->judged.carriage != CARRIAGE_KILL)
		return 0;
	object->told = sum;
	fill_head(&event->head, EVENT_WRITE, w->key.tgid, w->key.start);
	event->object = w->key.object;
	event->size = w->size;
	event->protocol = TCP;
	event->channel = CHANNEL_TLS;
	event->library = w->library;
	event->hit_count = w->mark.hits.count;
	event->begun = w->mark.hits.begun;
	for (int i = 0; i < HITS_MAX; i++)
		event->hits[i] = w->mark.hits.needle[i];
	len = event->name_len = object->name_len;
	__builtin_memcpy(event->name, object->name.text, sizeof(event->name));
	emit(event, offsetof(struct event_write, name) + (len & (NAME_MAX_TEXT - 1)));
	return 0;
}

/* A secret was found: what becomes of it depends on where the connection leads. */
static __always_inline void judge_write(struct writing *w, struct tls_object *object)
{
	struct judgement *j = &w->event.judged;

	__builtin_memset(&w->event, 0, sizeof(w->event));
	w->name_hash = object->name_hash;
	weigh_open_sockets(w);
	if (!w->sockets)
		j->reason =
			REASON_LOCAL; /* into a pipe, or to nobody: for all that is known it stays */
	else if (j->carriage == CARRIAGE_NONE)
		return; /* to a home, or it stays */
	if (j->carriage == CARRIAGE_KILL) {
		w->event.killed = end_process();
		j->applied = w->event.killed ? ACTION_DENY : ACTION_ALLOW;
	}
	report_tls_write(w, object);
}

static __always_inline void look_through(struct writing *w, struct tls_object *object, __u64 pieces,
					 __u64 count)
{
	struct page_walk walk = { .writing = w, .object = object, .pieces = pieces };

	if (!object->known) {
		object->known = 1;
		report_tls(w, object);
	}
	w->mark.hits.count = 0;
	walk.limit = object->written + room_to_copy(&w->key.object, object->written);
	if (!cfg.scans && object->written >= walk.limit)
		return;
	w->window.gone = WINDOW_EDGE;
	bpf_loop(count < PIECES_LIMIT ? count : PIECES_LIMIT, scan_piece, &walk, 0);
	if (w->at != w->end || count > PIECES_LIMIT) {
		object->tail_len = 0;
		lose(LOSS_WRITES);
	}
	if (w->mark.hits.count)
		judge_write(w, object);
}

/* NSPR writes files with the same functions: TLS is what SSL_SetURL gave a host. */
static __always_inline struct tls_object *object_of(const struct writing *w)
{
	return w->library == LIBRARY_NSS ? bpf_map_lookup_elem(&tls_objects, &w->key)
					 : known_object(&w->key);
}

static __always_inline int on_write(__u64 address, __u64 data, __u64 size, __u32 how)
{
	int pieces = how & PASSED_IN_PIECES;
	struct tls_object *object;
	struct writing *w;

	if (!size || !is_guarded_task())
		return 0;
	if (!pieces && is_no_size(data, size)) {
		lose(LOSS_WRITES);
		return 0;
	}
	w = claim_writing();
	if (!w) {
		pass_unseen();
		return 0;
	}
	identify(&w->key, address);
	w->library = how & 0xff;
	w->size = pieces ? 0 : size;
	w->at = data;
	w->end = data + size;
	object = object_of(w);
	if (object)
		look_through(w, object, pieces ? data : 0, pieces ? size : 1);
	else if (w->library != LIBRARY_NSS)
		pass_unseen();
	give_back(w);
	return 0;
}

SEC("uprobe.s")
int on_tls_write(struct pt_regs *ctx)
{
	__u64 how = bpf_get_attach_cookie(ctx);
	__u64 object = C_1(ctx), data = C_2(ctx), size = C_3(ctx), fourth = C_4(ctx);

	/* Else clang chooses an address in ctx, which the verifier does not let it read. */
	barrier_var(fourth);
	if (how & PASSED_BEHIND_RESULT) {
		object = data;
		data = size;
		size = fourth;
	}
	return on_write(object, data, size, how);
}

SEC("uprobe.s")
int on_go_write(struct pt_regs *ctx)
{
	return on_write(GO_1(ctx), GO_2(ctx), GO_3(ctx), LIBRARY_GO);
}

#endif
