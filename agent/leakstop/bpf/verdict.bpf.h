/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The decision, in one place for every hook: a flow's conditions are the AND of what its
 * place and its port hold. leakstop.policy.match.decide is the reference for the rules,
 * leakstop.secrets.carriage.judge for the secrets.
 */
#ifndef LEAKSTOP_VERDICT_BPF_H
#define LEAKSTOP_VERDICT_BPF_H

#include "maps.bpf.h"

#define TCP    6
#define UDP    17
#define ICMP   1
#define ICMPV6 58

static __always_inline int meets(const struct vec *a, const volatile struct vec *b)
{
	return ((a->w[0] & b->w[0]) | (a->w[1] & b->w[1]) | (a->w[2] & b->w[2]) |
		(a->w[3] & b->w[3])) != 0;
}

/* From the configuration: read as volatile, or the compiler takes it for zeros. */
static __always_inline void copy_vec(struct vec *to, const volatile struct vec *from)
{
	for (int i = 0; i < 4; i++)
		to->w[i] = from->w[i];
}

static __always_inline int equals(const struct vec *a, const struct vec *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

static __always_inline void join(struct vec *into, const struct vec *from)
{
	into->w[0] |= from->w[0];
	into->w[1] |= from->w[1];
	into->w[2] |= from->w[2];
	into->w[3] |= from->w[3];
}

static __always_inline void restrict_to(struct vec *bits, const volatile struct vec *by)
{
	for (int i = 0; i < 4; i++)
		bits->w[i] = by ? bits->w[i] & by->w[i] : 0;
}

/* What one may not who is not meant; where no rule asks, nobody is told apart. */
static __always_inline void restrict_to_who(struct vec *bits, const struct vec *who)
{
	if (cfg.scoped)
		restrict_to(bits, who);
}

/* ICMPv6 answers to the rules for ICMP. */
static __always_inline __u8 rule_protocol(__u8 protocol)
{
	return protocol == ICMPV6 ? ICMP : protocol;
}

static __always_inline void restrict_to_port(struct vec *bits, __u8 protocol, __u16 port)
{
	struct port_key key = {
		.prefixlen = 24,
		.protocol = rule_protocol(protocol),
		.port = { port >> 8, port & 0xff },
	};

	restrict_to(bits, bpf_map_lookup_elem(&ports, &key));
}

/* `who`: what whoever wants to go there meets. */
static __always_inline void look_up_place(const struct target *target, const struct vec *who,
					  struct place *place)
{
	struct address_key key = { .prefixlen = 128 };
	struct network_node *node;
	struct learned *learned;

	__builtin_memset(place, 0, sizeof(*place));
	__builtin_memcpy(key.ip, target->ip, 16);
	node = bpf_map_lookup_elem(&networks, &key);
	if (node) {
		place->address = node->bits;
		place->local = node->local != 0;
		/* A node without conditions is there to stop a wider one (policy/closure.py). */
		place->known = meets(&node->bits, &node->bits);
	}
	if (!place->local && bpf_map_lookup_elem(&neighbours, &key))
		place->local = 1;
	/* What a name resolves to must not close a port of this machine (policy/match.py). */
	learned = place->local ? 0 : bpf_map_lookup_elem(&addresses, key.ip);
	if (learned) {
		place->known = 1;
		if (bpf_ktime_get_boot_ns() < learned->expires)
			place->names = learned->bits;
	}
	restrict_to_port(&place->address, target->protocol, target->port);
	restrict_to_port(&place->names, target->protocol, target->port);
	restrict_to_who(&place->address, who);
	restrict_to_who(&place->names, who);
}

/* An address that the whole world can route to: where a bare one needs explaining. */
static __always_inline int is_public(const __u8 ip[16])
{
	int v4 = ip[10] == 0xff && ip[11] == 0xff;

	for (int i = 0; i < 10; i++)
		if (ip[i])
			v4 = 0;
	if (!v4) /* unique local (RFC 4193), link-local and multicast are not */
		return (ip[0] & 0xfe) != 0xfc && ip[0] != 0xff &&
		       !(ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
	return !(ip[12] == 10 || ip[12] == 127 || ip[12] >= 224 ||
		 (ip[12] == 172 && (ip[13] & 0xf0) == 16) || (ip[12] == 192 && ip[13] == 168) ||
		 (ip[12] == 169 && ip[13] == 254) || (ip[12] == 100 && (ip[13] & 0xc0) == 64));
}

/* Places where no secret belongs, whoever it is (docs/secrets.md). */
struct exposure {
	__u8 bare;       /* public address that no name led to */
	__u8 plain_http; /* readable on the way */
	__u8 in_name;    /* the name itself carries the secret */
	__u8 sink;       /* anyone can store data there */
};

/* What becomes of one secret. Global, else each round of the loop below doubles the states. */
__weak __noinline int judge_secret(__u32 index, const struct vec *bits,
				   const struct exposure *exposure)
{
	struct secret *secret = bpf_map_lookup_elem(&secrets, &index);

	if (!secret || !bits || !exposure)
		return CARRIAGE_KILL;
	if (!exposure->in_name && meets(bits, &secret->home))
		return CARRIAGE_NONE;
	if (secret->placed || exposure->bare || exposure->plain_http || exposure->in_name ||
	    exposure->sink)
		return CARRIAGE_KILL;
	if (meets(bits, &cfg.allow) && (secret->guessed || !cfg.block))
		return CARRIAGE_NOTE;
	return cfg.block ? CARRIAGE_KILL : CARRIAGE_WARN;
}

/* The worst that becomes of secrets on their way to a place that meets `bits`. */
__weak __noinline int judge_secrets(const struct hits *hits, const struct vec *bits,
				    const struct exposure *exposure)
{
	int worst = CARRIAGE_NONE;

	if (!hits || !bits || !exposure)
		return CARRIAGE_KILL;
	for (__u32 i = 0; i < HITS_MAX; i++) {
		int one;

		if (i >= hits->count)
			break;
		one = judge_secret(hits->secret[i], bits, exposure);
		if (one > worst)
			worst = one;
	}
	return worst == CARRIAGE_KILL && !cfg.leak_kill ? CARRIAGE_FAIL : worst;
}

/* What the rules and the mode say of conditions that hold, and of those that are claimed to. */
static __always_inline struct judgement judge_rules(const struct vec *held,
						    const struct vec *claimed, __u8 local)
{
	struct judgement j = {};

	if (meets(claimed, &cfg.deny)) {
		j.policy = j.applied = ACTION_DENY;
		j.reason = REASON_DENY_RULE;
	} else if (local) {
		j.reason = REASON_LOCAL;
	} else if (meets(held, &cfg.allow)) {
		j.reason = REASON_ALLOW_RULE;
	} else {
		j.policy = ACTION_DENY;
		j.applied = cfg.block ? ACTION_DENY : ACTION_ALLOW;
		j.reason = REASON_NOT_NAMED;
	}
	return j;
}

/* A secret on its way to a wrong place is refused whatever the rules say. */
static __always_inline void apply_carriage(struct judgement *j, __u8 carriage)
{
	j->carriage = carriage;
	if (carriage == CARRIAGE_KILL) {
		j->applied = ACTION_DENY;
		j->reason = REASON_LEAK;
	}
}

static __always_inline struct judgement unjudgeable(__u8 reason)
{
	struct judgement j = {
		.policy = ACTION_DENY,
		.applied = cfg.block ? ACTION_DENY : ACTION_ALLOW,
		.reason = reason,
	};
	return j;
}

/* Conditions that hold whatever is spoken: of rules for the address, or that ask for no name. */
static __always_inline void trust(const struct place *place, struct vec *trusted)
{
	*trusted = place->address;
	for (int i = 0; i < 4; i++)
		trusted->w[i] |= place->names.w[i] &
				 ~(cfg.accepts[STREAM_TLS].w[i] | cfg.accepts[STREAM_HTTP].w[i]);
}

/*
 * Tables.held() of policy/tables.py: whoever has shown a name is held to it. Global, for its
 * frame: 6.1 rounds each up to 32 bytes.
 */
__weak __noinline int weigh(struct place *place)
{
	if (!place)
		return -1;
	place->claimed = place->address;
	join(&place->claimed, &place->names);
	place->held = place->claimed;
	if (place->stream != STREAM_UNSEEN) {
		__u32 kind = place->stream < STREAM_KINDS ? place->stream : STREAM_HIDDEN;
		struct vec fits = place->names;

		restrict_to(&fits, &cfg.accepts[kind]);
		restrict_to(&fits, place->named ? &place->shown : &cfg.accepts[STREAM_OTHER]);
		trust(place, &place->held);
		join(&place->held, &fits);
		join(&place->claimed, &place->shown);
	}
	return 0;
}

/* Named, and so is the name that it shows: but it is not what the rules ask for. */
static __always_inline int is_disguised(const struct place *place)
{
	if (place->stream == STREAM_UNSEEN ||
	    !(meets(&place->address, &cfg.allow) || meets(&place->names, &cfg.allow)))
		return 0;
	return !place->named || place->stream == STREAM_HIDDEN || meets(&place->shown, &cfg.allow);
}

/* The whole judgement of a place, for a process with or without secrets. */
__weak __noinline int judge_place(struct place *place, const struct target *target,
				  const struct mark *mark, struct judgement *judgement)
{
	if (!place || !target || !judgement)
		return -1;
	weigh(place);
	*judgement = judge_rules(&place->held, &place->claimed, place->local);
	if (judgement->reason == REASON_NOT_NAMED && is_disguised(place))
		judgement->reason = REASON_IDENTITY;
	if (mark && mark->hits.count && !place->local) {
		struct exposure exposure = {
			.bare = !place->known && is_public(target->ip),
			.plain_http = target->protocol == TCP && target->port == 80,
			.sink = meets(&place->claimed, &cfg.sink),
		};

		apply_carriage(judgement, judge_secrets(&mark->hits, &place->held, &exposure));
	}
	return 0;
}

/*
 * The same of an address and a port. A global function: the hooks share its verification,
 * which is most of the time to load.
 */
__weak __noinline int judge(const struct target *target, const struct mark *mark,
			    const struct vec *who, struct place *place, struct judgement *judgement)
{
	if (!target || !place || !judgement)
		return -1;
	look_up_place(target, who, place);
	return judge_place(place, target, mark, judgement);
}

#endif
