// SPDX-License-Identifier: GPL-2.0
/*
 * The exported functions: the engine's folio layer, counted.
 */
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include "foliocopy.h"
#include "internal.h"

void foliocopy_copy_highpages(struct page *dst, struct page *src, unsigned int nr_pages)
{
	struct foliocopy_method method = foliocopy_method_for(page_to_nid(dst));
	u32 primitive = foliocopy_engine_copy_highpages(&method, page_to_pfn(dst), page_to_pfn(src),
							nr_pages);

	foliocopy_count_copy(FOLIOCOPY_PLAIN, primitive, nr_pages);
}
EXPORT_SYMBOL_GPL(foliocopy_copy_highpages);

/* Counts a machine-check-safe copy. Returns its result as the kernel's error code. */
static int finish(enum foliocopy_result result, u32 primitive, u64 nr_pages)
{
	switch (result) {
	case FOLIOCOPY_COPIED:
		foliocopy_count_copy(FOLIOCOPY_MACHINE_CHECK_SAFE, primitive, nr_pages);
		return 0;
	case FOLIOCOPY_HWPOISON:
		return -EHWPOISON;
	default:
		return -EOPNOTSUPP;
	}
}

int foliocopy_copy_mc_highpages(struct page *dst, struct page *src, unsigned int nr_pages)
{
	struct foliocopy_method method = foliocopy_method_for(page_to_nid(dst));
	enum foliocopy_result result;
	u32 primitive;

	result = foliocopy_engine_copy_mc_highpages(&method, page_to_pfn(dst), page_to_pfn(src), nr_pages,
						    &primitive);
	return finish(result, primitive, nr_pages);
}
EXPORT_SYMBOL_GPL(foliocopy_copy_mc_highpages);

void foliocopy_folio_copy(struct folio *dst, struct folio *src)
{
	foliocopy_copy_highpages(folio_page(dst, 0), folio_page(src, 0), folio_nr_pages(src));
}
EXPORT_SYMBOL_GPL(foliocopy_folio_copy);

int foliocopy_folio_mc_copy(struct folio *dst, struct folio *src)
{
	return foliocopy_copy_mc_highpages(folio_page(dst, 0), folio_page(src, 0), folio_nr_pages(src));
}
EXPORT_SYMBOL_GPL(foliocopy_folio_mc_copy);

/* The frame at which the next folio of the list starts, if that is no shorter. */
static u64 next_pfn(struct folio *folio, const struct list_head *list)
{
	struct folio *next = list_next_entry(folio, lru);

	if (list_is_last(&folio->lru, list) || folio_order(next) < folio_order(folio))
		return FOLIOCOPY_NO_NEXT;
	return folio_pfn(next);
}

int foliocopy_folios_mc_copy(struct list_head *dst_list, struct list_head *src_list, unsigned int *nr_copied)
{
	struct folio *src, *dst = list_first_entry(dst_list, struct folio, lru);
	size_t since_yield = 0;
	int error = 0;

	*nr_copied = 0;
	list_for_each_entry(src, src_list, lru) {
		struct foliocopy_method method = foliocopy_method_for(folio_nid(dst));
		enum foliocopy_result result;
		u32 primitive;

		if (since_yield && since_yield + folio_size(src) > method.chunk_bytes) {
			foliocopy_engine_end_batch();
			cond_resched();
			since_yield = 0;
		}
		result = foliocopy_engine_copy_mc_in_batch(&method, folio_pfn(dst), folio_pfn(src),
							   folio_nr_pages(src), next_pfn(src, src_list),
							   &primitive);
		error = finish(result, primitive, folio_nr_pages(src));
		if (error)
			break;
		++*nr_copied;
		since_yield += folio_size(src);
		dst = list_next_entry(dst, lru);
	}
	foliocopy_engine_end_batch();
	return error;
}
EXPORT_SYMBOL_GPL(foliocopy_folios_mc_copy);
