/*
 * Copies pages of 4096 bytes as fast as the CPU under it allows, and stops cleanly at poisoned memory in copies
 * of pages and of bytes. SPDX-License-Identifier: MIT OR Apache-2.0. Made of the sources by cbindgen.
 *
 * Functions that answer an int answer 0 or a negative errno, and foliocopy_last_error() has the text:
 *
 *   -EINVAL      a pointer is null or no address of a process, a value is not one of its enum, a number of
 *                threads is 0, or a name is unknown
 *   -EDOM        an address is not aligned to a page, or an array not to its type
 *   -EBUSY       source and destination overlap; from foliocopy_mask, the process has a policy already
 *   -EOVERFLOW   a range doesn't fit the address space
 *   -EOPNOTSUPP  a fault would not be survived, or the CPU can't run what the copy needs
 *   -EPERM       FOLIOCOPY_STRICT=1 is set, and the environment or a profile says something that can't be
 *                followed; without it that is left aside, and foliocopy_host_report() says why
 *   -EHWPOISON   memory is poisoned                          } machine-check-safe copies only,
 *   -EFAULT      memory can't be read or written otherwise   } those with mc in their name
 *
 * Nothing was copied then, except that -EHWPOISON and -EFAULT come from the middle of a copy.
 *
 * Parameters stand in this order: what is copied, how, and what is filled in, where a null pointer means
 * that nobody asks. Each copy of pages has a variant that ends in _locality. It takes the locality right
 * behind what is copied, and the others copy with FOLIOCOPY_LOCALITY_AUTO.
 *
 * Threads. Every function may be called from any thread. A thread that may not read the time-stamp counter
 * (prctl(PR_SET_TSC), seccomp's strict mode) is killed by SIGSEGV in a copy that reads it. A process with
 * such a thread calls foliocopy_mask("tsc") before its first copy, or is started with FOLIOCOPY_MASK=tsc: no
 * copy reads the counter then.
 *
 * Signals. In a signal handler foliocopy_sigbus_try_handle and foliocopy_version may be called at any time.
 * Once the process has made a copy, so may foliocopy_copy_pages, foliocopy_copy_folios and their variants by
 * locality. One that fails there replaces the text of foliocopy_last_error() under the code that it
 * interrupted; where the library was opened by dlopen(), the first failure of a thread also allocates memory,
 * which a handler must not. Nothing else may be called there.
 */

#ifndef FOLIOCOPY_H
#define FOLIOCOPY_H

#include <stdbool.h>
#include <stddef.h>

/**
 * The place where a copy leaves the destination.
 */
enum foliocopy_locality {
  /**
   * In the cache, for a destination that is read soon.
   */
  FOLIOCOPY_LOCALITY_TEMPORAL = 0,
  /**
   * Past the cache: nobody reads it soon.
   */
  FOLIOCOPY_LOCALITY_NON_TEMPORAL = 1,
  /**
   * Past it if the source is in memory and the length makes that worth it; in the cache otherwise.
   */
  FOLIOCOPY_LOCALITY_AUTO = 2,
};

/**
 * Why memory can't be accessed.
 */
enum foliocopy_cause {
  /**
   * It is poisoned.
   */
  FOLIOCOPY_CAUSE_HARDWARE_MEMORY_ERROR = 0,
  /**
   * There is nothing behind the address: a file that was cut short, or no huge page left. A kernel
   * without CONFIG_MEMORY_FAILURE reports poison like this too.
   */
  FOLIOCOPY_CAUSE_BEYOND_END = 1,
  /**
   * Anything else.
   */
  FOLIOCOPY_CAUSE_OTHER = 2,
  /**
   * No memory is mapped. Only where foliocopy_catch_sigsegv was called.
   */
  FOLIOCOPY_CAUSE_NOT_MAPPED = 3,
  /**
   * The mapping forbids the access. Only where foliocopy_catch_sigsegv was called.
   */
  FOLIOCOPY_CAUSE_NOT_ALLOWED = 4,
};

/**
 * One of the two ranges of a copy.
 */
enum foliocopy_side {
  /**
   * The source.
   */
  FOLIOCOPY_SIDE_SOURCE = 0,
  /**
   * The destination.
   */
  FOLIOCOPY_SIDE_DESTINATION = 1,
};

/**
 * One pair of ranges in a batch: a folio, or any other run of pages of 4096 bytes.
 */
struct foliocopy_folio_pair {
  /**
   * The destination, aligned to a page.
   */
  void *dst;
  /**
   * The source, aligned to a page.
   */
  const void *src;
  /**
   * How many pages.
   */
  size_t nr_pages;
};

/**
 * Memory that can't be read or written, and how far a copy got.
 */
struct foliocopy_memory_error {
  /**
   * How many bytes, counted from the start, are the source's.
   */
  size_t bytes_copied;
  /**
   * How many bytes of the range are not. Never 0.
   */
  size_t bytes_left;
  /**
   * The first bad page, counted from the start of the range.
   */
  size_t page_index;
  /**
   * The address that can't be accessed (si_addr).
   */
  void *address;
  /**
   * The cause.
   */
  enum foliocopy_cause cause;
  /**
   * The range that holds the bad memory.
   */
  enum foliocopy_side side;
  /**
   * The logarithm of the granule that is lost (si_addr_lsb); 0 where the kernel doesn't say.
   */
  int address_lsb;
};

/**
 * Pages that foliocopy_copy_mc_pages_skipping left zeroed.
 */
struct foliocopy_skipped {
  /**
   * The first of them, counted from the start of the range.
   */
  size_t page_index;
  /**
   * How many they are.
   */
  size_t nr_pages;
  /**
   * The error at their start.
   */
  struct foliocopy_memory_error error;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Copies nr_pairs scattered pairs of ranges as one piece of work. No destination may overlap any other range of the batch.
 * Where the call fails, nothing is copied. failed_pair, unless it is null, then gets the index of the first wrong pair, or
 * nr_pairs where the error is not that of a pair.
 *
 * # Safety
 *
 * `pairs` points to `nr_pairs` pairs, of which each is as `foliocopy_copy_pages` says; `failed_pair` is null or points to
 * a `size_t`.
 */
int foliocopy_copy_folios(const struct foliocopy_folio_pair *pairs,
                          size_t nr_pairs,
                          size_t *failed_pair);

/**
 * Copies like foliocopy_copy_folios, and leaves the destinations where it is told to.
 *
 * # Safety
 *
 * As `foliocopy_copy_folios`.
 */
int foliocopy_copy_folios_locality(const struct foliocopy_folio_pair *pairs,
                                   size_t nr_pairs,
                                   enum foliocopy_locality locality,
                                   size_t *failed_pair);

/**
 * Copies nr_pages pages of 4096 bytes from src to dst, the way that suits this CPU, this length and where
 * the source is now. Both are aligned to 4096 bytes and don't overlap.
 *
 * # Safety
 *
 * `src` is readable and `dst` writable for `nr_pages` pages.
 */
int foliocopy_copy_pages(void *dst, const void *src, size_t nr_pages);

/**
 * Copies like foliocopy_copy_pages, and leaves the destination where it is told to.
 *
 * # Safety
 *
 * As `foliocopy_copy_pages`.
 */
int foliocopy_copy_pages_locality(void *dst,
                                  const void *src,
                                  size_t nr_pages,
                                  enum foliocopy_locality locality);

/**
 * Copies like foliocopy_copy_pages with up to nr_threads threads, of which the caller's is one: gigabyte
 * folios, the memory of a guest. Each gets 16 MiB at least, so that a shorter range is the caller's alone.
 *
 * # Safety
 *
 * As `foliocopy_copy_pages`.
 */
int foliocopy_copy_pages_parallel(void *dst, const void *src, size_t nr_pages, size_t nr_threads);

/**
 * Copies like foliocopy_copy_pages_parallel, and leaves the destination where it is told to.
 *
 * # Safety
 *
 * As `foliocopy_copy_pages`.
 */
int foliocopy_copy_pages_parallel_locality(void *dst,
                                           const void *src,
                                           size_t nr_pages,
                                           enum foliocopy_locality locality,
                                           size_t nr_threads);

/**
 * The text of the last failure on this thread: what was wrong, and where that helps what would be right. ""
 * where no call on this thread has failed yet. A call that succeeds leaves the text alone. Never null.
 *
 * The text belongs to the library, and to the thread. It is valid until the next call of the library on this
 * thread.
 */
const char *foliocopy_last_error(void);

/**
 * The version of the library: "0.1.0".
 */
const char *foliocopy_version(void);

/**
 * Makes the policy of this process do without CPU features, in addition to those that FOLIOCOPY_MASK hides. The names are
 * separated by commas. Called before the first copy of the process. -EBUSY where it has a policy already. -EINVAL for an
 * unknown name: foliocopy_last_error() lists the names then.
 *
 * foliocopy_mask("tsc") makes copies that read no time-stamp counter. A process of which some thread may not read it must
 * call this, or be started with FOLIOCOPY_MASK=tsc.
 *
 * # Safety
 *
 * `features` is null or a text that ends with 0.
 */
int foliocopy_mask(const char *features);

/**
 * The policy of this process, in a line: the CPU, the source of its table ("measured on Zen 5", a profile with its path,
 * "asked for by name"), and the features that it does without. The text stays as long as the library does. The first call
 * of the process makes the policy.
 */
const char *foliocopy_host_policy(void);

/**
 * The parts of the environment and of profiles that the policy of this process leaves aside: a line for each, with the
 * reason. "" where nothing is left aside. With FOLIOCOPY_STRICT=1 every copy answers -EPERM instead of leaving something
 * aside. The text stays as long as the library does. The first call of the process makes the policy.
 */
const char *foliocopy_host_report(void);

/**
 * Copies nr_pages pages of 4096 bytes from src to dst, and stops at memory that can't be read or written:
 * poisoned memory, or a mapping whose file was cut short.
 *
 * Answers -EHWPOISON for poisoned memory and -EFAULT for any other cause, and fills in what error points
 * to unless that is null. The bytes before the error are the source's, nothing outside the destination is
 * written, and the next copy works. The first call puts a handler of SIGBUS in place, as
 * foliocopy_sigbus_install does; -EOPNOTSUPP means that a fault would not be survived. The thread must
 * not block SIGBUS.
 *
 * # Safety
 *
 * `src` is mapped readable and `dst` writable for `nr_pages` pages, but either may raise SIGBUS. `error` is
 * null or points to a `struct foliocopy_memory_error`.
 */
int foliocopy_copy_mc_pages(void *dst,
                            const void *src,
                            size_t nr_pages,
                            struct foliocopy_memory_error *error);

/**
 * Copies bytes bytes from src to dst like foliocopy_copy_mc_pages, of any address and length: the bytes before
 * the error are the source's, to the byte, and none behind it is written. 1, 2, 4 and 8 bytes are one load and
 * one store where both addresses are aligned to that. error counts pages from the one in which the range starts.
 *
 * # Safety
 *
 * `src` is mapped readable and `dst` writable for `bytes` bytes, but either may raise SIGBUS. `error` is null or
 * points to a `struct foliocopy_memory_error`.
 */
int foliocopy_copy_mc(void *dst,
                      const void *src,
                      size_t bytes,
                      struct foliocopy_memory_error *error);

/**
 * Copies like foliocopy_copy_mc_pages, and leaves the destination where it is told to.
 *
 * # Safety
 *
 * As `foliocopy_copy_mc_pages`.
 */
int foliocopy_copy_mc_pages_locality(void *dst,
                                     const void *src,
                                     size_t nr_pages,
                                     enum foliocopy_locality locality,
                                     struct foliocopy_memory_error *error);

/**
 * Copies like foliocopy_copy_mc_pages with up to nr_threads threads, of which the caller's is one, as
 * foliocopy_copy_pages_parallel does. error has the bad memory at the lowest address. The bytes before it are the
 * source's. Pages behind it may be copied or not.
 *
 * # Safety
 *
 * As `foliocopy_copy_mc_pages`.
 */
int foliocopy_copy_mc_pages_parallel(void *dst,
                                     const void *src,
                                     size_t nr_pages,
                                     size_t nr_threads,
                                     struct foliocopy_memory_error *error);

/**
 * Copies like foliocopy_copy_mc_pages_parallel, and leaves the destination where it is told to.
 *
 * # Safety
 *
 * As `foliocopy_copy_mc_pages`.
 */
int foliocopy_copy_mc_pages_parallel_locality(void *dst,
                                              const void *src,
                                              size_t nr_pages,
                                              enum foliocopy_locality locality,
                                              size_t nr_threads,
                                              struct foliocopy_memory_error *error);

/**
 * Copies scattered ranges like foliocopy_copy_folios, and stops at memory that can't be read or written, as
 * foliocopy_copy_mc_pages does. The pairs before the failed one are copied then, and error is about the ranges of the
 * failed one.
 *
 * # Safety
 *
 * `pairs` points to `nr_pairs` pairs, of which each is as `foliocopy_copy_mc_pages` says; `failed_pair` and `error` are
 * null or point to what their types say.
 */
int foliocopy_copy_mc_folios(const struct foliocopy_folio_pair *pairs,
                             size_t nr_pairs,
                             size_t *failed_pair,
                             struct foliocopy_memory_error *error);

/**
 * Copies like foliocopy_copy_mc_folios, and leaves the destinations where it is told to.
 *
 * # Safety
 *
 * As `foliocopy_copy_mc_folios`.
 */
int foliocopy_copy_mc_folios_locality(const struct foliocopy_folio_pair *pairs,
                                      size_t nr_pairs,
                                      enum foliocopy_locality locality,
                                      size_t *failed_pair,
                                      struct foliocopy_memory_error *error);

/**
 * Copies the pages that can be copied, and zeroes the pages whose source is lost. report is called with each run of those
 * in ascending order: one page, or as many as the kernel says are lost at once. context is passed on to report, which may
 * be null.
 *
 * skipped, unless it is null, gets the number of pages skipped. The answer is that of foliocopy_copy_mc_pages, but
 * -EHWPOISON and -EFAULT only where the destination can't be written: the copy stops there.
 *
 * # Safety
 *
 * As `foliocopy_copy_mc_pages`. `report` doesn't unwind or jump out, and `skipped` is null or points to a `size_t`.
 */
int foliocopy_copy_mc_pages_skipping(void *dst,
                                     const void *src,
                                     size_t nr_pages,
                                     void (*report)(const struct foliocopy_skipped *skipped, void *context),
                                     void *context,
                                     size_t *skipped,
                                     struct foliocopy_memory_error *error);

/**
 * Copies like foliocopy_copy_mc_pages_skipping, and leaves the destination where it is told to.
 *
 * # Safety
 *
 * As `foliocopy_copy_mc_pages_skipping`.
 */
int foliocopy_copy_mc_pages_skipping_locality(void *dst,
                                              const void *src,
                                              size_t nr_pages,
                                              enum foliocopy_locality locality,
                                              void (*report)(const struct foliocopy_skipped *skipped,
                                                             void *context),
                                              void *context,
                                              size_t *skipped,
                                              struct foliocopy_memory_error *error);

/**
 * Installs the handler of SIGBUS that foliocopy_copy_mc_pages needs, the first time it is called. Signals that are no
 * faults of copies go to the action that was installed before. -EOPNOTSUPP where another handler has replaced it since.
 */
int foliocopy_sigbus_install(void);

/**
 * Turns SIGSEGV of the machine-check-safe copies that follow into -EFAULT too, with the cause
 * FOLIOCOPY_CAUSE_NOT_MAPPED or FOLIOCOPY_CAUSE_NOT_ALLOWED, for the life of the process. Off unless it is called.
 *
 * It is for ranges whose addresses stay reserved while mprotect() takes access rights away. It is not for addresses
 * that may be unmapped: into a hole another thread may map memory of its own, and the copy then reads or overwrites
 * that. Signals that are not ours go to the action that stood before. -EOPNOTSUPP where somebody has replaced the
 * handler since; copies answer that too.
 */
int foliocopy_catch_sigsegv(void);

/**
 * Whether faults come to our handlers now: they stand, or those of other copies of foliocopy do and forward to them.
 * The handler of SIGSEGV counts after foliocopy_catch_sigsegv.
 */
bool foliocopy_sigbus_is_installed(void);

/**
 * For programs whose runtime owns SIGBUS: declares that their handler calls foliocopy_sigbus_try_handle,
 * from now on and for as long as pages are copied. Ours is neither put in place nor asked for then. It speaks
 * for SIGSEGV too, where foliocopy_catch_sigsegv was called.
 *
 * # Safety
 *
 * Their handler does so. Otherwise a fault kills the process.
 */
void foliocopy_sigbus_handled_by_caller(void);

/**
 * Called from a handler of SIGBUS or SIGSEGV (SA_SIGINFO) with its three arguments: whether the signal is a fault of
 * a copy of ours, which then goes on when the handler returns. Otherwise nothing was changed.
 * Async-signal-safe. info is the handler's siginfo_t, a type that strict C doesn't have.
 *
 * # Safety
 *
 * The arguments are what the kernel gave the handler.
 */
bool foliocopy_sigbus_try_handle(int signal,
                                 const void *info,
                                 void *context);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FOLIOCOPY_H */
