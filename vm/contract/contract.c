// SPDX-License-Identifier: GPL-2.0
/*
 * Calls the running kernel's folio_copy() and folio_mc_copy(), patched or not,
 * and checks the contract of docs/KERNEL.md row by row. The test is to load it:
 * it loads if every row holds. Each row is a line in the log: `pass NAME`,
 * `FAIL NAME: why`, or `untested NAME: why`.
 *
 * A kprobe in __cond_resched() counts the yields.
 */
#include <linux/highmem.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

static unsigned long yields_large;
module_param(yields_large, ulong, 0444);
MODULE_PARM_DESC(yields_large, "How many times a folio of order 9 yields where the kernel doesn't preempt");

static struct task_struct *watched;
static unsigned long yields;

static int count_yield(struct kprobe *probe, struct pt_regs *registers)
{
	if (current == watched)
		yields++;
	return 0;
}

static struct kprobe probe = { .symbol_name = "__cond_resched", .pre_handler = count_yield };
static bool probed;

static bool failed;

static void row(const char *name, bool holds)
{
	if (holds)
		pr_info("pass %s\n", name);
	else
		pr_err("FAIL %s\n", name);
	failed |= !holds;
}

static void fill(struct folio *folio, u8 seed)
{
	size_t bytes = folio_size(folio), i;
	u8 *at = folio_address(folio);

	for (i = 0; i < bytes; i++)
		at[i] = seed + i + (i >> 8) + (i >> 16);
}

static bool same(struct folio *a, struct folio *b)
{
	return !memcmp(folio_address(a), folio_address(b), folio_size(a));
}

/* Copies by the running kernel's function. Returns how often it yielded. */
static unsigned long copy(struct folio *dst, struct folio *src, bool safe, int *error)
{
	WRITE_ONCE(yields, 0);
	WRITE_ONCE(watched, current);
	if (safe)
		*error = folio_mc_copy(dst, src);
	else
		folio_copy(dst, src);
	WRITE_ONCE(watched, NULL);
	return READ_ONCE(yields);
}

static void check(struct folio *dst, struct folio *src, bool safe)
{
	static DEFINE_SPINLOCK(lock);
	unsigned int order = folio_order(src);
	unsigned long taken, expected, flags;
	char name[64];
	int error = 0;

#define NAMED(text) (snprintf(name, sizeof(name), "%s order %u: " text, safe ? "folio_mc_copy" : "folio_copy", order), name)

	fill(src, 1 + order);
	fill(dst, 100);
	taken = copy(dst, src, safe, &error);
	row(NAMED("contents"), same(dst, src));
	if (safe)
		row(NAMED("returns 0"), error == 0);

	expected = order ? yields_large : 0;
	if (!probed)
		pr_info("untested %s: no kprobe in __cond_resched()\n", NAMED("yields"));
	else if (order && preempt_model_preemptible())
		pr_info("untested %s: this kernel preempts, and cond_resched() does nothing\n", NAMED("yields"));
	else
		row(NAMED("yields"), taken == expected);
	if (probed && taken != expected)
		pr_info("%lu yields, expected %lu\n", taken, expected);

	if (order)
		return;
	fill(src, 7);
	spin_lock_irqsave(&lock, flags);
	taken = copy(dst, src, safe, &error);
	spin_unlock_irqrestore(&lock, flags);
	row(NAMED("under a spinlock, interrupts off"), !error && !taken && same(dst, src));
}

static int __init contract_init(void)
{
	static const unsigned int orders[] = { 0, 9 };
	unsigned int i;

	probed = register_kprobe(&probe) == 0;
	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		struct folio *src = folio_alloc(GFP_KERNEL, orders[i]);
		struct folio *dst = folio_alloc(GFP_KERNEL, orders[i]);

		if (src && dst) {
			check(dst, src, false);
			check(dst, src, true);
		} else {
			pr_err("FAIL no memory for order %u\n", orders[i]);
			failed = true;
		}
		if (src)
			folio_put(src);
		if (dst)
			folio_put(dst);
	}
#ifndef CONFIG_DEBUG_ATOMIC_SLEEP
	pr_info("untested might_sleep() in atomic context: this kernel has no CONFIG_DEBUG_ATOMIC_SLEEP\n");
#endif
	if (probed)
		unregister_kprobe(&probe);
	return failed ? -EINVAL : 0;
}
module_init(contract_init);

static void __exit contract_exit(void)
{
}
module_exit(contract_exit);

MODULE_DESCRIPTION("Test of the contract of folio_copy() and folio_mc_copy()");
MODULE_LICENSE("GPL");
