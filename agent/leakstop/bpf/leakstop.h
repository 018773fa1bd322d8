/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the kernel side and user space agree on: limits and events.
 * records.py mirrors these structs; a test compares both with the object's BTF.
 */
#ifndef LEAKSTOP_H
#define LEAKSTOP_H

#define ARGV_COPY     4096 /* bytes of the arguments that an exec event carries */
#define EXE_COPY      256
#define NAME_MAX_TEXT 256 /* a DNS name as text has at most 253 characters (RFC 1035) */
#define HITS_MAX      8   /* secrets told apart in one command line */
#define ANSWERS_MAX   64  /* addresses learned from one reply */

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
	EVENT_CONTAINER,
	EVENT_ENGINE,
	EVENT_TAMPER,
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

/* To whom a process belongs. From TAG_STEPS on each step of the job has one of its own. */
enum tag {
	TAG_UNKNOWN, /* the least right */
	TAG_MACHINE, /* a service of the machine, which was there before the guard */
	TAG_ENGINE,  /* one of those that runs containers for whoever asks */
	TAG_RUNNER,  /* the runner's own processes */
	TAG_JOB,     /* of the job, and of no step that is known: all that it is without a runner */
	TAG_STEPS = 16,
};

/* What was done to the guard or the runner: the order of leakstop.model.tamper.Trick. */
enum trick {
	TRICK_BPF,
	TRICK_SIGNAL,
	TRICK_TRACE,
	TRICK_READ,
	TRICK_CGROUP,
	TRICK_CLOCK,
	TRICK_PROGRAMS,
	TRICK_MOUNT,
	TRICK_LIMIT,
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

/* How a library's function is given what it writes, beside (object, address, size). */
#define PASSED_BEHIND_RESULT 0x100 /* behind the address of what it returns */
#define PASSED_IN_PIECES     0x200 /* (object, address of pieces as writev(2) has them, pieces) */

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
	LOSS_OWNERS,     /* the table of processes' owners was full */
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
	__u32 tag; /* enum tag, or a step's */
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
	__u8 held;     /* stopped until user space has said what its step may do */
	__u8 unlinked; /* its file has no name any more, or never had one (memfd_create) */
	__u8 pad[4];
	__u32 tag;              /* enum tag, or a step's */
	__u64 inode;            /* of the program's file */
	char exe[EXE_COPY];     /* as it was called */
	char program[EXE_COPY]; /* path of its file as program_key has it, or empty */
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
	__u8 family;   /* address family of a socket that is not IP's, else 0 */
	__u8 narrowed; /* whoever made the socket meets less than whoever uses it */
	__u8 pad[4];
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
	__u8 narrowed; /* as of a connect */
	__u8 pad[3];
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
	__u8 narrowed;
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

/* A process was put into a container. */
struct event_container {
	struct event_head head;
	__u64 container; /* struct owner's */
	__u32 tag;
	__u32 asker; /* process that asked for it; 0: not seen, or it stays */
	__u8 first;  /* nobody else is in it */
	__u8 stays;  /* no engine's: it is whose it was before */
	__u8 pad[6];
};

#define REQUEST_COPY 256

/* A process asks an engine for a container by a name that the kernel does not know. */
struct event_engine {
	struct event_head head;
	__u32 tag;
	__u32 len;
	__u8 enters; /* one that runs, to start another process in it */
	__u8 pad[7];
	char path[REQUEST_COPY]; /* of the request, without its query */
};

/* What of a process lies open. */
enum sight { SIGHT_NONE, SIGHT_MEMORY, SIGHT_ENVIRONMENT };

#define TEXT_COPY 64

/* Somebody lays hands on the guard or on the runner. */
struct event_tamper {
	struct event_head head;
	__u64 argument; /* command of bpf(2), signal, limit, enum sight */
	__u32 target;   /* thread, or type of a BPF program */
	__u8 trick;     /* enum trick */
	__u8 denied;
	__u8 killed;
	__u8 whom;            /* enum protected_kind */
	char text[TEXT_COPY]; /* name of what was touched, or the way to it */
};

#endif
