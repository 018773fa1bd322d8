/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Configuration and tables, shared by all programs. */
#ifndef LEAKSTOP_MAPS_BPF_H
#define LEAKSTOP_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "values.h"

/* Set before loading and frozen by libbpf: root in the job cannot flip the mode. */
const volatile struct config cfg;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} events SEC(".maps");

/* What connections send, apart from the events: a flood of it must not cost one of those. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} plaintexts SEC(".maps");

/* Of connections that look suspicious more is handed on: stream -> so many bytes. By the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u64);
	__type(value, __u64);
} watched SEC(".maps");

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

/* Threads that are protected, by id: enum protected_kind. By the agent (sensor/protected.py). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} protected SEC(".maps");

/* Processes, by thread group. Preallocated: one for which there is no room has no owner. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct owner);
} owners SEC(".maps");

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

/*
 * Not BPF_F_RDONLY_PROG: programs that are loaded upon it once it is frozen would be refused, as
 * the verifier then wants the values of an array, and has them of one entry only.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

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
	__type(value, __u8); /* enum resolver_place */
} resolvers SEC(".maps");

/* What programs that a rule names meet beyond cfg.programless. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* sized by user space */
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, struct program_key);
	__type(value, struct vec);
} programs SEC(".maps");

/* Networks of containers that were made later: private ranges only, kept up by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
	__type(key, struct address_key);
	__type(value, __u8);
} neighbours SEC(".maps");

/* Interfaces that carry our program, by index: kept up by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct device);
} devices SEC(".maps");

/* ---- secrets: those declared before attaching, and with spare room those found later ---- */

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
	__uint(max_entries, 1); /* sized by user space, as the next two are */
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
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
	__u32 begun; /* a part of one has left before */
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
	__u64 own; /* a rule allows exactly this name */
};

/* Questions on their way. LRU: a forgotten one is an answer not learned, so a denial. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct asked_key);
	__type(value, struct asked);
} asked_questions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} spent SEC(".maps");

/*
 * Names that were paid for, whole: an asker who knows the hash could find many names with the
 * same one. No LRU: a forgotten name would be paid for again. When it is full, the name is
 * refused.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* sized by user space: all budgets together, up to 65,536 */
	__type(key, struct name_key);
	__type(value, __u8);
} paid_names SEC(".maps");

/* Where something goes. */
struct target {
	__u8 ip[16];
	__u16 port;
	__u8 protocol;
	__u8 pad[5];
};

/* What is known of where something goes: conditions of rules, all of them on its port. */
struct place {
	struct vec address; /* of rules for the address itself */
	struct vec names;   /* for names that led to it */
	struct vec shown;   /* for the name that its stream shows */
	struct vec held;    /* what of this allows, and homes, may count on */
	struct vec claimed; /* what denies, and sinks, go by */
	__u8 local;         /* stays on this machine */
	__u8 known;         /* a name led here, or a rule names the address */
	__u8 stream;        /* enum stream_kind */
	__u8 named;         /* its stream shows a name */
	__u8 pad[4];
};

/* Where a TCP socket leads. */
struct flow {
	struct target target;
	struct place place;
	__u64 name; /* hash of the one that it shows, 0 for none */
};

#define SOCK_DNS     1   /* towards the trusted resolver: the packet hook reads it */
#define SOCK_JUDGED  2   /* a datagram socket with a verdict for its peer */
#define SOCK_TOLD    4   /* this verdict was reported */
#define SOCK_SHOWS   8   /* a stream that has not yet shown for whom it is meant */
#define SOCK_CUT     16  /* nothing more may leave */
#define SOCK_OLDER   32  /* from before the guard */
#define SOCK_TRUSTED 64  /* and not of the job */
#define SOCK_WATCHED 128 /* a stream that had to show for whom it is meant */
#define SOCK_SEALED  256 /* what follows is TLS */
#define SOCK_READ    512 /* what it sends in the open is read */

struct sock_note {
	__u32 pid; /* who connected or sent last */
	__u32 flags;
	struct target target;
	struct judgement judged;
	__u32 foreign; /* made in a network namespace that needed no privileges */
	__u32 held;    /* somebody reads or writes target, flags and verdict: seize() */
	__u32 early; /* it said hello before its program was looked at; not a flag: those are seized */
	__u8 narrowed; /* its maker meets less than its user */
	__u8 pad[3];
	__u32 relays; /* made and used by one whose questions are others': see find_who() */
	__u64 netns;  /* cookie */
	struct mark mark;
	struct owner maker;
	struct vec who; /* what its maker and its user meet, both */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct sock_note);
} socks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct refusals);
} refusals SEC(".maps");

struct sent_key {
	__u64 cookie;
	__u8 ip[16];
	__u16 port;
	__u16 judged;
	__u32 protocol;
};

/* Sends that were reported, so that a stream of datagrams is one event. Explains only: LRU. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sent_key);
	__type(value, __u8);
} sent SEC(".maps");

struct passage_key {
	__u8 source[16];
	__u8 target[16];
	__u16 source_port;
	__u16 target_port;
	__u32 protocol;
};

/*
 * Flows without a socket that an uplink let pass: what is learned of an address ends before a
 * connection does. LRU: a forgotten one is judged anew.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct passage_key);
	__type(value, __u8);
} passages SEC(".maps");

static __always_inline void lose(__u32 what)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &what);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void emit(void *event, __u64 size)
{
	if (bpf_ringbuf_output(&events, event, size, 0))
		lose(LOSS_EVENTS);
}

#endif
