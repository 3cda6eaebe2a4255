// SPDX-License-Identifier: GPL-2.0
/*
 * Loading this opens a window for a machine check: one folio is copied over and over with interrupts off, so that a #MC
 * injected into CPU 0 lands in the copy. What came of it is in the module's parameters. A test's tool: it keeps a CPU
 * busy for seconds.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include "foliocopy.h"

static uint order;
module_param(order, uint, 0444);

static int result;
module_param(result, int, 0444);

static ulong pfn;
module_param(pfn, ulong, 0444);

static ulong copies;
module_param(copies, ulong, 0444);

static int __init machine_check_init(void)
{
	struct page *src = alloc_pages(GFP_KERNEL | __GFP_COMP, order);
	struct page *dst = alloc_pages(GFP_KERNEL | __GFP_COMP, order);
	unsigned long flags, end;
	int error;

	if (!src || !dst)
		return -ENOMEM;
	error = set_cpus_allowed_ptr(current, cpumask_of(0));
	if (error)
		return error;
	memset(page_address(src), 0x5a, PAGE_SIZE << order);
	pfn = page_to_pfn(src);

	/* The host waits for this line, and then a little. A console may be written by a thread, which takes interrupts. */
	pr_info("foliocopy_machine_check: inject at %#llx\n", (u64)page_to_phys(src));
	msleep(50);
	local_irq_save(flags);
	/* Not asked often, so that nearly all of the time is spent in copies. */
	for (end = ktime_get_ns() + 4 * NSEC_PER_SEC; !result && ktime_get_ns() < end;) {
		unsigned long stop = copies + max(256UL >> order, 1UL);

		while (!result && copies < stop) {
			result = foliocopy_folio_mc_copy(page_folio(dst), page_folio(src));
			copies++;
		}
	}
	local_irq_restore(flags);

	/* Neither folio is freed: the source is poisoned, if all went well. */
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	return 0;
}
module_init(machine_check_init);

static void __exit machine_check_exit(void)
{
}
module_exit(machine_check_exit);

MODULE_DESCRIPTION("Copies a folio until a machine check hits it");
MODULE_LICENSE("GPL");
