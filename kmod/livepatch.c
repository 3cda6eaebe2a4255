// SPDX-License-Identifier: GPL-2.0
/*
 * Replaces the running kernel's folio_copy() and folio_mc_copy() by foliocopy's, as a livepatch.
 *
 * The replacements keep the contract of mm/util.c: docs/KERNEL.md has the table.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <asm/setup.h>
#include "foliocopy.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

enum method {
	METHOD_FOLIOCOPY,
	METHOD_STOCK,
};

static const char * const method_names[] = {
	[METHOD_FOLIOCOPY] = "foliocopy",
	[METHOD_STOCK] = "stock",
};

static enum method method = METHOD_FOLIOCOPY;

static int method_set(const char *value, const struct kernel_param *param)
{
	int asked = sysfs_match_string(method_names, value);

	if (asked < 0) {
		pr_err("%s: `%.*s` is neither foliocopy nor stock\n", param->name, (int)min(strcspn(value, "\n"), 32UL),
		       value);
		return -EINVAL;
	}
	WRITE_ONCE(method, asked);
	return 0;
}

static int method_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n", method_names[READ_ONCE(method)]);
}

static const struct kernel_param_ops method_ops = { .set = method_set, .get = method_get };

module_param_cb(method, &method_ops, NULL, 0644);
MODULE_PARM_DESC(method, "foliocopy (default), or stock: page by page as the kernel does, to compare in one boot");

/* mm/util.c of Linux 6.12 to 7.3, over the same inline functions of highmem.h. */
static void stock_folio_copy(struct folio *dst, struct folio *src)
{
	long i = 0;
	long nr = folio_nr_pages(src);

	for (;;) {
		copy_highpage(folio_page(dst, i), folio_page(src, i));
		if (++i == nr)
			break;
		cond_resched();
	}
}

static int stock_folio_mc_copy(struct folio *dst, struct folio *src)
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

static void livepatch_folio_copy(struct folio *dst, struct folio *src)
{
	if (READ_ONCE(method) == METHOD_STOCK)
		stock_folio_copy(dst, src);
	else
		foliocopy_folio_copy(dst, src);
}

/*
 * Some platforms ask the kernel for copy_mc_fragile(), which avoids the instructions from which they can't recover: string
 * instructions, and loads across two lines. A static key says whether they did, which no module can read. Where the key
 * may be set, the kernel's copy_mc_to_kernel() copies, one batch at a time, since it can read the key.
 */
static bool use_copy_mc_to_kernel;
module_param(use_copy_mc_to_kernel, bool, 0444);
MODULE_PARM_DESC(use_copy_mc_to_kernel,
		 "Machine-check-safe copies are the kernel's, since this platform may need copy_mc_fragile()");

static int batched_folio_mc_copy(struct folio *dst, struct folio *src)
{
	/* The length of copy_mc_to_kernel() has 32 bits. */
	size_t bytes = folio_size(src), batch = preempt_model_preemptible() ? SZ_1G : SZ_32M;
	size_t done = 0, nr = 0, i;

	for (;;) {
		size_t count = min(batch, bytes - done);
		size_t left = copy_mc_to_kernel(folio_address(dst) + done, folio_address(src) + done, count);

		if (left) {
#ifdef CONFIG_MEMORY_FAILURE
			memory_failure_queue(folio_pfn(src) + ((done + count - left) >> PAGE_SHIFT), 0);
#endif
			return -EHWPOISON;
		}
		done += count;
		if (done == bytes)
			break;
		cond_resched();
	}
	for (nr = folio_nr_pages(src), i = 0; i < nr; i++)
		kmsan_copy_page_meta(folio_page(dst, i), folio_page(src, i));
	return 0;
}

/* Reads the kernel's command line; an empty text where it can't be read. */
static void __init read_command_line(char *text, size_t size)
{
	struct file *file = filp_open("/proc/cmdline", O_RDONLY, 0);
	loff_t at = 0;
	ssize_t bytes = 0;

	if (!IS_ERR(file)) {
		bytes = kernel_read(file, text, size - 1, &at);
		filp_close(file, NULL);
	}
	text[max_t(ssize_t, bytes, 0)] = '\0';
}

/* Returns the reason why enable_copy_mc_fragile() may have been called: arch/x86/kernel/quirks.c and cpu/mce/core.c. */
static const char * __init may_need_copy_mc_fragile(void)
{
	/* The memory controllers of Ivy Bridge to Broadwell, and of Skylake, servers. */
	static const u16 devices[] __initconst = { 0x0ec3, 0x2fc0, 0x6fc0, 0x2083 };
	static char command_line[COMMAND_LINE_SIZE] __initdata;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(devices); i++) {
		struct pci_dev *device = pci_get_device(PCI_VENDOR_ID_INTEL, devices[i], NULL);

		if (device) {
			pci_dev_put(device);
			return "this platform's memory controller may ask for it";
		}
	}
	read_command_line(command_line, sizeof(command_line));
	if (!command_line[0])
		return "the kernel's command line can't be read";
	if (strstr(command_line, "mce=recovery"))
		return "mce=recovery asks for it";
	return NULL;
}

static int livepatch_folio_mc_copy(struct folio *dst, struct folio *src)
{
	if (READ_ONCE(method) == METHOD_STOCK)
		return stock_folio_mc_copy(dst, src);
	if (use_copy_mc_to_kernel)
		return batched_folio_mc_copy(dst, src);
	return foliocopy_folio_mc_copy(dst, src);
}

static struct klp_func functions[] = {
	{ .old_name = "folio_copy", .new_func = livepatch_folio_copy },
	{ .old_name = "folio_mc_copy", .new_func = livepatch_folio_mc_copy },
	{ }
};

/* No name means vmlinux. */
static struct klp_object objects[] = { { .funcs = functions }, { } };

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init foliocopy_livepatch_init(void)
{
	const char *reason = may_need_copy_mc_fragile();

	if (reason) {
		use_copy_mc_to_kernel = true;
		pr_info("machine-check-safe copies are copy_mc_to_kernel()'s: %s\n", reason);
	}
	return klp_enable_patch(&patch);
}
module_init(foliocopy_livepatch_init);

/* Livepatch lets the module go only when no task runs in it any more. */
static void __exit foliocopy_livepatch_exit(void)
{
}
module_exit(foliocopy_livepatch_exit);

MODULE_DESCRIPTION("Replaces folio_copy() and folio_mc_copy() by those of foliocopy");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_VERSION(FOLIOCOPY_VERSION);
