/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What foliocopy.ko exports (GPL) to other modules: the kernel's functions of the same names, with their meaning, each
 * range copied as one piece by what the policy picks for this CPU and the destination's node.
 *
 * None of them yields for a single page, so that order 0 may be copied in atomic context. For more pages they may, between
 * chunks: not before the first, not after the last.
 */
#ifndef FOLIOCOPY_H
#define FOLIOCOPY_H

#include <linux/mm_types.h>

void foliocopy_folio_copy(struct folio *dst, struct folio *src);

/* 0 or -EHWPOISON; the first bad page frame then went to memory_failure_queue(), once. */
int foliocopy_folio_mc_copy(struct folio *dst, struct folio *src);

/*
 * Copies each folio of a list to the one in the same place of another list, linked by folio->lru: while one is copied the
 * next is prefetched, and one fence ends them all. 0, or -EHWPOISON at the first folio that can't be read, whose first bad
 * page frame then went to memory_failure_queue(). *nr_copied tells how many were copied before it. It may sleep between
 * folios.
 */
int foliocopy_folios_mc_copy(struct list_head *dst, struct list_head *src, unsigned int *nr_copied);

/* Over nr_pages contiguous pages. */
void foliocopy_copy_highpages(struct page *dst, struct page *src, unsigned int nr_pages);
int foliocopy_copy_mc_highpages(struct page *dst, struct page *src, unsigned int nr_pages);

#endif
