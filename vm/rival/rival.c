// SPDX-License-Identifier: GPL-2.0
/*
 * A foreign livepatch of folio_mc_copy(). It does the same as the kernel's own (mm/util.c).
 */
#include <linux/highmem.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>

static int rival_folio_mc_copy(struct folio *dst, struct folio *src)
{
	long nr = folio_nr_pages(src);
	long i = 0;

	for (;;) {
		if (copy_mc_highpage(folio_page(dst, i), folio_page(src, i)))
			return -EHWPOISON;
		if (++i == nr)
			break;
		cond_resched();
	}

	return 0;
}

static struct klp_func functions[] = {
	{ .old_name = "folio_mc_copy", .new_func = rival_folio_mc_copy },
	{ }
};

/* No name means vmlinux. */
static struct klp_object objects[] = { { .funcs = functions }, { } };

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init rival_init(void)
{
	return klp_enable_patch(&patch);
}
module_init(rival_init);

static void __exit rival_exit(void)
{
}
module_exit(rival_exit);

MODULE_DESCRIPTION("A foreign livepatch of folio_mc_copy()");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
