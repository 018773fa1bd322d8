// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * Runs the data plane's own headers by BPF_PROG_TEST_RUN, so that what the tests compare is
 * the code in use. Arguments and results are in the one entry of a map.
 */
#include "dns_message.bpf.h"
#include "program.bpf.h"
#include "verdict.bpf.h"
#include "one.h"

struct decide_args {
	struct target target;
	struct judgement judged;
	__u32 marked; /* the process carries the first secret */
	__u8 stream;  /* enum stream_kind */
	__u8 named;
	__u8 pad[6];
	struct vec shown;
	struct owner owner;
	char bare[PROGRAM_MAX]; /* of the program that the owner runs */
	char path[PROGRAM_MAX];
};

struct name_args {
	__u32 len;
	__u32 at;
	__u32 keep;
	__s32 result;
	__u32 end;
	__u32 name_len;
	__u64 hash;
	struct judgement judged;
	__u32 hits;
	struct vec who;
	__u8 bytes[512];
	char name[NAME_MAX_TEXT];
};

struct scan_args {
	struct window window;
	struct hits hits;
};

ONE(decide_args, decide_io);
ONE(name_args, name_io);
ONE(scan_args, scan_io);

#define PAGES 256 /* a MiB: a few would meet the filter at the same few places each time */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAGES);
	__type(key, __u32);
	__type(value, struct scan_args);
} scan_pages SEC(".maps");

/* As at exec, and then as at connect. */
static __always_inline void find_out(struct decide_args *args, struct vec *who)
{
	struct scratch *s = claim();

	if (!s)
		return;
	__builtin_memcpy(&s->program.bare, args->bare, sizeof(args->bare));
	__builtin_memcpy(s->program.path, args->path, sizeof(args->path));
	s->program.whole = args->path[0] != 0;
	own_program(&args->owner, &s->program);
	release(s);
	__builtin_memset(who, 0xff, sizeof(*who));
	narrow_to(who, &args->owner);
}

SEC("tc")
int find_who_of(struct __sk_buff *skb)
{
	struct decide_args *args = bpf_map_lookup_elem(&decide_io, &(__u32){ 0 });

	if (args)
		find_out(args, &args->shown);
	return 0;
}

SEC("tc")
int decide(struct __sk_buff *skb)
{
	struct decide_args *args = bpf_map_lookup_elem(&decide_io, &(__u32){ 0 });
	struct mark mark = {};
	struct place place;
	struct vec who = {};

	if (!args)
		return -1;
	find_out(args, &who);
	mark.hits.count = args->marked;
	look_up_place(&args->target, &who, &place);
	place.stream = args->stream;
	place.named = args->named;
	place.shown = args->shown;
	restrict_to_port(&place.shown, args->target.protocol, args->target.port);
	restrict_to_who(&place.shown, &who);
	return judge_place(&place, &args->target, &mark, &args->judged);
}

SEC("tc")
int read_question(struct __sk_buff *skb)
{
	struct name_args *args = bpf_map_lookup_elem(&name_io, &(__u32){ 0 });
	struct scratch *s = claim();
	struct vec bits = {};

	if (!s)
		return -1;
	if (args) {
		__builtin_memcpy(s->message.bytes, args->bytes, sizeof(args->bytes));
		s->message.len = args->len;
		s->message.name_len = 0;
		args->result = read_name(&s->message, args->at, args->keep);
		if (args->keep && s->message.walk.odd)
			args->result = -1;
		args->end = s->message.walk.end;
		args->hash = s->message.walk.hash;
		args->name_len = s->message.name_len;
		__builtin_memcpy(args->name, s->message.name, sizeof(args->name));
		if (!args->result && args->keep) {
			look_up_name(&s->message, &bits);
			restrict_to_port(&bits, PROTO_DNS, 0);
			restrict_to_who(&bits, &args->who);
			args->judged = judge_rules(&bits, &bits, 0);
			scan_name(&s->message, &s->window, &s->hits);
			args->hits = s->hits.count;
		}
	}
	release(s);
	return 0;
}

SEC("tc")
int scan_bytes(struct __sk_buff *skb)
{
	struct scan_args *args = bpf_map_lookup_elem(&scan_io, &(__u32){ 0 });

	return args ? scan_window(&args->window, &args->hits) : -1;
}

SEC("tc")
int scan_all(struct __sk_buff *skb)
{
	for (__u32 i = 0; i < PAGES; i++) {
		struct scan_args *args = bpf_map_lookup_elem(&scan_pages, &(__u32){ i });

		if (args)
			scan_window(&args->window, &args->hits);
	}
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
