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
#define BLOOM_BITS    23  /* 1 MiB: of what is none of 500 secrets' grams, one in 500 passes */

enum event_kind {
	EVENT_FORK = 1,
	EVENT_EXEC,
	EVENT_EXIT,
	EVENT_CONNECT,
	EVENT_QUESTION,
	EVENT_ANSWER,
	EVENT_STREAM,
	EVENT_BIND,
	EVENT_WRITE,
	EVENT_TLS,
	EVENT_PLAINTEXT, /* in a ring of its own */
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
	REASON_IDENTITY,
	REASON_BUDGET,
};

enum carriage { CARRIAGE_NONE, CARRIAGE_NOTE, CARRIAGE_WARN, CARRIAGE_FAIL, CARRIAGE_KILL };

enum via {
	VIA_CONNECT,
	VIA_SEND,
	VIA_SOCKET,
	VIA_ACCEPT, /* the peer connected, what is sent back is judged */
	VIA_OLDER,  /* a socket from before the guard */
	VIA_LINK,   /* a packet that no socket hook saw, on its way out of the machine */
};

/* What a TCP stream shows of itself: the order of leakstop.model.flow.Stream. */
enum stream_kind {
	STREAM_UNSEEN,
	STREAM_TLS,
	STREAM_HTTP,
	STREAM_HIDDEN,
	STREAM_OTHER,
	STREAM_KINDS,
};

/* How a secret was about to leave: the order of leakstop.model.event.Channel. */
enum channel { CHANNEL_TLS, CHANNEL_TCP, CHANNEL_UDP };

/* Whose function was given the plaintext: the order of leakstop.model.event.Library. */
enum library {
	LIBRARY_NONE,
	LIBRARY_OPENSSL, /* and BoringSSL, which has its functions */
	LIBRARY_GNUTLS,
	LIBRARY_NSS,
	LIBRARY_GO,
	LIBRARY_RUSTLS,
};

/* How a write is known to go where it goes: the order of leakstop.model.event.Tie. */
enum tie {
	TIE_SOCKET, /* it is the socket's own packet */
	TIE_NAME,   /* the TLS object has a name, and the process's socket or a relay's shows it */
	TIE_FLOWS,  /* the worst of all sockets that the process has open */
	TIE_NONE,   /* it has none */
};

/* What is known of a resolver, in bits. */
enum resolver_place {
	RESOLVER_HERE = 1,  /* its answers may come over the loopback device */
	RESOLVER_APART = 2, /* nobody who is guarded answers in its name */
};

/* What could not be done, counted per CPU. */
enum loss {
	LOSS_EVENTS,     /* the ring was full */
	LOSS_SCRATCH,    /* no free scratch slot */
	LOSS_ADDRESSES,  /* the table of learned addresses was full */
	LOSS_MARKS,      /* the table of marked processes was full */
	LOSS_ARGV,       /* a part of a command line could not be read */
	LOSS_ANSWERS,    /* an answer could not be read, so nothing was learned from it */
	LOSS_SOCKETS,    /* no storage for a socket */
	LOSS_NAMES,      /* the table of names asked below wildcards was full */
	LOSS_WRITES,     /* a write could not be read */
	LOSS_PLAINTEXTS, /* the ring was full: the kernel has scanned it, nobody looks deeper */
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
	__u64 cookie; /* of the socket, to destroy it; 0 where it is in its caller's hands */
	__u8 ip[16];
	__u16 port;
	__u8 protocol; /* IP protocol number */
	__u8 via;      /* enum via */
	struct judgement judged;
	__u8 killed;
	__u8 hit_count;
	__u8 family; /* address family of a socket that is not IP's, else 0 */
	__u8 pad[5];
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
	__u8 begun; /* a part of what was found has left before */
	__u16 name_len;
	__u16 hits[HITS_MAX];
	__u64 cookie; /* of the stream that ends with it, to destroy the socket; else 0 */
	char name[NAME_MAX_TEXT];
};

struct event_answer {
	struct event_head head;
	__u32 ttl;
	__u16 name_len;
	__u16 count;
	__u64 refused; /* bit n: address n is not believed */
	char name[NAME_MAX_TEXT];
	__u8 address[ANSWERS_MAX][16];
};

/* A TCP stream has shown for whom it is meant. */
struct event_stream {
	struct event_head head;
	__u64 cookie; /* of the socket, to destroy it */
	__u8 ip[16];
	__u16 port;
	__u16 name_port; /* that the name was judged for: behind a proxy another one */
	struct judgement judged;
	__u8 stream; /* enum stream_kind */
	__u8 killed;
	__u8 hit_count;
	__u8 pad;
	__u16 name_len;
	__u16 hits[HITS_MAX];
	char name[NAME_MAX_TEXT];
	__u8 tail[2];
};

/* A TCP socket was bound to an address of this machine. */
struct event_bind {
	struct event_head head;
	__u8 ip[16];
	__u16 port;
	__u8 pad[6];
};

/* A secret in what a process writes. */
struct event_write {
	struct event_head head;
	__u64 cookie; /* of the socket, to destroy it; 0 where it is not known */
	__u64 object; /* address of the TLS object, else 0 */
	__u64 size;   /* bytes of this write */
	__u8 ip[16];
	__u16 port;
	__u8 protocol;
	__u8 channel; /* enum channel */
	struct judgement judged;
	__u8 library; /* enum library */
	__u8 tie;     /* enum tie */
	__u8 killed;
	__u8 hit_count;
	__u16 name_len;
	__u16 hits[HITS_MAX];
	__u8 begun; /* a part of what was found has left before */
	__u8 pad;
	char name[NAME_MAX_TEXT]; /* that the connection is for, as far as known */
};

/* The first write to a TLS object: its plaintext is seen. */
struct event_tls {
	struct event_head head;
	__u64 object;
	__u8 library; /* enum library */
	__u8 pad[5];
	__u16 name_len;
	char name[NAME_MAX_TEXT];
};

#define PLAINTEXT_COPY 4096 /* bytes that a plaintext event carries */

/* A piece of what a connection sends, to be looked through in user space. */
struct event_plaintext {
	struct event_head head;
	__u64 stream; /* address of the TLS object, or the socket's cookie */
	__u64 offset; /* bytes that the connection sent before */
	__u8 ip[16];  /* not for TLS */
	__u16 port;
	__u8 channel; /* enum channel */
	__u8 library; /* enum library */
	__u32 len;
	char bytes[PLAINTEXT_COPY];
};

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
	__u32 stride;                     /* distance of the offsets that the scan looks at */
	__u32 scans;                      /* there are secrets, or some may be found */
	__u8 block;                       /* deny what the policy does not name */
	__u8 leak_kill;                   /* stop a secret on its way to a wrong place */
	__u8 signal;                      /* bpf_send_signal works in cgroup programs (6.16 on) */
	__u8 uplinks;                     /* judge what leaves over an uplink, whoever sent it */
	__u32 refusal;                    /* mark of a refused question on its way to its answer */
	__u32 copy;   /* bytes of each connection that are handed on as plaintext */
	__u32 agent;  /* thread group that is never signalled */
	__u64 cgroup; /* id of the guarded one, for programs that may sleep */
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

struct bloom {
	__u64 mask; /* of the words in use: a filter of few grams should not fill the cache */
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
	__u32 at; /* where in the whole text it stands */
	__u8 bytes[CORE_MAX];
};

#endif
