// SPDX-License-Identifier: GPL-2.0
/*
 * The exported functions: the engine's folio layer, counted.
 */
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/mm.h>
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

int foliocopy_copy_mc_highpages(struct page *dst, struct page *src, unsigned int nr_pages)
{
	struct foliocopy_method method = foliocopy_method_for(page_to_nid(dst));
	u32 primitive;

	switch (foliocopy_engine_copy_mc_highpages(&method, page_to_pfn(dst), page_to_pfn(src), nr_pages,
						   &primitive)) {
	case FOLIOCOPY_COPIED:
		foliocopy_count_copy(FOLIOCOPY_MACHINE_CHECK_SAFE, primitive, nr_pages);
		return 0;
	case FOLIOCOPY_HWPOISON:
		return -EHWPOISON;
	default:
		return -EOPNOTSUPP;
	}
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
