/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which program a process becomes: the file that the kernel has opened to run it, an
 * interpreter for a script, whatever name it was called by. Its path is that in the mount
 * namespace of the process, and is read at exec, so that no other process can get in between.
 */
#ifndef LEAKSTOP_PROGRAM_BPF_H
#define LEAKSTOP_PROGRAM_BPF_H

#include "kernel.h"
#include "owner.bpf.h"
#include "scratch.bpf.h"
#include "verdict.bpf.h"
#include <bpf/bpf_core_read.h>

/* Names and mounts between a file and the root of all; half of PROGRAM_MAX has no room for more. */
#define STEPS_UP (PROGRAM_MAX / 2)

/* Puts a name behind those below it. Returns 0, or -1 if there is no room for it. */
static __always_inline int put_component(struct program_walk *walk, const struct dentry *dentry)
{
	const unsigned char *name;
	__u32 at = walk->len;
	long len;

	barrier_var(at);
	if (at >= PROGRAM_MAX || READ_FIELD(name, dentry, d_name.name))
		return -1;
	/* Room for one whole name stands behind the path. */
	len = bpf_probe_read_kernel_str(walk->path + at, PROGRAM_MAX, name);
	if (len < 2 || at + len >= PROGRAM_MAX)
		return -1;
	if (!at)
		__builtin_memcpy(&walk->bare, walk->path, sizeof(walk->bare));
	at += len - 1;
	barrier_var(at);
	if (at >= PROGRAM_MAX)
		return -1;
	walk->path[at] = '/';
	walk->len = at + 1;
	return 0;
}

/* One step up, ended by 1. */
static long climb(__u32 i, struct program_walk **walks)
{
	struct program_walk *walk = *walks;
	struct dentry *dentry = walk->dentry, *root, *up;
	struct mount *mount = walk->mount, *outer;
	struct mnt_namespace *space;

	if (READ_FIELD(root, mount, mnt.mnt_root) || READ_FIELD(outer, mount, mnt_parent) ||
	    READ_FIELD(up, dentry, d_parent))
		return 1;
	if (dentry != root) {
		walk->dentry = up;
		/* What is its own parent belongs to no tree: memfd_create(), a pipe. */
		return put_component(walk, dentry) || up == dentry;
	}
	if (outer == mount) {
		walk->whole = !READ_FIELD(space, mount, mnt_ns) && space == walk->space;
		return 1;
	}
	walk->mount = outer;
	return READ_FIELD(walk->dentry, mount, mnt_mountpoint) != 0;
}

/* Reads the path of a program's file; `walk` is claimed memory. */
static __always_inline void read_program(struct program_walk *walk, struct task_struct *task,
					 struct linux_binprm *bprm)
{
	struct nsproxy *spaces;
	struct vfsmount *mount;
	struct file *file;
	struct inode *inode;
	__u32 links = 0;

	__builtin_memset(walk, 0, sizeof(*walk));
	if (READ_FIELD(file, bprm, file) || READ_FIELD(inode, file, f_inode) ||
	    READ_FIELD(walk->inode, inode, i_ino) || READ_FIELD(links, inode, i_nlink) ||
	    READ_FIELD(walk->dentry, file, f_path.dentry) || READ_FIELD(mount, file, f_path.mnt) ||
	    READ_FIELD(spaces, task, nsproxy) || READ_FIELD(walk->space, spaces, mnt_ns))
		return;
	walk->unlinked = !links;
	walk->mount = (void *)mount - bpf_core_field_offset(struct mount, mnt);
	bpf_loop(STEPS_UP, climb, &walk, 0);
}

/* What one who runs this program meets because of it. */
static __always_inline void own_program(struct owner *owner, const struct program_walk *walk)
{
	struct vec *found;

	owner->inode = walk->inode;
	if (walk->unlinked || !walk->whole)
		return;
	copy_vec(&owner->program, &cfg.programless);
	found = bpf_map_lookup_elem(&programs, &walk->bare);
	if (found)
		join(&owner->program, found);
	found = bpf_map_lookup_elem(&programs, walk->path);
	if (found)
		join(&owner->program, found);
}

#endif
