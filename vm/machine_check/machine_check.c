// SPDX-License-Identifier: GPL-2.0
/*
 * A test's tool: folios of which one can be poisoned. When loaded, it allocates a
 * source and a destination, and its parameters say where the source is. A write
 * to `copy` copies, and the other parameters hold the result. Without
 * foliocopy.h the kernel's own function copies.
 */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/string.h>
#include "foliocopy.h"

#define CANARY	0xcc

static uint order;
module_param(order, uint, 0444);

static ulong physical;
module_param(physical, ulong, 0444);
MODULE_PARM_DESC(physical, "Where the source starts");

#ifdef FOLIOCOPY_H
static bool batch;
module_param(batch, bool, 0444);
MODULE_PARM_DESC(batch, "Copy a list of two folios, of which the poisoned one is the second");

static struct folio *first_src, *first_dst;
#endif

static int result;
module_param(result, int, 0444);

static ulong copied;
module_param(copied, ulong, 0444);
MODULE_PARM_DESC(copied, "How many bytes of the destination are the source's; no byte behind them was written");

static struct folio *src, *dst;

/* Never the canary, and different in lines that lie near each other. */
static u8 byte(size_t at)
{
	return (at + at / 64 + at / PAGE_SIZE) % CANARY;
}

static int copy_folio(void)
{
#ifdef FOLIOCOPY_H
	LIST_HEAD(from);
	LIST_HEAD(to);
	unsigned int copied;
	int error;

	if (!batch)
		return foliocopy_folio_mc_copy(dst, src);
	list_add_tail(&first_src->lru, &from);
	list_add_tail(&src->lru, &from);
	list_add_tail(&first_dst->lru, &to);
	list_add_tail(&dst->lru, &to);
	error = foliocopy_folios_mc_copy(&to, &from, &copied);
	if (copied != 1 || memcmp(folio_address(first_dst), folio_address(first_src), folio_size(first_src)))
		return -EIO;
	return error;
#else
	return folio_mc_copy(dst, src);
#endif
}

static int copy_set(const char *value, const struct kernel_param *param)
{
	size_t bytes = folio_size(src), at;
	u8 *to = folio_address(dst);

	memset(to, CANARY, bytes);
	result = copy_folio();
	for (at = 0; at < bytes && to[at] == byte(at); at++)
		;
	copied = at;
	return memchr_inv(to + at, CANARY, bytes - at) ? -EIO : 0;
}

static const struct kernel_param_ops copy_ops = { .set = copy_set };
module_param_cb(copy, &copy_ops, NULL, 0200);

static int __init machine_check_init(void)
{
	size_t at;

	/* Neither is ever freed, since a test poisons the source. */
	src = folio_alloc(GFP_KERNEL, order);
	dst = folio_alloc(GFP_KERNEL, order);
	if (!src || !dst)
		return -ENOMEM;
#ifdef FOLIOCOPY_H
	first_src = folio_alloc(GFP_KERNEL, order);
	first_dst = folio_alloc(GFP_KERNEL, order);
	if (!first_src || !first_dst)
		return -ENOMEM;
	memset(folio_address(first_src), 1, folio_size(first_src));
#endif
	for (at = 0; at < folio_size(src); at++)
		((u8 *)folio_address(src))[at] = byte(at);
	physical = PFN_PHYS(folio_pfn(src));
	return 0;
}
module_init(machine_check_init);

static void __exit machine_check_exit(void)
{
}
module_exit(machine_check_exit);

MODULE_DESCRIPTION("Copies a folio that may be poisoned");
MODULE_LICENSE("GPL");
