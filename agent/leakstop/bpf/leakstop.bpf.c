// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * The data plane: sees and decides every fork, exec, connect, send and DNS question of the
 * guarded cgroup by itself. User space fills the tables, explains and reports; when it dies,
 * these programs go on deciding.
 */
#include "lineage.bpf.h"
#include "egress.bpf.h"
#include "answer.bpf.h"
#include "options.bpf.h"
#include "older.bpf.h"
#include "bind.bpf.h"
#include "family.bpf.h"
#include "uplink.bpf.h"
#include "tls_write.bpf.h"
#include "tripwire.bpf.h"
#include "engine.bpf.h"

/* Keeps structs that only live on a stack in BTF, where the layout test finds them. */
struct btf_anchor {
	struct event_fork fork;
	struct event_exit exit;
	struct event_connect connect;
	struct event_stream stream;
	struct event_bind bind;
	struct event_write write;
	struct event_tls tls;
	struct event_plaintext plaintext;
	struct event_container container;
	struct event_engine engine;
	struct event_tamper tamper;
	struct owner owner;
} btf_anchor;

char _license[] SEC("license") = "Dual MIT/GPL";
