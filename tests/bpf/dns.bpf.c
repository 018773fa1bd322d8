// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/* Runs the data plane's reading of questions and answers by BPF_PROG_TEST_RUN. */
#include "answer.bpf.h"
#include "one.h"

#define COOKIE 1

struct question_args {
	struct judgement judged;
	__u16 qtype;
	__u16 name_len;
	char name[NAME_MAX_TEXT];
};

struct answer_args {
	__u32 len;
	__u32 pad;
	struct event_answer event;
	__u8 bytes[MESSAGE_MAX];
};

ONE(question_args, question_io);
ONE(answer_args, answer_io);

/* A packet with a question, as it leaves. */
SEC("cgroup_skb/egress")
int ask(struct __sk_buff *skb)
{
	struct question_args *args = bpf_map_lookup_elem(&question_io, &(__u32){ 0 });
	struct packet p = {};
	struct scratch *s;

	if (!args || read_ip(skb, &p) || read_udp(skb, &p))
		return 0;
	s = claim();
	if (!s)
		return 0;
	name_asker(&s->asker, skb, &p, 0);
	args->judged = judge_message(skb, &p, 0, s);
	args->qtype = s->question.qtype;
	args->name_len = s->question.name_len;
	__builtin_memcpy(args->name, s->question.name, sizeof(args->name));
	release(s);
	return 1;
}

/* The message in the map as an answer to a question that the test noted under COOKIE. */
SEC("tc")
int hear(struct __sk_buff *skb)
{
	struct answer_args *args = bpf_map_lookup_elem(&answer_io, &(__u32){ 0 });
	struct scratch *s = claim();
	__u32 len;

	if (!s)
		return -1;
	if (args) {
		len = args->len;
		barrier_var(len);
		if (len > MESSAGE_MAX)
			len = MESSAGE_MAX;
		bpf_probe_read_kernel(s->message.bytes, len, args->bytes);
		s->message.len = len;
		s->answer.count = s->answer.refused = 0;
		learn_answer(s, COOKIE);
		args->event.count = s->answer.count;
		args->event.ttl = s->answer.ttl;
		args->event.refused = s->answer.refused;
		bpf_probe_read_kernel(args->event.address, sizeof(args->event.address),
				      s->answer.address);
	}
	release(s);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
