// SPDX-License-Identifier: GPL-2.0
/*
 * Counts copies by path and primitive, and their errors: per CPU, summed when read.
 */
#include <linux/debugfs.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include "internal.h"

struct counters {
	u64 folios[FOLIOCOPY_PATHS][FOLIOCOPY_PRIMITIVES];
	u64 pages[FOLIOCOPY_PATHS][FOLIOCOPY_PRIMITIVES];
	u64 errors;
};

static DEFINE_PER_CPU(struct counters, counters);
static unsigned long last_bad_pfn;

void foliocopy_count_copy(enum foliocopy_path path, u32 primitive, u64 nr_pages)
{
	if (primitive >= FOLIOCOPY_PRIMITIVES)
		return;
	this_cpu_inc(counters.folios[path][primitive]);
	this_cpu_add(counters.pages[path][primitive], nr_pages);
}

void foliocopy_count_error(unsigned long pfn)
{
	this_cpu_inc(counters.errors);
	WRITE_ONCE(last_bad_pfn, pfn);
}

static int counters_show(struct seq_file *file, void *unused)
{
	static const char * const paths[] = { "plain", "machine-check-safe" };
	struct foliocopy_text name;
	u64 errors = 0;
	u32 path, i;
	int cpu;

	for_each_possible_cpu(cpu)
		errors += per_cpu(counters.errors, cpu);
	seq_printf(file, "errors %llu\n", errors);
	if (errors)
		seq_printf(file, "last_bad_pfn %#lx\n", READ_ONCE(last_bad_pfn));
	for (path = 0; path < FOLIOCOPY_PATHS; path++) {
		for (i = 0; i < FOLIOCOPY_PRIMITIVES; i++) {
			u64 folios = 0, pages = 0;

			name = foliocopy_engine_primitive_name(i);
			if (!foliocopy_engine_primitive_available(i))
				continue;
			for_each_possible_cpu(cpu) {
				folios += per_cpu(counters.folios[path][i], cpu);
				pages += per_cpu(counters.pages[path][i], cpu);
			}
			seq_printf(file, "%s %.*s folios %llu pages %llu bytes %llu\n", paths[path],
				   FOLIOCOPY_TEXT(name), folios, pages, pages << PAGE_SHIFT);
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

void foliocopy_counters_init(struct dentry *debugfs)
{
	debugfs_create_file("counters", 0400, debugfs, NULL, &counters_fops);
}
