/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Declarations that the files of the module share.
 */
#ifndef FOLIOCOPY_INTERNAL_H
#define FOLIOCOPY_INTERNAL_H

#include <linux/dcache.h>
#include <linux/mm.h>
#include <linux/types.h>
#include "engine.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/* At least the number of the engine's primitives. */
#define FOLIOCOPY_PRIMITIVES	16

/* The arguments of printk's %.*s. */
#define FOLIOCOPY_TEXT(text)	(int)(text).bytes, (text).start

/* cpu.c */
void foliocopy_cpu_init(void);

/* parameters.c */
struct foliocopy_method foliocopy_method_for(int dst_nid);
void foliocopy_parameters_explain(void);
void foliocopy_parameters_init(struct dentry *debugfs);

/* counters.c */
enum foliocopy_path {
	FOLIOCOPY_PLAIN,
	FOLIOCOPY_MACHINE_CHECK_SAFE,
	FOLIOCOPY_PATHS,
};

void foliocopy_counters_init(struct dentry *debugfs);
void foliocopy_count_copy(enum foliocopy_path path, u32 primitive, u64 nr_pages);
void foliocopy_count_error(unsigned long pfn);

/* selftest.c, benchmark.c */
void foliocopy_selftest_init(struct dentry *debugfs);
void foliocopy_benchmark_init(struct dentry *debugfs);

#endif
