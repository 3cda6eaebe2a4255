/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions that foliocopy.ko exports (GPL) to other modules. They have the names and the meaning of the kernel's
 * functions. Each range is copied in one piece, by the policy for this CPU and the destination's node.
 *
 * None of them yields for a single page, so order 0 may be copied in atomic context. For more pages they may yield
 * between two chunks.
 */
#ifndef FOLIOCOPY_H
#define FOLIOCOPY_H

#include <linux/mm_types.h>

void foliocopy_folio_copy(struct folio *dst, struct folio *src);

/* Returns 0 or -EHWPOISON; the first bad page frame then went to memory_failure_queue(), once. */
int foliocopy_folio_mc_copy(struct folio *dst, struct folio *src);

/*
 * Copies each folio of a list to the folio at the same place of another list, both linked by folio->lru. The next source
 * is prefetched during each copy, and one fence ends the batch. Returns 0, or -EHWPOISON at the first folio that can't be
 * read; its first bad page frame then went to memory_failure_queue(). *nr_copied is the number of folios copied before it.
 * It may sleep between folios.
 */
int foliocopy_folios_mc_copy(struct list_head *dst, struct list_head *src, unsigned int *nr_copied);

/* Copy nr_pages contiguous pages. */
void foliocopy_copy_highpages(struct page *dst, struct page *src, unsigned int nr_pages);
int foliocopy_copy_mc_highpages(struct page *dst, struct page *src, unsigned int nr_pages);

#endif
