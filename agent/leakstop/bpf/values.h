/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What stands in the maps and in the configuration; values.py mirrors these structs. */
#ifndef LEAKSTOP_VALUES_H
#define LEAKSTOP_VALUES_H

#include "leakstop.h"

#define STRIDE_MAX  16
#define BLOOM_BITS  23 /* 1 MiB, for 1,000 secrets; bpf/bloom.py says how much of it is used */
#define BINARY_BITS 21
#define SECOND_BITS 22
#define GRAM_SLOTS  4  /* needles that may share one 8-byte gram */
#define CORE_MAX    64 /* bytes of a needle that are compared */

/* A set of conditions: bit n of word n/64 is condition n (policy/tables.py). */
struct vec {
	__u64 w[4];
};

/* .rodata, whole. */
struct config {
	struct vec allow; /* conditions of allow rules */
	struct vec deny;
	struct vec sink;                  /* places where anyone can store data */
	struct vec accepts[STREAM_KINDS]; /* what each kind of stream satisfies if the name fits */
	__u32 scans;                      /* there are secrets, or some may be found: 1, or */
#define SCANS_APART 2                     /* so many that text and other bytes have own filters */
	__u8 block;                       /* deny what the policy does not name */
	__u8 leak_kill;                   /* stop a secret on its way to a wrong place */
	__u8 signal;                      /* bpf_send_signal works in cgroup programs (6.16 on) */
	__u8 uplinks;                     /* judge what leaves over an uplink, whoever sent it */
	__u8 scoped;                      /* some rule asks who it is */
	__u8 hold_steps;                  /* a step waits at its first exec for its name */
	__u8 hold_containers;             /* so does a container */
	__u8 pad;
	__u32 worker;           /* the runner's, whose children are steps; or 0 */
	struct vec nobody;      /* what the least right meets */
	struct vec anyone;      /* what somebody might */
	struct vec unsure;      /* met by whoever is of a step that is not known, */
	struct vec stepless;    /* of none, */
	struct vec runner;      /* by the runner itself, */
	struct vec programless; /* by a program that no rule names, */
	struct vec boxed;       /* in a container that is not known yet, */
	struct vec unboxed;     /* and outside of them */
	__u32 refusal;          /* mark of a refused question on its way to its answer */
	__u32 copy;             /* bytes of each connection that are handed on as plaintext */
	__u64 cgroup;           /* id of the guarded one, for programs that may sleep */
};

struct name_node {
	struct vec deep; /* holds for any remainder */
	struct vec one;  /* holds when the remainder is one label */
	__u32 len;       /* bytes of the key that led here */
	__u32 own;       /* a rule allows exactly this name */
	/* Who pays for a name that only a wildcard allows: its index plus one, or 0. */
	__u32 deep_budget;
	__u32 one_budget;
};

/* Of the names below one wildcard: what a job may ask for, and what it has. */
struct budget {
	__u32 names; /* different ones */
	__u32 bytes; /* of what stands in front of the wildcard's own name */
};

/* Which answers may lead to a network: the order of policy/special.py. */
enum belief { BELIEF_ANY, BELIEF_OWN, BELIEF_NONE };

struct network_node {
	struct vec bits;
	__u32 local;
	__u32 belief; /* enum belief */
};

/* An interface that carries our program. */
struct device {
	__u64 netns;   /* cookie of its network namespace; 0: marks no question any more */
	__u8 header;   /* bytes in front of the IP header */
	__u8 loopback; /* what leaves over it arrives here */
	__u8 uplink;   /* leads off this machine */
	__u8 pad[5];
};

/* Questions that were marked, and those of them that have met their answer since. */
struct refusals {
	__u64 marked;
	__u64 met;
	__u64 last; /* boot clock, ns: when one was marked */
};

struct learned {
	struct vec bits;
	__u64 expires; /* boot clock, ns */
};

struct secret {
	struct vec home;
	__u32 placed;
	__u32 guessed; /* nobody declared it, nobody placed it: it was found */
};

/* Whose threads nobody lays hands on unseen; the agent's are never signalled by us either. */
enum protected_kind {
	PROTECTED_AGENT = 1, /* and who starts it again */
	PROTECTED_WORKER,    /* the runner's */
	PROTECTED_RUNNER, /* what is above that: only its memory is, who is in there may do all */
};

/* Who a process is: set at fork, changed at exec, never by what it says of itself. */
struct owner {
	__u64 start;     /* start_boottime */
	__u64 inode;     /* of its program's file */
	__u64 container; /* the first 16 digits of its id; 0 outside */
	__u32 tag;       /* enum tag, or a step's */
	__u32 pad;
	struct vec program; /* what its program meets */
};

#define WAITS_STEP      1 /* for its step's name */
#define WAITS_CONTAINER 2

/* A process that is stopped at its first instruction. */
struct hold {
	__u64 start;
	__u64 since; /* boot clock, ns */
	__u64 container;
	__u32 tag;
	__u32 waits;
};

#define PROGRAM_MAX 256

/*
 * A program by its path: the names on the way from its file to the root, each with a slash behind
 * it; or by its bare name.
 */
struct program_key {
	char name[PROGRAM_MAX];
};

/* Who asked for a container. */
struct claim {
	__u32 tag;     /* TAG_UNKNOWN: nobody was seen to, or not always the same */
	__u32 asker;   /* process that asked first */
	__s32 members; /* processes in it */
	__u32 pad;
};

/* Whoever asked for a container has asked to let more processes in. */
struct door {
	__u64 until; /* boot clock, ns */
	__u32 tag;
	__u32 left;
};

struct bloom {
	__u32 mask;   /* of offsets, in bytes: a filter of few grams should not fill the cache */
	__u32 stride; /* distance of the offsets that the scan looks at */
	__u32 apart;  /* as in `scans` */
	__u32 ascii;  /* all grams are, but those of Huffman codes */
	__u64 words[(1 << BLOOM_BITS) / 64];
	__u64 binary[(1 << BINARY_BITS) / 64]; /* of grams that are no ASCII, if those are apart */
	__u64 second[(1 << SECOND_BITS) / 64]; /* asked what passes the first */
};

struct gram {
	__u16 needle[GRAM_SLOTS]; /* index + 1; 0 ends the list */
	__u8 at[GRAM_SLOTS];      /* where in the needle the gram stands */
	__u32 pad;
};

struct core {
	__u16 secret;
	__u16 len;
	__u32 at; /* where in the whole text it stands */
	__u8 bytes[CORE_MAX];
};

#endif
