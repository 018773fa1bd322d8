/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Memory to work in: what does not fit on a stack, or what the verifier should not follow. */
#ifndef LEAKSTOP_SCRATCH_BPF_H
#define LEAKSTOP_SCRATCH_BPF_H

#include "maps.bpf.h"

#define WINDOW_EDGE  128 /* bytes kept on both sides of a chunk, for needles across it */
#define WINDOW_CHUNK 4096
#define WINDOW       (WINDOW_EDGE + WINDOW_CHUNK + WINDOW_EDGE)

struct window {
	__u32 from; /* first offset to look at */
	__u32 to;   /* first offset behind the valid bytes */
	__u32 seen; /* what ends in front of it was found before */
	__s32 gone; /* what begins in front of it has left in part; it may lie before the window */
	__u32 no_hpack; /* no HTTP/2 is spoken there, so no headers are packed */
	__u32 pad;
	__u8 bytes[WINDOW];
	__u8 slack[264]; /* the scan looks at sixteen words at once */
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
	__u32 own;
	__u32 at;
	__u32 left;
	__u32 bad;
	/* Within the parameters of a service record: */
	__u32 hint; /* length of the addresses that stand at `param`, 0 if it is a parameter */
	__u32 hint_end;
	__u32 param;
	__u32 param_end;
};

/* Who asks a question. */
struct asker {
	__u32 pid;
	__u8 tcp; /* over a stream, which a denial ends */
	__u8 narrowed;
	__u8 pad[2];
	__u64 cookie; /* of the socket */
	struct mark mark;
	struct vec who;
	__u8 resolver[16];
};

/* What was asked below a parent. */
struct series {
	__u64 front; /* hash of what stood in front of it last */
	__u32 len;
	__u32 pad;
	__u8 tail[WINDOW_EDGE]; /* the last characters, at its end */
};

struct series_walk {
	__u64 parent; /* its hash */
	__u32 labels; /* in front of it, to come */
	__u32 label;  /* where this one begins */
	__u32 out;    /* characters so far */
	__u32 digits; /* this one has had, and only those */
	__u32 numbered;
	__u32 pad;
	struct series now;
};

/* What has left a socket in the open. */
struct payload {
	struct place place; /* of the peer; a stream that had to show itself has another */
	struct target target;
	struct hits pending; /* in a request whose head has not ended: its host may yet come */
	__u64 sent;          /* bytes so far */
	__u32 next;          /* TCP: sequence number behind them */
	__u32 held;          /* somebody reads or writes this */
	__u32 tail_len;
	__u32 pad;
	__u8 tail[WINDOW_EDGE]; /* the last bytes, at its end */
};

/* From a program's file up to the root. */
struct program_walk {
	struct dentry *dentry;
	struct mount *mount;
	struct mnt_namespace *space;
	__u64 inode;
	__u32 len;
	__u8 whole;    /* it leads to the root of the process's mount namespace */
	__u8 unlinked; /* the file has no name any more, or never had one */
	__u8 pad[2];
	struct program_key bare; /* the file's name alone */
	char path[2 * PROGRAM_MAX];
};

/* A part of a packet that is read. */
struct part_walk {
	__u32 at; /* offset in the packet */
	__u32 end;
};

struct message {
	__u32 len;
	__u32 name_len;
	__u32 last_dot; /* of the reversed name: its position plus one, 0 for none */
	/* What the policy holds for the name, beside its conditions: */
	__u32 own;
	__u32 budget;
	__u32 below;           /* bytes in front of the wildcard's own name */
	struct vec bits;       /* conditions that the name meets */
	struct vec lookup;     /* and those of them that a question meets */
	struct name_walk walk; /* of the name read last */
	struct record_walk records;
	__u8 bytes[MESSAGE_MAX];
	char name[NAME_MAX_TEXT]; /* as asked, upper case kept */
	struct name_key key;
};

/* Words of a text. */
struct word {
	__u64 hash;
	__u64 id; /* its first 16 digits */
	__u32 len;
	__u32 hex; /* nothing but digits */
};

struct word_walk {
	struct word words[3]; /* the last ones, the last of them first */
	__u64 whole;          /* hash of all */
	__u32 len;            /* of the text up to its end */
	__u32 is_name;        /* of a cgroup: other bytes stand between words */
	__u8 text[REQUEST_COPY];
};

struct scratch {
	__u32 busy;
	__u32 slot; /* its key */
	struct hits hits;
	struct place place;
	struct flow flow;
	struct window window;
	struct message message;
	struct asker asker;
	struct asked asked;
	struct part_walk part;
	struct program_walk program;
	struct vec who; /* to be judged, where no socket tells */
	struct series_walk series;
	struct payload payload;
	struct mark found;
	struct word_walk words;
	union {
		struct event_exec exec;
		struct event_question question;
		struct event_answer answer;
		struct event_stream stream;
		struct event_write write;
		struct event_plaintext plaintext;
		struct event_engine engine;
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

static __always_inline struct scratch *claim(void)
{
	for (__u32 i = 0; i < SCRATCH_SLOTS; i++) {
		__u32 slot = i;
		struct scratch *s = bpf_map_lookup_elem(&scratches, &slot);

		if (s && __sync_val_compare_and_swap(&s->busy, 0, 1) == 0) {
			s->slot = i;
			return s;
		}
	}
	lose(LOSS_SCRATCH);
	return 0;
}

/*
 * The memory that a global function was given, as what it is: to 6.1 a function's argument is
 * nothing that a map's key may be in. (A program stays on its CPU while it runs.)
 */
static __always_inline struct scratch *as_map_value(const struct scratch *s)
{
	__u32 slot = s->slot;

	return bpf_map_lookup_elem(&scratches, &slot);
}

static __always_inline void release(struct scratch *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

#endif
