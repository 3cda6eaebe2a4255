// SPDX-License-Identifier: GPL-2.0
/*
 * The module's parameters, and how copies follow them. They may change while copies run: each copy reads each
 * parameter once.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include "internal.h"

static int primitive_temporal = FOLIOCOPY_BY_POLICY;
static int primitive_nontemporal = FOLIOCOPY_BY_POLICY;

/* 32 MiB between two yields, as clear_pages() of Linux 7.3: about 3 ms at 10 GB/s. */
static unsigned long chunk_bytes = SZ_32M;

static bool sampling;

enum nodes_mode {
	NODES_AUTO,	/* nodes without CPUs: the copy is a demotion */
	NODES_LISTED,
};

static enum nodes_mode nontemporal_mode = NODES_AUTO;
static nodemask_t nontemporal_nodes = NODE_MASK_NONE;

/* The length of a parameter's text without the newline that echo adds. */
static size_t trimmed(const char *value)
{
	size_t length = strlen(value);

	while (length && (value[length - 1] == '\n' || value[length - 1] == ' '))
		length--;
	return length;
}

static int primitive_set(const char *value, const struct kernel_param *param)
{
	size_t length = trimmed(value);
	int primitive;

	/* Parameters on the command line come before the module's init. */
	foliocopy_cpu_init();
	if (length == 4 && !strncmp(value, "auto", 4)) {
		WRITE_ONCE(*(int *)param->arg, FOLIOCOPY_BY_POLICY);
		return 0;
	}
	primitive = foliocopy_engine_primitive(value, length);
	if (primitive < 0) {
		struct foliocopy_text name;
		char names[160] = "auto";
		u32 i;

		for (i = 0; (name = foliocopy_engine_primitive_name(i)).bytes; i++) {
			if (!foliocopy_engine_primitive_available(i))
				continue;
			snprintf(names + strlen(names), sizeof(names) - strlen(names), ", %.*s", FOLIOCOPY_TEXT(name));
		}
		pr_err("%s: no primitive `%.*s`; this CPU has %s\n", param->name, (int)min_t(size_t, length, 32), value,
		       names);
		return -EINVAL;
	}
	if (!foliocopy_engine_primitive_available(primitive)) {
		pr_err("%s: `%.*s` needs what this CPU lacks, or vector registers, which a kernel leaves to processes\n",
		       param->name, (int)length, value);
		return -EINVAL;
	}
	WRITE_ONCE(*(int *)param->arg, primitive);
	return 0;
}

static int primitive_get(char *buffer, const struct kernel_param *param)
{
	int primitive = READ_ONCE(*(int *)param->arg);

	if (primitive == FOLIOCOPY_BY_POLICY)
		return sysfs_emit(buffer, "auto\n");
	return sysfs_emit(buffer, "%.*s\n", FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(primitive)));
}

static const struct kernel_param_ops primitive_ops = { .set = primitive_set, .get = primitive_get };

module_param_cb(primitive_temporal, &primitive_ops, &primitive_temporal, 0644);
MODULE_PARM_DESC(primitive_temporal, "The primitive of copies through the cache, or auto (default)");

module_param_cb(primitive_nontemporal, &primitive_ops, &primitive_nontemporal, 0644);
MODULE_PARM_DESC(primitive_nontemporal, "The primitive of copies past the cache, or auto (default)");

/*
 * Only at load, since a copy reads its table without a lock. `foliocopy tune --emit kernel` prints such tables, with the
 * loop and the prefetch distance for each length.
 */
static int table_set(const char *value, const struct kernel_param *param)
{
	size_t length = trimmed(value);
	struct foliocopy_refusal refusal;

	/* Parameters on the command line come before the module's init. */
	foliocopy_cpu_init();
	if (length == 4 && !strncmp(value, "auto", 4))
		return 0;
	if (!foliocopy_engine_set_table((uintptr_t)param->arg, value, length, &refusal)) {
		pr_err("%s: `%.*s`, band %zu: %.*s\n", param->name, (int)min_t(size_t, length, 128), value, refusal.band + 1,
		       FOLIOCOPY_TEXT(refusal.reason));
		return -EINVAL;
	}
	return 0;
}

/* The table in force, as table_set() takes it. */
static int table_get(char *buffer, const struct kernel_param *param)
{
	struct foliocopy_band band;
	int length = 0;
	size_t i;

	for (i = 0; foliocopy_engine_band(FOLIOCOPY_BY_POLICY, (uintptr_t)param->arg, i, &band); i++) {
		if (i)
			length += sysfs_emit_at(buffer, length, ",");
		if (band.up_to != SIZE_MAX)
			length += sysfs_emit_at(buffer, length, "%zuK:", band.up_to / SZ_1K);
		if (band.kind.bytes)
			length += sysfs_emit_at(buffer, length, "%.*s:%.*s:", FOLIOCOPY_TEXT(band.kind),
						FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(band.one)));
		length += sysfs_emit_at(buffer, length, "%.*s",
					FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(band.other)));
		if (band.distance)
			length += sysfs_emit_at(buffer, length, "@%u", band.distance);
	}
	return length + sysfs_emit_at(buffer, length, "\n");
}

static const struct kernel_param_ops table_ops = { .set = table_set, .get = table_get };

module_param_cb(table_temporal, &table_ops, (void *)FOLIOCOPY_TEMPORAL, 0444);
MODULE_PARM_DESC(table_temporal, "Table of copies through the cache, by length: LENGTH:STEP,...,STEP, or auto (default)");

module_param_cb(table_nontemporal, &table_ops, (void *)FOLIOCOPY_NON_TEMPORAL, 0444);
MODULE_PARM_DESC(table_nontemporal, "Table of copies past the cache, by length, or auto (default)");

module_param_cb(table_sampling, &table_ops, (void *)FOLIOCOPY_AUTO, 0444);
MODULE_PARM_DESC(table_sampling, "Table of lengths that glance at the source where sampling is on, or auto (default)");

static int chunk_set(const char *value, const struct kernel_param *param)
{
	unsigned long bytes;
	int error = kstrtoul(value, 0, &bytes);

	if (error || bytes < PAGE_SIZE || bytes % PAGE_SIZE) {
		pr_err("%s: `%.*s` is not a positive multiple of %lu bytes\n", param->name,
		       (int)min_t(size_t, trimmed(value), 32), value, PAGE_SIZE);
		return -EINVAL;
	}
	WRITE_ONCE(chunk_bytes, bytes);
	return 0;
}

static const struct kernel_param_ops chunk_ops = { .set = chunk_set, .get = param_get_ulong };

module_param_cb(chunk_bytes, &chunk_ops, &chunk_bytes, 0644);
MODULE_PARM_DESC(chunk_bytes, "Bytes between two yields where the kernel does not preempt by itself (default 32 MiB)");

static int nodes_set(const char *value, const struct kernel_param *param)
{
	nodemask_t nodes = NODE_MASK_NONE;
	char list[256];
	size_t length = trimmed(value);
	int nid;

	if (length == 4 && !strncmp(value, "auto", 4)) {
		WRITE_ONCE(nontemporal_mode, NODES_AUTO);
		return 0;
	}
	if (!(length == 4 && !strncmp(value, "none", 4))) {
		bool fits = length && length < sizeof(list);

		if (fits)
			strscpy(list, value, length + 1);
		if (!fits || nodelist_parse(list, nodes) || nodes_empty(nodes)) {
			pr_err("%s: `%.*s` is not auto, none or a list of nodes such as 0,2-3\n", param->name,
			       (int)min_t(size_t, length, 32), value);
			return -EINVAL;
		}
		for_each_node_mask(nid, nodes) {
			if (!node_online(nid)) {
				pr_err("%s: there is no node %d; online are %*pbl\n", param->name, nid,
				       nodemask_pr_args(&node_states[N_ONLINE]));
				return -EINVAL;
			}
		}
	}
	/* A copy that runs meanwhile may see a part of either list, and goes one way or the other. */
	nontemporal_nodes = nodes;
	WRITE_ONCE(nontemporal_mode, NODES_LISTED);
	return 0;
}

static int nodes_get(char *buffer, const struct kernel_param *param)
{
	if (READ_ONCE(nontemporal_mode) == NODES_AUTO)
		return sysfs_emit(buffer, "auto\n");
	if (nodes_empty(nontemporal_nodes))
		return sysfs_emit(buffer, "none\n");
	return sysfs_emit(buffer, "%*pbl\n", nodemask_pr_args(&nontemporal_nodes));
}

static const struct kernel_param_ops nodes_ops = { .set = nodes_set, .get = nodes_get };

module_param_cb(nontemporal_nodes, &nodes_ops, NULL, 0644);
MODULE_PARM_DESC(nontemporal_nodes,
		 "Nodes to which copies go past the cache: auto (default; nodes without CPUs), none, or a list");

module_param(sampling, bool, 0644);
MODULE_PARM_DESC(sampling, "Glance at the source, whether it is cached, where the node does not decide (default off)");

static enum foliocopy_locality locality(int dst_nid)
{
	bool past_the_cache;

	/* Read live: nodes are hot-plugged, and CPUs come and go. */
	if (READ_ONCE(nontemporal_mode) == NODES_AUTO)
		past_the_cache = !node_state(dst_nid, N_CPU);
	else
		past_the_cache = node_isset(dst_nid, nontemporal_nodes);
	if (past_the_cache)
		return FOLIOCOPY_NON_TEMPORAL;
	return READ_ONCE(sampling) ? FOLIOCOPY_AUTO : FOLIOCOPY_TEMPORAL;
}

/* How a copy to that node is made now. */
struct foliocopy_method foliocopy_method_for(int dst_nid)
{
	return (struct foliocopy_method) {
		.locality = locality(dst_nid),
		.temporal = READ_ONCE(primitive_temporal),
		.non_temporal = READ_ONCE(primitive_nontemporal),
		.chunk_bytes = preempt_model_preemptible() ? SIZE_MAX : READ_ONCE(chunk_bytes),
	};
}

struct table {
	const char *locality;
	s32 primitive;
	enum foliocopy_locality wanted;
};

/* Fills in the table at that index, with the primitives that the parameters name now; false past the last. */
static bool table_at(size_t index, struct table *table)
{
	const struct table tables[] = {
		{ "temporal", READ_ONCE(primitive_temporal), FOLIOCOPY_TEMPORAL },
		{ "non_temporal", READ_ONCE(primitive_nontemporal), FOLIOCOPY_NON_TEMPORAL },
		{ "sampling", FOLIOCOPY_BY_POLICY, FOLIOCOPY_AUTO },
	};

	if (index >= ARRAY_SIZE(tables))
		return false;
	*table = tables[index];
	return true;
}

/* Describes one band: "up to 61440 bytes: movnti, prefetching 1024 bytes ahead (measured on such a CPU)". */
static void band_text(const struct foliocopy_band *band, char *text, size_t size)
{
	char limit[48] = "any length", ahead[48] = "";

	if (band->up_to != SIZE_MAX)
		snprintf(limit, sizeof(limit), "up to %zu bytes", band->up_to);
	if (band->distance)
		snprintf(ahead, sizeof(ahead), ", prefetching %u bytes ahead", band->distance);
	if (!band->kind.bytes)
		snprintf(text, size, "%s: %.*s%s (%.*s)", limit,
			 FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(band->one)), ahead,
			 FOLIOCOPY_TEXT(band->source));
	else
		snprintf(text, size, "%s: %.*s: %.*s or %.*s%s (%.*s)", limit, FOLIOCOPY_TEXT(band->kind),
			 FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(band->one)),
			 FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(band->other)), ahead,
			 FOLIOCOPY_TEXT(band->source));
}

/* Writes how folios are copied, to the log or to a file. */
static void policy_tell(struct seq_file *file)
{
	struct foliocopy_band band;
	struct table table;
	char text[192];
	size_t i, j;

	for (i = 0; table_at(i, &table); i++) {
		for (j = 0; foliocopy_engine_band(table.primitive, table.wanted, j, &band); j++) {
			band_text(&band, text, sizeof(text));
			if (file)
				seq_printf(file, "%s, %s\n", table.locality, text);
			else
				pr_info("%s copies, %s\n", table.locality, text);
		}
	}
}

/* Writes to the log how folios will be copied, and why. */
void foliocopy_parameters_explain(void)
{
	policy_tell(NULL);
}

static int policy_show(struct seq_file *file, void *unused)
{
	policy_tell(file);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(policy);

void foliocopy_parameters_init(struct dentry *debugfs)
{
	debugfs_create_file("policy", 0400, debugfs, NULL, &policy_fops);
}
