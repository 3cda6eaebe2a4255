/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of a machine check during migration: a livepatch that keeps copying the folio it is told, with interrupts
 * off, until the machine check that the host injects lands in the copy. From then on that folio can't be copied, as if the
 * poison were really in the memory: the kernel tries a failed folio again.
 */
#ifndef FOLIOCOPY_HOLD_H
#define FOLIOCOPY_HOLD_H

#include <linux/ktime.h>
#include <linux/pfn.h>

static unsigned long hold_pfn;
module_param(hold_pfn, ulong, 0644);
MODULE_PARM_DESC(hold_pfn, "First page frame of the folio whose copy is held; 0 for none");

static bool hold_bad;
module_param(hold_bad, bool, 0644);
MODULE_PARM_DESC(hold_bad, "Whether a machine check was taken: the folio is then not copied any more");

static int copy_held(struct folio *dst, struct folio *src)
{
	unsigned long pfn = folio_pfn(src);
	unsigned long flags;
	unsigned long copies = 0;
	int error = 0;
	u64 end;

	if (!pfn || pfn != READ_ONCE(hold_pfn))
		return copy_by_method(dst, src);
	if (READ_ONCE(hold_bad))
		return -EHWPOISON;

	local_irq_save(flags);
	/* The host waits for this line, which is out before printk() returns. */
	printk(KERN_INFO "foliocopy_machine_check: inject at %#llx\n", (u64)PFN_PHYS(pfn));
	/* Not asked often, so that nearly all of the time is spent in copies. */
	for (end = ktime_get_ns() + 4 * NSEC_PER_SEC; !error && ktime_get_ns() < end;) {
		unsigned long stop = copies + 256;

		while (!error && copies < stop) {
			error = copy_by_method(dst, src);
			copies++;
		}
	}
	local_irq_restore(flags);

	pr_info("hold: %s after %lu copies\n", error ? "a machine check came" : "none came", copies);
	WRITE_ONCE(hold_bad, error != 0);
	return error;
}

#endif
