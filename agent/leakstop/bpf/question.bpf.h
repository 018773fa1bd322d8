/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Questions: those to the trusted resolver are judged by the name in them; those to any other
 * server by its address, but for a secret in the name.
 */
#ifndef LEAKSTOP_QUESTION_BPF_H
#define LEAKSTOP_QUESTION_BPF_H

#include "dns_message.bpf.h"
#include "packet.bpf.h"

struct asker {
	__u32 pid;
	__u32 pad;
	__u64 cookie;
	struct mark mark;
	__u8 resolver[16];
};

static __always_inline void report_question(struct scratch *s, const struct asker *asker,
					    struct judgement j, __u16 qtype, __u8 in_name)
{
	struct event_question *event = &s->question;
	const struct hits *hits = in_name ? &s->hits : &asker->mark.hits;
	__u32 len = s->message.name_len;

	event->head.kind = EVENT_QUESTION;
	event->head.pid = asker->pid;
	event->head.ts = bpf_ktime_get_boot_ns();
	event->head.start = asker->mark.start;
	__builtin_memcpy(event->resolver, asker->resolver, 16);
	event->judged = j;
	event->qtype = qtype;
	event->killed = kill_owner(&j, asker->pid);
	event->in_name = in_name;
	event->hit_count = hits->count;
	event->pad = 0;
	event->name_len = len;
	for (int i = 0; i < HITS_MAX; i++)
		event->hits[i] = hits->needle[i];
	__builtin_memcpy(event->name, s->message.name, sizeof(event->name));
	emit(event, offsetof(struct event_question, name) + (len & (NAME_MAX_TEXT - 1)));
}

/*
 * One plain question and nothing in front of it: anything else cannot be judged. Its name is
 * kept where there is one, to look for secrets in.
 */
static __always_inline int is_question(struct __sk_buff *skb, const struct packet *p,
				       struct message *m)
{
	m->name_len = 0;
	/* Segmentation offload packs many questions into one packet. */
	return !skb->gso_size && !read_message(skb, p, m) && !read_name(m, HEADER_LEN, 1) &&
	       !m->walk.odd && m->walk.end + 4 <= m->len && !(m->bytes[2] & 0xf8) &&
	       be16_at(m, 4) == 1 && be16_at(m, 6) == 0 && be16_at(m, 8) == 0;
}

/* Whether a secret stands in the name, or anywhere in a message that is no plain question. */
static __always_inline int find_secrets(struct __sk_buff *skb, const struct packet *p,
					struct scratch *s, int readable)
{
	s->hits.count = 0;
	if (!cfg.needles)
		return 0;
	if (s->message.name_len)
		scan_name(&s->message, &s->window, &s->hits);
	if (!readable && !s->hits.count && !read_window(skb, p, &s->window))
		scan_window(&s->window, &s->hits);
	return s->hits.count != 0;
}

static __always_inline void expect_answer(struct scratch *s, const struct asker *asker, __u16 qtype,
					  const struct vec *bits)
{
	struct asked_key key = {
		.cookie = asker->cookie,
		.id = be16_at(&s->message, 0),
		.qtype = qtype,
	};
	struct asked asked = { .name_hash = s->message.walk.hash, .bits = *bits };

	bpf_map_update_elem(&asked_questions, &key, &asked, BPF_ANY);
}

static __always_inline struct judgement judge_question(struct scratch *s, struct __sk_buff *skb,
						       const struct packet *p,
						       const struct asker *asker)
{
	int readable = is_question(skb, p, &s->message);
	struct judgement j = unjudgeable(REASON_UNPARSABLE);
	struct exposure exposure = { .bare = !readable };
	struct vec bits = {}, lookup = {};
	__u16 qtype = 0;

	if (readable) {
		qtype = be16_at(&s->message, s->message.walk.end);
		look_up_name(&s->message, &bits);
		lookup = bits;
		restrict_to_port(&lookup, PROTO_DNS, 0);
		j = judge_rules(&lookup, 0);
	}
	exposure.in_name = find_secrets(skb, p, s, readable);
	if (exposure.in_name)
		apply_carriage(&j, judge_secrets(&s->hits, &lookup, &exposure));
	else if (asker->mark.hits.count)
		apply_carriage(&j, judge_secrets(&asker->mark.hits, &lookup, &exposure));
	if (readable && j.applied == ACTION_ALLOW)
		expect_answer(s, asker, qtype, &bits);
	report_question(s, asker, j, qtype, exposure.in_name);
	return j;
}

static __always_inline int on_question(struct __sk_buff *skb, const struct packet *p,
				       const struct sock_note *note)
{
	struct asker asker = { .cookie = bpf_get_socket_cookie(skb) };
	struct scratch *s = claim();
	struct judgement j;

	if (!s)
		return cfg.block ? REFUSE : PASS;
	if (note) {
		asker.pid = note->pid;
		asker.mark = note->mark;
	}
	__builtin_memcpy(asker.resolver, p->target, 16);
	j = judge_question(s, skb, p, &asker);
	release(s);
	return j.applied == ACTION_ALLOW ? PASS : REFUSE;
}

/* Whether a question to somebody else's server carries a secret: then it is refused here. */
static __always_inline int carries_secret(struct __sk_buff *skb, const struct packet *p,
					  const struct sock_note *note)
{
	struct asker asker = { .pid = note ? note->pid : 0 };
	struct exposure exposure = { .in_name = 1 };
	struct judgement j = unjudgeable(REASON_NOT_NAMED);
	struct vec none = {};
	struct scratch *s = claim();

	if (!s)
		return cfg.block;
	__builtin_memcpy(asker.resolver, p->target, 16);
	if (find_secrets(skb, p, s, is_question(skb, p, &s->message))) {
		apply_carriage(&j, judge_secrets(&s->hits, &none, &exposure));
		report_question(s, &asker, j, 0, 1);
	}
	release(s);
	return j.carriage == CARRIAGE_KILL;
}

#endif
