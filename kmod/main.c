// SPDX-License-Identifier: GPL-2.0
/*
 * foliocopy: copies folios as fast as this machine's CPU allows, and stops cleanly at poisoned memory.
 */
#include <linux/build_bug.h>
#include <linux/debugfs.h>
#include <linux/module.h>
#include <asm/extable_fixup_types.h>
#include "internal.h"

static struct dentry *debugfs;

static int __init foliocopy_init(void)
{
	/* The type of the entries of extable.rs: #MC and #PF land, with the number of the trap in rax. */
	BUILD_BUG_ON(EX_TYPE_FAULT_MCE_SAFE != 15);

	foliocopy_cpu_init();
	foliocopy_parameters_explain();
	debugfs = debugfs_create_dir(KBUILD_MODNAME, NULL);
	foliocopy_parameters_init(debugfs);
	foliocopy_counters_init(debugfs);
	foliocopy_selftest_init(debugfs);
	foliocopy_benchmark_init(debugfs);
	return 0;
}
module_init(foliocopy_init);

static void __exit foliocopy_exit(void)
{
	debugfs_remove(debugfs);
}
module_exit(foliocopy_exit);

MODULE_DESCRIPTION("Copies folios as fast as the CPU allows, and survives poisoned memory");
MODULE_LICENSE("GPL");
MODULE_VERSION(FOLIOCOPY_VERSION);
