/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A program that has just been started may have a TLS library inside, to which user space has
 * yet to attach. Until it has looked, the program gets no answer to its first hello, and so has
 * nothing to encrypt with: what is dropped once the peer sends again, some 200 ms later.
 */
#ifndef LEAKSTOP_IMAGE_BPF_H
#define LEAKSTOP_IMAGE_BPF_H

#include "kernel.h"
#include "maps.bpf.h"
#include "packet.bpf.h"
#include <bpf/bpf_core_read.h>

/* So long at most: user space may be gone, or unable to tell. */
#define HELD_NS    (500 * 1000000ULL)
#define IMAGES_MAX 16384

struct image {
	__u64 inode;
	__u64 since; /* boot clock, ns */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, IMAGES_MAX);
	__type(key, __u32); /* process */
	__type(value, struct image);
} images SEC(".maps");

struct looked_key {
	__u64 inode;
	__u32 pid;
	__u32 pad;
};

/*
 * Written by user space; the key of zeros says that it looks at all. That one goes when somebody
 * has waited in vain, and comes back with the next look: behind a dead agent only one waits.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, IMAGES_MAX);
	__type(key, struct looked_key);
	__type(value, __u8);
} looked SEC(".maps");

static __always_inline void note_image(__u32 pid, struct linux_binprm *bprm)
{
	struct image image = {
		.inode = BPF_CORE_READ(bprm, file, f_inode, i_ino),
		.since = bpf_ktime_get_boot_ns(),
	};

	bpf_map_update_elem(&images, &pid, &image, BPF_ANY);
}

/* Whether user space has yet to look at a program that has just been started. */
__weak __noinline int is_early(__u32 pid)
{
	struct looked_key key = {};
	struct image *image = bpf_map_lookup_elem(&images, &pid);

	if (!image)
		return 0;
	if (bpf_map_lookup_elem(&looked, &key)) {
		struct looked_key nobody = {};

		key.inode = image->inode;
		key.pid = pid;
		if (!bpf_map_lookup_elem(&looked, &key)) {
			if (bpf_ktime_get_boot_ns() - image->since < HELD_NS)
				return 1;
			bpf_map_delete_elem(&looked, &nobody);
		}
	}
	bpf_map_delete_elem(&images, &pid);
	return 0;
}

/* Whether what arrives for a socket is to wait. */
static __always_inline int is_too_early(struct sock_note *note, const struct packet *p)
{
	if (!note || !note->early || !p->len)
		return 0;
	if (is_early(note->pid))
		return 1;
	note->early = 0;
	return 0;
}

#endif
