/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * TLS connections as their libraries know them: an object in the memory of a process, made,
 * given the name of a host, and freed. Programs at these functions may sleep: a name may stand
 * in a page that was not read from its file yet.
 */
#ifndef LEAKSTOP_TLS_OBJECT_BPF_H
#define LEAKSTOP_TLS_OBJECT_BPF_H

#include "flows.bpf.h"
#include "socket.bpf.h"

/* <openssl/tls1.h>, <gnutls/gnutls.h> */
#define SSL_CTRL_SET_TLSEXT_HOSTNAME 55
#define GNUTLS_NAME_DNS              1

/* An address alone is used again: by a fork's other half, the next program, the next process. */
struct object_key {
	__u64 object;
	__u64 start; /* of the process */
	__u32 tgid;
	__u32 image; /* counts its exec calls */
};

struct tls_object {
	__u64 written; /* bytes so far */
	__u64 name_hash;
	__u64 told;     /* what was found last, so that it is told once */
	__u32 tail_len; /* bytes of the last write that are kept */
	__u16 name_len;
	__u8 known;    /* its first write was reported */
	__u8 no_http2; /* it was seen from its beginning, and no write began as those of HTTP/2 do */
	__u8 tail[WINDOW_EDGE]; /* ends with the last byte that was written */
	struct name_text name;
};

/* LRU: a forgotten one has no name any more, and what it writes begins anew. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct object_key);
	__type(value, struct tls_object);
} tls_objects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct tls_object);
} blank_objects SEC(".maps");

#define LEVELS_MAX 32 /* that the guarded cgroup may be deep */

/*
 * As is_guarded(), for programs that may sleep: those have no cgroup array. Ids of cgroups are
 * not used again.
 */
static __always_inline int is_guarded_task(void)
{
	for (int level = 0; level < LEVELS_MAX; level++) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(level);

		if (!id)
			return 0;
		if (id == cfg.cgroup)
			return 1;
	}
	return 0;
}

static __always_inline void identify(struct object_key *key, __u64 object)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *leader;
	__u64 image;

	*key = (struct object_key){ .object = object, .tgid = current_pid() };
	if (!READ_FIELD(leader, task, group_leader))
		READ_FIELD(key->start, leader, start_boottime);
	if (!READ_FIELD(image, task, self_exec_id))
		key->image = image;
}

/* The object, new if it was not known. */
static __always_inline struct tls_object *known_object(const struct object_key *key)
{
	struct tls_object *object = bpf_map_lookup_elem(&tls_objects, key);
	__u32 zero = 0;
	void *blank;

	if (object)
		return object;
	blank = bpf_map_lookup_elem(&blank_objects, &zero);
	if (blank)
		bpf_map_update_elem(&tls_objects, key, blank, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tls_objects, key);
}

/* As streams show names: the dot at the end does not count. */
__weak __noinline int take_name(struct tls_object *object, __u32 len)
{
	if (!object)
		return -1;
	if (len > NAME_LIMIT + 1)
		len = 0;
	if (len && object->name.text[(len - 1) & (NAME_MAX_TEXT - 1)] == '.')
		len--;
	object->name_len = len;
	if (!object->written)
		object->no_http2 = 1;
	object->name_hash = hash_name(&object->name, len);
	return 0;
}

/* The object is for the host whose name stands there, up to a NUL. */
static __always_inline int name_object(__u64 address, const char *name)
{
	struct object_key key;
	struct tls_object *object;
	long len;
	char byte;

	identify(&key, address);
	object = known_object(&key);
	if (!object)
		return 0;
	/* What is not in memory yet comes with a look at its ends; behind the text may be nothing. */
	bpf_copy_from_user(&byte, 1, name);
	bpf_copy_from_user(&byte, 1, name + NAME_LIMIT + 1);
	len = bpf_probe_read_user_str(object->name.text, sizeof(object->name.text), name);
	take_name(object, len > 0 ? len - 1 : 0);
	return 0;
}

SEC("uprobe.s")
int on_tls_ctrl(struct pt_regs *ctx)
{
	if ((__u32)C_2(ctx) != SSL_CTRL_SET_TLSEXT_HOSTNAME || !is_guarded_task())
		return 0;
	return name_object(C_1(ctx), (void *)C_4(ctx));
}

SEC("uprobe.s")
int on_tls_host(struct pt_regs *ctx)
{
	return is_guarded_task() ? name_object(C_1(ctx), (void *)C_2(ctx)) : 0;
}

/* Here the name has a length and need not end with NUL. */
SEC("uprobe.s")
int on_gnutls_host(struct pt_regs *ctx)
{
	__u64 len = C_4(ctx);
	struct object_key key;
	struct tls_object *object;

	if ((__u32)C_2(ctx) != GNUTLS_NAME_DNS || !is_guarded_task())
		return 0;
	identify(&key, C_1(ctx));
	object = known_object(&key);
	barrier_var(len);
	if (!object || len > NAME_LIMIT + 1)
		return 0;
	if (bpf_copy_from_user(object->name.text, len, (void *)C_3(ctx)))
		len = 0;
	take_name(object, len);
	return 0;
}

SEC("uprobe.s")
int on_tls_free(struct pt_regs *ctx)
{
	struct object_key key;

	if (!is_guarded_task())
		return 0;
	identify(&key, C_1(ctx));
	bpf_map_delete_elem(&tls_objects, &key);
	return 0;
}

#endif
