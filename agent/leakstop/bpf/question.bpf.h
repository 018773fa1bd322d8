/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Questions: those to the trusted resolver are judged by the name in them; those to any other
 * server by its address, but for a secret in the name.
 */
#ifndef LEAKSTOP_QUESTION_BPF_H
#define LEAKSTOP_QUESTION_BPF_H

#include "dns_message.bpf.h"
#include "refusal.bpf.h"
#include "series.bpf.h"

#define EEXIST 17

/* Record types that ordinary clients ask for (docs/policy.md). Bit n of the word is type n. */
#define TYPE_BIT(type) (1ULL << (type))
#define COMMON_TYPES                                                                               \
	(TYPE_BIT(TYPE_A) | TYPE_BIT(2 /* NS */) | TYPE_BIT(TYPE_CNAME) | TYPE_BIT(6 /* SOA */) |  \
	 TYPE_BIT(12 /* PTR */) | TYPE_BIT(15 /* MX */) | TYPE_BIT(16 /* TXT */) |                 \
	 TYPE_BIT(TYPE_AAAA) | TYPE_BIT(33 /* SRV */) | TYPE_BIT(35 /* NAPTR */) |                 \
	 TYPE_BIT(39 /* DNAME */) | TYPE_BIT(43 /* DS */) | TYPE_BIT(44 /* SSHFP */) |             \
	 TYPE_BIT(46 /* RRSIG */) | TYPE_BIT(47 /* NSEC */) | TYPE_BIT(48 /* DNSKEY */) |          \
	 TYPE_BIT(50 /* NSEC3 */) | TYPE_BIT(51 /* NSEC3PARAM */) | TYPE_BIT(52 /* TLSA */))
#define TYPE_URI 256
#define TYPE_CAA 257

/* As is_untold(), for a name that was asked. */
static __always_inline int is_untold_question(const struct scratch *s)
{
	struct target target = { .port = DNS_PORT, .protocol = UDP };

	__builtin_memcpy(target.ip, s->asker.resolver, 16);
	return is_untold(&target, s->message.walk.hash);
}

static __always_inline void report_question(struct scratch *s, struct judgement j, __u16 qtype,
					    __u8 in_name)
{
	const struct asker *asker = &s->asker;
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
	event->begun = in_name && hits->begun;
	event->name_len = len;
	event->narrowed = asker->narrowed;
	event->cookie = asker->tcp && j.applied == ACTION_DENY ? asker->cookie : 0;
	for (int i = 0; i < HITS_MAX; i++)
		event->hits[i] = hits->needle[i];
	__builtin_memcpy(event->name, s->message.name, sizeof(event->name));
	emit(event, offsetof(struct event_question, name) + (len & (NAME_MAX_TEXT - 1)));
	if (j.policy == ACTION_DENY)
		is_untold_question(s);
}

/* Whether nothing stands behind the question but EDNS (RFC 6891), once. */
static __always_inline int ends_plainly(const struct message *m, __u32 at)
{
	__u32 additional = be16_at(m, 10);

	if (!additional)
		return at == m->len;
	return additional == 1 && at + 11 <= m->len && !m->bytes[at & (MESSAGE_MAX - 1)] &&
	       be16_at(m, at + 1) == TYPE_OPT && at + 11 + be16_at(m, at + 9) == m->len;
}

/*
 * One plain question and nothing else: anything else cannot be judged. Its name is kept where
 * there is one, to look for secrets in.
 */
static __always_inline int is_question(struct __sk_buff *skb, const struct packet *p,
				       struct message *m)
{
	m->name_len = 0;
	/* Segmentation offload packs many questions into one packet. */
	if ((p->protocol == UDP && skb->gso_size) || read_message(skb, p, m) || m->len != p->len)
		return 0;
	/* Of the flags only "recursion desired" in the first byte, and no error in the second. */
	if (read_name(m, HEADER_LEN, 1) || m->walk.odd || m->bytes[2] & 0xfe || m->bytes[3] & 0x0f)
		return 0;
	return m->walk.end + 4 <= m->len && be16_at(m, m->walk.end + 2) == CLASS_IN &&
	       be16_at(m, 4) == 1 && be16_at(m, 6) == 0 && be16_at(m, 8) == 0 &&
	       ends_plainly(m, m->walk.end + 4);
}

static __always_inline int is_common(__u16 qtype)
{
	if (qtype < 64)
		return (COMMON_TYPES >> qtype & 1) != 0;
	return qtype == TYPE_SVCB || qtype == TYPE_HTTPS || qtype == TYPE_URI || qtype == TYPE_CAA;
}

/* Whether a secret stands in the name, or anywhere in a message that is no plain question. */
static __always_inline int find_secrets(struct __sk_buff *skb, const struct packet *p,
					struct scratch *s, int readable)
{
	s->hits.count = 0;
	if (!cfg.scans)
		return 0;
	if (s->message.name_len) {
		scan_name(&s->message, &s->window, &s->hits);
		if (!s->hits.count)
			scan_series(s);
	}
	if (!readable && !s->hits.count && !read_window(skb, p, &s->window))
		scan_window(&s->window, &s->hits);
	return s->hits.count != 0;
}

/*
 * Whether the wildcard that alone allows this name has room for one more. A name counts once,
 * found or not, and whatever is asked about it.
 */
static __always_inline int pay_for_name(const struct message *m)
{
	__u32 index = m->budget - 1;
	struct budget *limit, *used;
	__u8 one = 1;
	long error = -1;

	if (!m->budget || bpf_map_lookup_elem(&paid_names, &m->key))
		return 1;
	limit = bpf_map_lookup_elem(&budgets, &index);
	used = bpf_map_lookup_elem(&spent, &index);
	if (!limit || !used)
		return 0;
	/* Taken first and given back: another CPU may be about to take the last. */
	if (__sync_fetch_and_add(&used->names, 1) < limit->names) {
		if (__sync_fetch_and_add(&used->bytes, m->below) + m->below <= limit->bytes) {
			error = bpf_map_update_elem(&paid_names, &m->key, &one, BPF_NOEXIST);
			if (!error)
				return 1;
			if (error != -EEXIST)
				lose(LOSS_NAMES);
		}
		__sync_fetch_and_sub(&used->bytes, m->below);
	}
	__sync_fetch_and_sub(&used->names, 1);
	return error == -EEXIST;
}

/* Only types that bring addresses, so that no other answer teaches any. */
static __always_inline void expect_answer(struct scratch *s, __u16 qtype)
{
	struct message *m = &s->message;
	struct asked_key key = {
		.cookie = s->asker.cookie,
		.id = be16_at(m, 0),
		.qtype = qtype,
	};

	if (qtype != TYPE_A && qtype != TYPE_AAAA && qtype != TYPE_SVCB && qtype != TYPE_HTTPS)
		return;
	s->asked.name_hash = m->walk.hash;
	s->asked.bits = m->bits;
	s->asked.own = m->own;
	bpf_map_update_elem(&asked_questions, &key, &s->asked, BPF_ANY);
}

/* What the rules say of a plain question; what its answer teaches is for everybody. */
static __always_inline struct judgement judge_name(struct message *m, const struct vec *who,
						   __u16 qtype)
{
	struct judgement j;

	look_up_name(m, &m->bits);
	m->lookup = m->bits;
	restrict_to_port(&m->lookup, PROTO_DNS, 0);
	restrict_to_who(&m->lookup, who);
	j = judge_rules(&m->lookup, &m->lookup, 0);
	if (j.policy == ACTION_ALLOW && !is_common(qtype))
		return unjudgeable(REASON_PROTOCOL);
	if (j.policy == ACTION_ALLOW && !pay_for_name(m))
		return unjudgeable(REASON_BUDGET);
	return j;
}

static __always_inline void name_asker(struct asker *asker, struct __sk_buff *skb,
				       const struct packet *p, const struct sock_note *note)
{
	__builtin_memset(asker, 0, sizeof(*asker));
	asker->cookie = bpf_get_socket_cookie(skb);
	copy_vec(&asker->who, &cfg.nobody);
	if (note) {
		asker->pid = note->pid;
		asker->mark = note->mark;
		asker->narrowed = note->narrowed;
		copy_vec(&asker->who, note->relays ? &cfg.anyone : &note->who);
	}
	__builtin_memcpy(asker->resolver, p->target, 16);
	asker->tcp = p->protocol == TCP;
}

#define QUESTION_AGAIN   1 /* sent before, and told then */
#define QUESTION_NOWHERE 2 /* not where a message begins */

static __always_inline struct judgement judge_message(struct __sk_buff *skb, const struct packet *p,
						      __u32 how, struct scratch *s)
{
	int readable = !(how & QUESTION_NOWHERE) && is_question(skb, p, &s->message);
	struct judgement j = unjudgeable(REASON_UNPARSABLE);
	struct exposure exposure = { .bare = !readable };
	struct message *m = &s->message;
	__u16 qtype = 0;

	__builtin_memset(&m->lookup, 0, sizeof(m->lookup));
	if (readable) {
		qtype = be16_at(m, m->walk.end);
		j = judge_name(m, &s->asker.who, qtype);
		exposure.sink = meets(&m->lookup, &cfg.sink);
	} else if (how & QUESTION_NOWHERE) {
		m->name_len = 0;
	}
	exposure.in_name = find_secrets(skb, p, s, readable);
	if (exposure.in_name)
		apply_carriage(&j, judge_secrets(&s->hits, &m->lookup, &exposure));
	else if (s->asker.mark.hits.count)
		apply_carriage(&j, judge_secrets(&s->asker.mark.hits, &m->lookup, &exposure));
	if (readable && j.applied == ACTION_ALLOW)
		expect_answer(s, qtype);
	if (!(how & QUESTION_AGAIN) || j.applied == ACTION_DENY)
		report_question(s, j, qtype, exposure.in_name);
	return j;
}

enum question_fate { QUESTION_REFUSED, QUESTION_ALLOWED, QUESTION_ANSWERED };

/* Who is killed on its account, or did not ask a question, needs no answer. */
static __always_inline int fate_of(const struct judgement *j)
{
	if (j->applied == ACTION_ALLOW)
		return QUESTION_ALLOWED;
	return j->reason == REASON_UNPARSABLE || j->carriage == CARRIAGE_KILL ? QUESTION_REFUSED
									      : QUESTION_ANSWERED;
}

/*
 * What becomes of a message to the trusted resolver. Global, as the next one is: a program has
 * 512 bytes of stack with all that it calls.
 */
__weak __noinline int judge_question(struct __sk_buff *skb, const struct packet *p,
				     const struct sock_note *note, __u32 how)
{
	struct scratch *s = p ? claim() : 0;
	struct judgement j;

	if (!p || !s)
		return cfg.block ? QUESTION_REFUSED : QUESTION_ALLOWED;
	name_asker(&s->asker, skb, p, note);
	j = judge_message(skb, p, how, s);
	release(s);
	return fate_of(&j);
}

static __always_inline int on_question(struct __sk_buff *skb, const struct packet *p,
				       const struct sock_note *note)
{
	int fate = judge_question(skb, p, note, 0);

	return fate == QUESTION_ALLOWED ||
	       (fate == QUESTION_ANSWERED && note && mark_question(skb, note));
}

/* Whether a question to somebody else's server carries a secret: then it is refused here. */
__weak __noinline int carries_secret(struct __sk_buff *skb, const struct packet *p,
				     const struct sock_note *note)
{
	struct exposure exposure = { .in_name = 1 };
	struct judgement j = unjudgeable(REASON_NOT_NAMED);
	struct vec none = {};
	struct scratch *s = p ? claim() : 0;

	if (!p || !s)
		return cfg.block;
	name_asker(&s->asker, skb, p, note);
	if (find_secrets(skb, p, s, is_question(skb, p, &s->message))) {
		apply_carriage(&j, judge_secrets(&s->hits, &none, &exposure));
		report_question(s, j, 0, 1);
	}
	release(s);
	return j.carriage == CARRIAGE_KILL;
}

#endif
