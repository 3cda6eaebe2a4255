// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's functions behind the `Platform` of kernel.rs.
 */
#include <linux/highmem.h>
#include <linux/kmsan.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include "internal.h"

void *foliocopy_platform_map(u64 pfn);
void *foliocopy_platform_map(u64 pfn)
{
	return kmap_local_page(pfn_to_page(pfn));
}

void foliocopy_platform_unmap(void *address);
void foliocopy_platform_unmap(void *address)
{
	kunmap_local(address);
}

void *foliocopy_platform_address(u64 pfn);
void *foliocopy_platform_address(u64 pfn)
{
	return page_address(pfn_to_page(pfn));
}

void foliocopy_platform_cond_resched(void);
void foliocopy_platform_cond_resched(void)
{
	cond_resched();
}

void foliocopy_platform_memory_failure(u64 pfn);
void foliocopy_platform_memory_failure(u64 pfn)
{
	foliocopy_count_error(pfn);
#ifdef CONFIG_MEMORY_FAILURE
	memory_failure_queue(pfn, 0);
#endif
}

void foliocopy_platform_copy_metadata(u64 to_pfn, u64 from_pfn);
void foliocopy_platform_copy_metadata(u64 to_pfn, u64 from_pfn)
{
	kmsan_copy_page_meta(pfn_to_page(to_pfn), pfn_to_page(from_pfn));
}
