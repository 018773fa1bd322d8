/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Configuration, tables and scratch memory, shared by all programs. */
#ifndef LEAKSTOP_MAPS_BPF_H
#define LEAKSTOP_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "leakstop.h"

/* Set before loading and frozen by libbpf: root in the job cannot flip the mode. */
const volatile struct config cfg;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_KINDS);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} guarded SEC(".maps");

/* ---- policy, written before attaching and frozen ---- */

struct name_key {
	__u32 prefixlen;
	__u8 name[NAME_MAX_TEXT]; /* reversed, lower case; a whole name ends with NUL */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1); /* sized by user space */
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
	__type(key, struct name_key);
	__type(value, struct name_node);
} names SEC(".maps");

struct address_key {
	__u32 prefixlen;
	__u8 ip[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
	__type(key, struct address_key);
	__type(value, struct network_node);
} networks SEC(".maps");

#define PROTO_DNS 0 /* stands for a question, where IP has a protocol number */

struct port_key {
	__u32 prefixlen;
	__u8 protocol;
	__u8 port[2]; /* network order */
	__u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
	__type(key, struct port_key);
	__type(value, struct vec);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u8[16]);
	__type(value, __u8);
} resolvers SEC(".maps");

/* Networks of containers that were made later: private ranges only, kept up by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
	__type(key, struct address_key);
	__type(value, __u8);
} neighbours SEC(".maps");

/* ---- secrets, written before attaching and frozen ---- */

/* Bit n is set if a gram hashes to n: most words of ordinary data need no look-up. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct bloom);
} blooms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u64);
	__type(value, struct gram);
} grams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct core);
} cores SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct secret);
} secrets SEC(".maps");

/* ---- what the programs learn ---- */

/* No LRU: a right is never forgotten to make room; when it is full, new addresses are denied. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u8[16]);
	__type(value, struct learned);
} addresses SEC(".maps");

/* Which secrets were found, and as which of their needles. */
struct hits {
	__u16 needle[HITS_MAX];
	__u16 secret[HITS_MAX];
	__u32 count;
	__u32 pad;
};

struct mark {
	__u64 start;
	struct hits hits;
};

/* Images with a secret on their command line, by thread group. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct mark);
} marks SEC(".maps");

struct asked_key {
	__u64 cookie;
	__u16 id;
	__u16 qtype;
	__u32 pad;
};

struct asked {
	__u64 name_hash;
	struct vec bits;
};

/* Questions on their way. LRU: a forgotten one is an answer not learned, so a denial. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct asked_key);
	__type(value, struct asked);
} asked_questions SEC(".maps");

/* Where something goes. */
struct target {
	__u8 ip[16];
	__u16 port;
	__u8 protocol;
	__u8 pad[5];
};

#define SOCK_DNS    1 /* towards the trusted resolver: the packet hook reads it */
#define SOCK_JUDGED 2 /* a datagram socket with a verdict for its peer */
#define SOCK_TOLD   4 /* this verdict was reported */

struct sock_note {
	__u32 pid; /* who connected or sent last */
	__u32 flags;
	struct target target;
	struct judgement judged;
	__u32 pad;
	struct mark mark;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct sock_note);
} socks SEC(".maps");

struct sent_key {
	__u64 cookie;
	__u8 ip[16];
	__u16 port;
	__u16 judged;
	__u32 pad;
};

/* Sends that were reported, so that a stream of datagrams is one event. Explains only: LRU. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sent_key);
	__type(value, __u8);
} sent SEC(".maps");

/* ---- scratch ---- */

#define WINDOW_EDGE  128 /* bytes kept on both sides of a chunk, for needles across it */
#define WINDOW_CHUNK 4096
#define WINDOW       (WINDOW_EDGE + WINDOW_CHUNK + WINDOW_EDGE)

struct window {
	__u32 from; /* first offset to look at */
	__u32 to;   /* first offset behind the valid bytes */
	__u8 bytes[WINDOW];
	__u8 slack[256]; /* the scan looks at sixteen words at once */
};

#define MESSAGE_MAX 4096

/*
 * The state of a walk is map memory, not stack: from the stack the verifier knows each
 * counter's value and would follow every iteration of a loop on its own.
 */
struct name_walk {
	__u64 hash;
	__u32 at;
	__u32 left; /* bytes left in this label */
	__u32 out;  /* characters so far */
	__u32 end;  /* behind the name where it began */
	__u32 jumps;
	__u32 keep;
	__u32 odd; /* a byte that no name should have: read, but not to be judged */
	__u32 state;
	__u32 joined; /* characters that are not dots */
	__u32 pad;
};

struct record_walk {
	__u64 owner; /* the name that counts: the one asked, then along its CNAMEs */
	__u64 now;
	struct vec bits;
	__u32 at;
	__u32 left;
	__u32 bad;
	__u32 pad;
};

struct message {
	__u32 len;
	__u32 name_len;
	__u32 last_dot; /* of the reversed name: its position plus one, 0 for none */
	__u32 pad;
	struct name_walk walk; /* of the name read last */
	struct record_walk records;
	__u8 bytes[MESSAGE_MAX];
	char name[NAME_MAX_TEXT]; /* as asked, upper case kept */
	struct name_key key;
};

struct scratch {
	__u32 busy;
	__u32 pad;
	struct hits hits;
	struct window window;
	struct message message;
	union {
		struct event_exec exec;
		struct event_question question;
		struct event_answer answer;
	};
};

#define SCRATCH_SLOTS 4

/*
 * A packet program can run on top of another one on the same CPU (softirq over process
 * context), so a plain per-CPU slot is overwritten under its owner. Slots are claimed; with
 * none free the caller fails, and a failure denies.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline void lose(__u32 what)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &what);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct scratch *claim(void)
{
	for (__u32 i = 0; i < SCRATCH_SLOTS; i++) {
		__u32 slot = i;
		struct scratch *s = bpf_map_lookup_elem(&scratches, &slot);

		if (s && __sync_val_compare_and_swap(&s->busy, 0, 1) == 0)
			return s;
	}
	lose(LOSS_SCRATCH);
	return 0;
}

static __always_inline void release(struct scratch *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

static __always_inline void emit(void *event, __u64 size)
{
	if (bpf_ringbuf_output(&events, event, size, 0))
		lose(LOSS_EVENTS);
}

#endif
