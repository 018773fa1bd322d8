/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A map with one entry, through which a test hands in arguments and reads results. */
#ifndef LEAKSTOP_TESTS_ONE_H
#define LEAKSTOP_TESTS_ONE_H

#define ONE(kind, name)                                                                            \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, struct kind);                                                        \
	} name SEC(".maps")

#endif
