/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the kernel side and user space agree on: limits, events and map values.
 * records.py mirrors these structs; a test compares both with the object's BTF.
 */
#ifndef LEAKSTOP_H
#define LEAKSTOP_H

#define ARGV_COPY     4096 /* bytes of the arguments that an exec event carries */
#define EXE_COPY      256
#define NAME_MAX_TEXT 256 /* a DNS name as text has at most 253 characters (RFC 1035) */
#define HITS_MAX      8   /* secrets told apart in one command line */
#define ANSWERS_MAX   64  /* addresses learned from one reply */
#define CORE_MAX      64  /* bytes of a needle that are compared */
#define GRAM_SLOTS    4   /* needles that may share one 8-byte gram */
#define BLOOM_BITS    19  /* 64 KiB, read in front of the gram table */

enum event_kind {
	EVENT_FORK = 1,
	EVENT_EXEC,
	EVENT_EXIT,
	EVENT_CONNECT,
	EVENT_QUESTION,
	EVENT_ANSWER,
};

/* action, reason and carriage follow the order of leakstop.model.verdict. */
enum action { ACTION_ALLOW, ACTION_DENY };

enum reason {
	REASON_NOT_NAMED,
	REASON_ALLOW_RULE,
	REASON_DENY_RULE,
	REASON_LOCAL,
	REASON_RESOLVER,
	REASON_LEAK,
	REASON_UNPARSABLE,
	REASON_PROTOCOL,
};

enum carriage { CARRIAGE_NONE, CARRIAGE_NOTE, CARRIAGE_WARN, CARRIAGE_FAIL, CARRIAGE_KILL };

enum via { VIA_CONNECT, VIA_SEND, VIA_SOCKET };

/* What could not be done, counted per CPU. */
enum loss {
	LOSS_EVENTS,    /* the ring was full */
	LOSS_SCRATCH,   /* no free scratch slot */
	LOSS_ADDRESSES, /* the table of learned addresses was full */
	LOSS_MARKS,     /* the table of marked processes was full */
	LOSS_ARGV,      /* a part of a command line could not be read */
	LOSS_ANSWERS,   /* an answer could not be read, so nothing was learned from it */
	LOSS_SOCKETS,   /* no storage for a socket */
	LOSS_KINDS,
};

struct event_head {
	__u32 kind;
	__u32 pid;
	__u64 ts;    /* bpf_ktime_get_boot_ns */
	__u64 start; /* start_boottime of the process, 0 where it is not known */
};

struct event_fork {
	struct event_head head;
	__u32 ppid;
	__u32 pad;
};

struct event_exit {
	struct event_head head;
	__s32 code;
	__u32 pad;
};

struct event_exec {
	struct event_head head;
	__u64 cgroup;
	__u32 ppid;
	__u32 uid;
	__u32 argv_bytes;
	__u32 argv_copied;
	__u16 hits[HITS_MAX]; /* needles, one per secret */
	__u8 hit_count;
	__u8 unscanned;
	__u8 pad[6];
	char exe[EXE_COPY];
	char argv[ARGV_COPY];
};

struct judgement {
	__u8 policy;   /* enum action */
	__u8 applied;  /* enum action */
	__u8 reason;   /* enum reason */
	__u8 carriage; /* enum carriage */
};

struct event_connect {
	struct event_head head;
	__u8 ip[16];
	__u16 port;
	__u8 protocol; /* IP protocol number */
	__u8 via;      /* enum via */
	struct judgement judged;
	__u8 killed;
	__u8 hit_count;
	__u8 pad[6];
	__u16 hits[HITS_MAX];
};

struct event_question {
	struct event_head head;
	__u8 resolver[16];
	struct judgement judged;
	__u16 qtype;
	__u8 killed;
	__u8 in_name;
	__u8 hit_count;
	__u8 pad;
	__u16 name_len;
	__u16 hits[HITS_MAX];
	char name[NAME_MAX_TEXT];
};

struct event_answer {
	struct event_head head;
	__u32 ttl;
	__u16 name_len;
	__u16 count;
	char name[NAME_MAX_TEXT];
	__u8 address[ANSWERS_MAX][16];
};

/* A set of conditions: bit n of word n/64 is condition n (policy/tables.py). */
struct vec {
	__u64 w[4];
};

/* .rodata, whole. */
struct config {
	struct vec allow; /* conditions of allow rules */
	struct vec deny;
	struct vec sink; /* places where anyone can store data */
	__u32 stride;    /* distance of the offsets that the scan looks at */
	__u32 needles;
	__u8 block;     /* deny what the policy does not name */
	__u8 leak_kill; /* stop a secret on its way to a wrong place */
	__u8 signal;    /* bpf_send_signal works in cgroup programs (6.16 on) */
	__u8 pad[5];
};

struct name_node {
	struct vec deep; /* holds for any remainder */
	struct vec one;  /* holds when the remainder is one label */
	__u32 len;       /* bytes of the key that led here */
	__u32 pad;
};

struct network_node {
	struct vec bits;
	__u32 local;
	__u32 pad;
};

struct learned {
	struct vec bits;
	__u64 expires; /* boot clock, ns */
};

struct secret {
	struct vec home;
	__u32 placed;
	__u32 pad;
};

struct bloom {
	__u64 words[(1 << BLOOM_BITS) / 64];
};

struct gram {
	__u16 needle[GRAM_SLOTS]; /* index + 1; 0 ends the list */
	__u8 at[GRAM_SLOTS];      /* where in the needle the gram stands */
	__u32 pad;
};

struct core {
	__u16 secret;
	__u16 len;
	__u32 pad;
	__u8 bytes[CORE_MAX];
};

#endif
