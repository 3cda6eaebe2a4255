// SPDX-License-Identifier: GPL-2.0
/*
 * The self-test: a read of <debugfs>/foliocopy/selftest runs it, with the code that copies folios.
 *
 * Faults are real: sources run into the guard page behind a vmalloc() area. There the folio layer runs on a platform of
 * the test (selftest.rs), whose memory_failure_queue() only counts.
 */
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>
#include "internal.h"

#define LINE		64
#define LARGEST_ORDER	9
#define LARGEST_PAGES	(1UL << LARGEST_ORDER)
#define LARGEST_BYTES	(LARGEST_PAGES * PAGE_SIZE)
#define CANARY		0xcc
#define PAGE_FAULT	14

struct selftest {
	struct seq_file *file;
	u32 primitive;
	u64 checks;
	u64 failures;
	u64 seed;
};

static void __printf(3, 4) check(struct selftest *test, bool good, const char *format, ...)
{
	va_list arguments;

	test->checks++;
	if (good)
		return;
	/* Only the first failures are printed. */
	if (test->failures++ >= 20)
		return;
	va_start(arguments, format);
	seq_printf(test->file, "FAIL %.*s ", FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(test->primitive)));
	seq_vprintf(test->file, format, arguments);
	seq_putc(test->file, '\n');
	va_end(arguments);
}

/* Fills memory with words that differ from each other, from page to page and from fill to fill. */
static void fill(struct selftest *test, void *start, size_t bytes)
{
	u64 *word = start, *end = start + bytes;

	test->seed++;
	while (word < end) {
		test->seed = test->seed * 6364136223846793005ULL + 1442695040888963407ULL;
		*word++ = test->seed;
	}
}

static bool is_filled(const void *start, u8 byte, size_t bytes)
{
	return !memchr_inv(start, byte, bytes);
}

static const char *path_name(bool safe)
{
	return safe ? "machine-check-safe" : "plain";
}

/* Copies real folios of every order between every pair of nodes, by the folio layer of this kernel. */
static void test_folios(struct selftest *test, struct page *src, struct page *dst, bool safe)
{
	struct foliocopy_method method = { .temporal = test->primitive, .chunk_bytes = LARGEST_BYTES / 8 };
	unsigned int order;

	for (order = 0; order <= LARGEST_ORDER; order++) {
		unsigned long nr_pages = 1UL << order;
		size_t bytes = nr_pages * PAGE_SIZE;
		enum foliocopy_result result = FOLIOCOPY_COPIED;
		u32 used;

		fill(test, page_address(src), bytes);
		memset(page_address(dst), CANARY, min(bytes + PAGE_SIZE, LARGEST_BYTES));
		if (safe)
			result = foliocopy_engine_copy_mc_highpages(&method, page_to_pfn(dst),
								    page_to_pfn(src), nr_pages, &used);
		else
			used = foliocopy_engine_copy_highpages(&method, page_to_pfn(dst),
							       page_to_pfn(src), nr_pages);
		check(test, result == FOLIOCOPY_COPIED && used == test->primitive &&
		      !memcmp(page_address(dst), page_address(src), bytes),
		      "%s: order %u from node %d to node %d: the copy differs", path_name(safe), order,
		      page_to_nid(src), page_to_nid(dst));
		check(test, order == LARGEST_ORDER || is_filled(page_address(dst) + bytes, CANARY, PAGE_SIZE),
		      "%s: order %u: wrote past the end", path_name(safe), order);
		cond_resched();
	}
}

static int test_node_pairs(struct selftest *test)
{
	gfp_t gfp = GFP_KERNEL | __GFP_THISNODE | __GFP_COMP | __GFP_NOWARN;
	int src_nid, dst_nid;

	for_each_node_state(src_nid, N_MEMORY) {
		struct page *src = alloc_pages_node(src_nid, gfp, LARGEST_ORDER);

		for_each_node_state(dst_nid, N_MEMORY) {
			struct page *dst = alloc_pages_node(dst_nid, gfp, LARGEST_ORDER);

			if (src && dst) {
				test_folios(test, src, dst, false);
				test_folios(test, src, dst, true);
			} else {
				check(test, false, "node %d or %d has no free folio of order %u", src_nid, dst_nid,
				      LARGEST_ORDER);
			}
			if (dst)
				__free_pages(dst, LARGEST_ORDER);
			if (fatal_signal_pending(current))
				break;
		}
		if (src)
			__free_pages(src, LARGEST_ORDER);
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/* Copies by the primitive alone: a page at every line, and a source that ends at every line of a page. */
static void test_lines(struct selftest *test, void *src, void *dst)
{
	void *end = src + LARGEST_BYTES;
	unsigned int line;
	u32 trap;

	for (line = 0; line <= PAGE_SIZE / LINE; line++) {
		size_t before = line * LINE, left;
		void *from = end - 2 * PAGE_SIZE + PAGE_SIZE - before;

		fill(test, end - 2 * PAGE_SIZE, 2 * PAGE_SIZE);
		memset(dst, CANARY, 3 * PAGE_SIZE);
		foliocopy_engine_copy(test->primitive, dst + before, from, PAGE_SIZE);
		check(test, is_filled(dst, CANARY, before) && !memcmp(dst + before, from, PAGE_SIZE) &&
		      is_filled(dst + before + PAGE_SIZE, CANARY, PAGE_SIZE),
		      "plain: a page at byte %zu went wrong", before);

		/* Only `before` bytes of this source exist. A glance at it learns nothing, and leaves the error to the copy. */
		from = end - before;
		if (foliocopy_engine_can_glance())
			check(test, !!foliocopy_engine_glance(from, PAGE_SIZE) == (before > PAGE_SIZE / 2),
			      "a glance at a source that ends after %zu bytes went wrong", before);
		trap = 0;
		memset(dst, CANARY, 3 * PAGE_SIZE);
		left = foliocopy_engine_copy_mc(test->primitive, dst, from, PAGE_SIZE, &trap);
		check(test, left == PAGE_SIZE - before && (!left || trap == PAGE_FAULT),
		      "machine-check-safe: %zu of %zu bytes left, by trap %u, where the source ends after %zu", left,
		      PAGE_SIZE, trap, before);
		check(test, !memcmp(dst, from, before) && is_filled(dst + before, CANARY, 2 * PAGE_SIZE),
		      "machine-check-safe: the destination is wrong where the source ends after %zu bytes", before);
	}
}

/* Copies a folio of 2 MiB whose source ends at every page. The first bad page frame must be reported once. */
static int test_pages(struct selftest *test, void *src, void *dst)
{
	struct foliocopy_test at = { .dst = dst, .nr_pages = LARGEST_PAGES, .chunk_bytes = LARGEST_BYTES / 8 };
	unsigned long good;

	fill(test, src, LARGEST_BYTES);
	for (good = 0; good <= LARGEST_PAGES; good++) {
		bool whole = good == LARGEST_PAGES;
		enum foliocopy_result result;

		at.src = src + LARGEST_BYTES - good * PAGE_SIZE;
		at.failures = at.yields = at.metadata = at.mapped = at.by_architecture = 0;
		at.failed_pfn = -1;
		memset(dst, CANARY, PAGE_SIZE);
		if (good)
			memset(dst + (good - 1) * PAGE_SIZE, CANARY, PAGE_SIZE);
		result = foliocopy_engine_test(test->primitive, FOLIOCOPY_TEST_MAPPED, true, &at);
		check(test, result == (whole ? FOLIOCOPY_COPIED : FOLIOCOPY_HWPOISON) && at.failures == !whole &&
		      (whole || at.failed_pfn == good),
		      "2 MiB: bad page %lu reported %llu times, as page %lld, with result %d", good, at.failures,
		      at.failed_pfn, result);
		check(test, at.metadata == (whole ? LARGEST_PAGES : 0),
		      "2 MiB: metadata of %llu pages copied, bad page %lu", at.metadata, good);
		check(test, at.yields == min(good, LARGEST_PAGES - 1) / (LARGEST_PAGES / 8),
		      "2 MiB: %llu yields up to bad page %lu", at.yields, good);
		check(test, !good || (!memcmp(dst, at.src, PAGE_SIZE) &&
				      !memcmp(dst + (good - 1) * PAGE_SIZE, at.src + (good - 1) * PAGE_SIZE,
					      PAGE_SIZE)),
		      "2 MiB: wrong contents before bad page %lu", good);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/*
 * Copies on kernels of other kinds: memory that is mapped a page at a time, and an architecture with its own
 * copy_highpage(). It also copies a batch of folios of one page.
 */
static void test_page_by_page(struct selftest *test, void *src, void *dst)
{
	static const char * const names[] = { "mapped", "HIGHMEM", "arch copy_highpage", "batch" };
	unsigned long nr_pages = 16, good;
	u32 style;

	for (style = FOLIOCOPY_TEST_HIGHMEM; style <= FOLIOCOPY_TEST_BATCH; style++) {
		struct foliocopy_test at = { .dst = dst, .nr_pages = nr_pages, .chunk_bytes = SIZE_MAX };
		bool own = style == FOLIOCOPY_TEST_ARCH_COPY_HIGHPAGE;

		at.src = src + LARGEST_BYTES - nr_pages * PAGE_SIZE;
		fill(test, at.src, nr_pages * PAGE_SIZE);
		memset(dst, CANARY, (nr_pages + 1) * PAGE_SIZE);
		foliocopy_engine_test(test->primitive, style, false, &at);
		check(test, !memcmp(dst, at.src, nr_pages * PAGE_SIZE) &&
		      is_filled(dst + nr_pages * PAGE_SIZE, CANARY, PAGE_SIZE), "%s: wrong contents", names[style]);
		check(test, at.yields == (style == FOLIOCOPY_TEST_BATCH ? 0 : nr_pages - 1) &&
		      at.mapped == (style == FOLIOCOPY_TEST_HIGHMEM ? 2 * nr_pages : 0) &&
		      at.by_architecture == (own ? nr_pages : 0) && at.metadata == (own ? 0 : nr_pages),
		      "%s: %llu yields, %llu mapped, %llu by the architecture, %llu metadata", names[style],
		      at.yields, at.mapped, at.by_architecture, at.metadata);
		for (good = 0; good < nr_pages; good++) {
			enum foliocopy_result result;

			at.src = src + LARGEST_BYTES - good * PAGE_SIZE;
			at.failures = 0;
			at.failed_pfn = -1;
			memset(dst, CANARY, nr_pages * PAGE_SIZE);
			result = foliocopy_engine_test(test->primitive, style, true, &at);
			check(test, result == FOLIOCOPY_HWPOISON && at.failures == 1 && at.failed_pfn == good &&
			      !memcmp(dst, at.src, good * PAGE_SIZE) &&
			      is_filled(dst + good * PAGE_SIZE, CANARY, (nr_pages - good) * PAGE_SIZE),
			      "%s: bad page %lu reported %llu times, as page %lld, with result %d", names[style],
			      good, at.failures, at.failed_pfn, result);
		}
	}
}

static int test_primitive(struct selftest *test, void *src, void *dst)
{
	u64 checks = test->checks, failures = test->failures;
	int error = test_node_pairs(test);

	if (!error) {
		test_lines(test, src, dst);
		test_page_by_page(test, src, dst);
		error = test_pages(test, src, dst);
	}
	seq_printf(test->file, "%s %.*s: %llu checks\n", test->failures == failures ? "ok" : "FAIL",
		   FOLIOCOPY_TEXT(foliocopy_engine_primitive_name(test->primitive)), test->checks - checks);
	return error;
}

static int selftest_show(struct seq_file *file, void *unused)
{
	struct selftest test = { .file = file };
	/* A guard page follows each. */
	void *src = vmalloc(LARGEST_BYTES), *dst = vmalloc(LARGEST_BYTES);
	int error = src && dst ? 0 : -ENOMEM;

	for (; !error && foliocopy_engine_primitive_name(test.primitive).bytes; test.primitive++) {
		if (foliocopy_engine_primitive_available(test.primitive))
			error = test_primitive(&test, src, dst);
	}
	vfree(dst);
	vfree(src);
	if (!foliocopy_engine_can_glance())
		seq_puts(file, "untested: a glance at the source, since this CPU has no time-stamp counter\n");
	if (!error)
		seq_printf(file, "%llu checks, %llu failures\n", test.checks, test.failures);
	return error;
}

static int selftest_open(struct inode *inode, struct file *file)
{
	/* So large that seq_file never runs the test twice to find space. */
	return single_open_size(file, selftest_show, NULL, SZ_64K);
}

static const struct file_operations selftest_fops = {
	.owner = THIS_MODULE,
	.open = selftest_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

void foliocopy_selftest_init(struct dentry *debugfs)
{
	debugfs_create_file("selftest", 0400, debugfs, NULL, &selftest_fops);
}
