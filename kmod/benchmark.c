// SPDX-License-Identifier: GPL-2.0
/*
 * The benchmark: one request is written to <debugfs>/foliocopy/benchmark, and its samples are read from the same open
 * file, one JSON object a line. Each read runs one round. A signal ends it, and keeps the rounds that were read. The
 * kernel computes no statistics: `foliocopy kernel bench` does, as for user space.
 *
 * A request is a line of words, key=value:
 *
 *	contenders=LIST   at most 16, separated by commas:
 *	                    folio_copy, folio_mc_copy     this kernel's
 *	                    foliocopy, foliocopy-mc       ours
 *	                    PRIMITIVE                     in one piece
 *	                    page:PRIMITIVE                page by page, and a yield after each, as mm/util.c does
 *	                    batch:N                       ours, lists of N folios
 *	                  -mc after a primitive takes its machine-check-safe variant
 *	order=N           of the folios, 0 to 10
 *	folios=N          pairs of folios, copied in shuffled order; default 1
 *	passes=N          times each pair is copied a sample; default 1
 *	warmup=N          times each pair is copied before a sample that is hot; default 1
 *	src_node=N dst_node=N
 *	evict=BYTES       flushes the folios before each sample, and streams this much through the caches; 0 (default)
 *	                  leaves the folios hot
 *	evict_each=1      evicts before each copy instead
 *	each=1            times each copy alone; a sample is their sum. evict_each=1 and times=1 imply it
 *	times=1           adds each copy's nanoseconds to the answer, and how long a reading of the clock takes
 *	rounds=N          each runs every contender, in shuffled order
 *	seed=N            for everything that is shuffled
 */
#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/prandom.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/cacheflush.h>
#include "foliocopy.h"
#include "internal.h"

#define MAX_CONTENDERS	16
#define MAX_REQUEST	1024
#define MAX_FOLIOS	(1U << 18)
#define MAX_ROUNDS	1000000U
#define MAX_TIMES	(1U << 20)
/* The digits of a time, and a comma. */
#define TIME_BYTES	11
#define OUTPUT_BYTES	SZ_8K

enum kind {
	STOCK,
	OURS,
	BATCH,
	BULK,
	PAGE_BY_PAGE,
};

struct contender {
	char name[32];
	enum kind kind;
	bool safe;
	s32 primitive;
	/* The number of folios in a list. */
	unsigned int batch;
};

struct benchmark {
	struct mutex lock;

	struct contender contenders[MAX_CONTENDERS];
	unsigned int nr_contenders;
	unsigned int order;
	unsigned int nr_folios;
	unsigned int passes;
	unsigned int warmup;
	unsigned int evict_each;
	unsigned int each;
	unsigned int keep_times;
	int src_nid;
	int dst_nid;
	u64 evict_bytes;
	unsigned int rounds;
	u64 seed;

	bool accepted;
	unsigned int round;
	bool ended;
	struct rnd_state random;
	struct folio **src;
	struct folio **dst;
	unsigned int *sequence;
	/* One list for each folio; a batch of N uses each Nth. */
	struct list_head *src_lists;
	struct list_head *dst_lists;
	void *evict;
	u32 *times;
	size_t nr_times;

	char *output;
	size_t output_size;
	size_t output_bytes;
	size_t output_read;
};

/* One process at a time: two would disturb each other's measurements. */
static atomic_t busy = ATOMIC_INIT(0);

static void __printf(2, 3) say(struct benchmark *bench, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	bench->output_bytes += vscnprintf(bench->output + bench->output_bytes,
					  bench->output_size - bench->output_bytes, format, arguments);
	va_end(arguments);
}

/* The next read gets the message, and the writer the error code. */
#define refuse(bench, error, format, ...) \
	({ say(bench, "{\"error\":\"" format "\"}\n", ##__VA_ARGS__); error; })

static int parse_number(struct benchmark *bench, const char *key, const char *value, u64 least, u64 most, u64 *number)
{
	u64 given;

	if (kstrtou64(value, 0, &given) || given < least || given > most)
		return refuse(bench, -EINVAL, "%s is not a number from %llu to %llu", key, least, most);
	*number = given;
	return 0;
}

static int parse_count(struct benchmark *bench, const char *key, const char *value, u64 least, u64 most,
		       unsigned int *count)
{
	u64 number;
	int error = parse_number(bench, key, value, least, most, &number);

	if (!error)
		*count = number;
	return error;
}

static int parse_contender(struct benchmark *bench, const char *name)
{
	struct contender *one = &bench->contenders[bench->nr_contenders];
	const char *primitive = name;
	size_t bytes;

	if (bench->nr_contenders == MAX_CONTENDERS)
		return refuse(bench, -EINVAL, "more than %d contenders", MAX_CONTENDERS);
	if (!*name || strscpy(one->name, name, sizeof(one->name)) < 0)
		return refuse(bench, -EINVAL, "a contender's name is empty or too long");
	bench->nr_contenders++;
	one->primitive = FOLIOCOPY_BY_POLICY;
	if (!strcmp(name, "folio_copy") || !strcmp(name, "folio_mc_copy")) {
		one->kind = STOCK;
		one->safe = !strcmp(name, "folio_mc_copy");
		return 0;
	}
	if (!strcmp(name, "foliocopy") || !strcmp(name, "foliocopy-mc")) {
		one->kind = OURS;
		one->safe = !strcmp(name, "foliocopy-mc");
		return 0;
	}
	if (!strncmp(name, "batch:", 6)) {
		one->kind = BATCH;
		one->safe = true;
		return parse_count(bench, "batch", name + 6, 1, MAX_FOLIOS, &one->batch);
	}
	one->kind = BULK;
	if (!strncmp(primitive, "page:", 5)) {
		one->kind = PAGE_BY_PAGE;
		primitive += 5;
	}
	bytes = strlen(primitive);
	if (bytes > 3 && !strcmp(primitive + bytes - 3, "-mc")) {
		one->safe = true;
		bytes -= 3;
	}
	one->primitive = foliocopy_engine_primitive(primitive, bytes);
	if (one->primitive < 0 || !foliocopy_engine_primitive_available(one->primitive)) {
		char shown[sizeof(one->name)];

	/* The name goes into JSON. */
		string_escape_mem(one->name, strlen(one->name), shown, sizeof(shown), ESCAPE_NAP | ESCAPE_HEX, "\"\\");
		shown[min(sizeof(shown) - 1, strlen(one->name))] = '\0';
		strreplace(shown, '\\', '/');
		strreplace(shown, '"', '/');
		return refuse(bench, -EINVAL, "no contender %s on this CPU", shown);
	}
	return 0;
}

static int parse_node(struct benchmark *bench, const char *key, const char *value, int *nid)
{
	u64 number;
	int error = parse_number(bench, key, value, 0, MAX_NUMNODES - 1, &number);

	if (error)
		return error;
	if (!node_state(number, N_MEMORY))
		return refuse(bench, -EINVAL, "%s: node %llu has no memory", key, number);
	*nid = number;
	return 0;
}

static int parse_word(struct benchmark *bench, char *word)
{
	char *key = strsep(&word, "="), *name;
	int error;

	if (!word)
		return refuse(bench, -EINVAL, "a request is words like key=value");
	if (!strcmp(key, "contenders")) {
		while ((name = strsep(&word, ","))) {
			error = parse_contender(bench, name);
			if (error)
				return error;
		}
		return 0;
	}
	if (!strcmp(key, "src_node"))
		return parse_node(bench, "src_node", word, &bench->src_nid);
	if (!strcmp(key, "dst_node"))
		return parse_node(bench, "dst_node", word, &bench->dst_nid);
	if (!strcmp(key, "evict"))
		return parse_number(bench, "evict", word, 0, SZ_1G, &bench->evict_bytes);
	if (!strcmp(key, "seed"))
		return parse_number(bench, "seed", word, 0, U64_MAX, &bench->seed);
	if (!strcmp(key, "order"))
		return parse_count(bench, "order", word, 0, MAX_PAGE_ORDER, &bench->order);
	if (!strcmp(key, "folios"))
		return parse_count(bench, "folios", word, 1, MAX_FOLIOS, &bench->nr_folios);
	if (!strcmp(key, "passes"))
		return parse_count(bench, "passes", word, 1, MAX_ROUNDS, &bench->passes);
	if (!strcmp(key, "warmup"))
		return parse_count(bench, "warmup", word, 0, MAX_ROUNDS, &bench->warmup);
	if (!strcmp(key, "evict_each"))
		return parse_count(bench, "evict_each", word, 0, 1, &bench->evict_each);
	if (!strcmp(key, "each"))
		return parse_count(bench, "each", word, 0, 1, &bench->each);
	if (!strcmp(key, "times"))
		return parse_count(bench, "times", word, 0, 1, &bench->keep_times);
	if (!strcmp(key, "rounds"))
		return parse_count(bench, "rounds", word, 1, MAX_ROUNDS, &bench->rounds);
	return refuse(bench, -EINVAL, "an unknown key; known are contenders, order, folios, passes, warmup, src_node, dst_node, evict, evict_each, each, times, rounds, seed");
}

static int parse(struct benchmark *bench, char *request)
{
	char *word;
	int error;

	bench->nr_folios = bench->passes = bench->warmup = bench->rounds = 1;
	bench->evict_each = bench->each = bench->keep_times = 0;
	bench->src_nid = bench->dst_nid = numa_mem_id();
	while ((word = strsep(&request, " \t\n"))) {
		error = *word ? parse_word(bench, word) : 0;
		if (error)
			return error;
	}
	if (!bench->nr_contenders)
		return refuse(bench, -EINVAL, "no contenders");
	if (bench->evict_each && !bench->evict_bytes)
		return refuse(bench, -EINVAL, "evict_each=1 goes with evict=BYTES");
	if (bench->keep_times && (u64)bench->nr_folios * bench->passes > MAX_TIMES)
		return refuse(bench, -EINVAL, "times=1 keeps those of up to %u copies", MAX_TIMES);
	bench->each |= bench->evict_each | bench->keep_times;
	return 0;
}

/* Lets others run. Returns whether a signal ends the benchmark, which may take long. */
static bool is_interrupted(void)
{
	cond_resched();
	return signal_pending(current);
}

static int allocate(struct benchmark *bench)
{
	gfp_t gfp = GFP_KERNEL | __GFP_THISNODE | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	size_t nr_times = bench->keep_times ? (size_t)bench->nr_folios * bench->passes : 0;
	size_t output_size = OUTPUT_BYTES + nr_times * TIME_BYTES * bench->nr_contenders;
	u64 wanted = (2ULL * bench->nr_folios << (bench->order + PAGE_SHIFT)) + bench->evict_bytes +
		     nr_times * sizeof(*bench->times) + output_size;
	u64 limit = (u64)max(si_mem_available(), 0L) * PAGE_SIZE / 2;
	unsigned int i;

	if (wanted > limit)
		return refuse(bench, -ENOMEM, "needs %llu bytes, and half of what is available is %llu", wanted, limit);
	bench->src = kvcalloc(bench->nr_folios, sizeof(*bench->src), GFP_KERNEL);
	bench->dst = kvcalloc(bench->nr_folios, sizeof(*bench->dst), GFP_KERNEL);
	bench->sequence = kvcalloc(bench->nr_folios, sizeof(*bench->sequence), GFP_KERNEL);
	bench->src_lists = kvcalloc(bench->nr_folios, sizeof(*bench->src_lists), GFP_KERNEL);
	bench->dst_lists = kvcalloc(bench->nr_folios, sizeof(*bench->dst_lists), GFP_KERNEL);
	if (!bench->src || !bench->dst || !bench->sequence || !bench->src_lists || !bench->dst_lists)
		return refuse(bench, -ENOMEM, "no memory for the list of folios");
	if (output_size > bench->output_size) {
		char *output = kvmalloc(output_size, GFP_KERNEL);

		if (!output)
			return refuse(bench, -ENOMEM, "no memory for %zu bytes of an answer", output_size);
		kvfree(bench->output);
		bench->output = output;
		bench->output_size = output_size;
	}
	if (nr_times) {
		bench->times = kvcalloc(nr_times, sizeof(*bench->times), GFP_KERNEL);
		if (!bench->times)
			return refuse(bench, -ENOMEM, "no memory for the times of %zu copies", nr_times);
	}
	if (bench->evict_bytes) {
		bench->evict = vmalloc(bench->evict_bytes);
		if (!bench->evict)
			return refuse(bench, -ENOMEM, "no memory for %llu bytes to evict with", bench->evict_bytes);
	}
	for (i = 0; i < bench->nr_folios; i++) {
		bench->sequence[i] = i;
		bench->src[i] = __folio_alloc_node(gfp, bench->order, bench->src_nid);
		bench->dst[i] = __folio_alloc_node(gfp, bench->order, bench->dst_nid);
		if (!bench->src[i] || !bench->dst[i])
			return refuse(bench, -ENOMEM, "node %d has no free folio of order %u any more",
				      bench->src[i] ? bench->dst_nid : bench->src_nid, bench->order);
		if (is_interrupted())
			return -EINTR;
	}
	return 0;
}

static void release(struct benchmark *bench)
{
	unsigned int i;

	for (i = 0; i < bench->nr_folios; i++) {
		if (bench->src && bench->src[i])
			folio_put(bench->src[i]);
		if (bench->dst && bench->dst[i])
			folio_put(bench->dst[i]);
	}
	kvfree(bench->src);
	kvfree(bench->dst);
	kvfree(bench->sequence);
	kvfree(bench->src_lists);
	kvfree(bench->dst_lists);
	kvfree(bench->times);
	vfree(bench->evict);
	bench->src = bench->dst = NULL;
	bench->sequence = NULL;
	bench->src_lists = bench->dst_lists = NULL;
	bench->times = NULL;
	bench->evict = NULL;
}

/* Copies as mm/util.c does, but with another instruction. */
static int copy_page_by_page(const struct contender *one, struct folio *dst, struct folio *src)
{
	long i = 0, nr_pages = folio_nr_pages(src);
	size_t left = 0;
	u32 trap;

	for (;;) {
		void *to = kmap_local_folio(dst, i * PAGE_SIZE), *from = kmap_local_folio(src, i * PAGE_SIZE);

		if (one->safe)
			left = foliocopy_engine_copy_mc(one->primitive, to, from, PAGE_SIZE, &trap);
		else
			foliocopy_engine_copy(one->primitive, to, from, PAGE_SIZE);
		kunmap_local(from);
		kunmap_local(to);
		if (left)
			return -EHWPOISON;
		if (++i == nr_pages)
			return 0;
		cond_resched();
	}
}

static int copy(const struct contender *one, struct folio *dst, struct folio *src)
{
	u32 trap;

	switch (one->kind) {
	case STOCK:
		if (one->safe)
			return folio_mc_copy(dst, src);
		folio_copy(dst, src);
		return 0;
	case OURS:
		if (one->safe)
			return foliocopy_folio_mc_copy(dst, src);
		foliocopy_folio_copy(dst, src);
		return 0;
	case BULK:
		if (one->safe)
			return foliocopy_engine_copy_mc(one->primitive, folio_address(dst),
							folio_address(src), folio_size(src), &trap) ? -EHWPOISON : 0;
		foliocopy_engine_copy(one->primitive, folio_address(dst), folio_address(src),
				      folio_size(src));
		return 0;
	case PAGE_BY_PAGE:
		return copy_page_by_page(one, dst, src);
	case BATCH:
		break;
	}
	return -EINVAL;
}

static void shuffle(struct benchmark *bench, unsigned int *sequence, unsigned int length)
{
	unsigned int i;

	for (i = length; i > 1; i--) {
		/* Not as an argument of swap(), a macro that would draw twice. */
		unsigned int other = prandom_u32_state(&bench->random) % i;

		swap(sequence[i - 1], sequence[other]);
	}
}

/*
 * Evicts as the bench in user space does: flushes the folios, and streams through the buffer. A stream alone would leave
 * lines in the cache that were used twice. A stream of stores would cause write-backs during the copies.
 */
static void evict(struct benchmark *bench)
{
	unsigned int i;
	u64 at;

	for (i = 0; i < bench->nr_folios; i++) {
		clflush_cache_range(folio_address(bench->src[i]), folio_size(bench->src[i]));
		clflush_cache_range(folio_address(bench->dst[i]), folio_size(bench->dst[i]));
		cond_resched();
	}
	for (at = 0; at < bench->evict_bytes; at += L1_CACHE_BYTES) {
		READ_ONCE(*(u64 *)(bench->evict + at));
		if (!(at % SZ_1M))
			cond_resched();
	}
}

/* Links the folios to the lists of a batch, in the order in which they are copied. */
static void link_folios(struct benchmark *bench, const struct contender *one)
{
	unsigned int i;

	for (i = 0; one->kind == BATCH && i < bench->nr_folios; i++) {
		unsigned int list = i - i % one->batch;

		if (i == list) {
			INIT_LIST_HEAD(&bench->src_lists[list]);
			INIT_LIST_HEAD(&bench->dst_lists[list]);
		}
		list_add_tail(&bench->src[bench->sequence[i]]->lru, &bench->src_lists[list]);
		list_add_tail(&bench->dst[bench->sequence[i]]->lru, &bench->dst_lists[list]);
	}
}

/* Copies the folio at that place of the sequence. A batch copies a whole list at its first folio, and nothing at the others. */
static int copy_at(struct benchmark *bench, const struct contender *one, unsigned int place)
{
	unsigned int at = bench->sequence[place], copied;

	if (one->kind != BATCH)
		return copy(one, bench->dst[at], bench->src[at]);
	if (place % one->batch)
		return 0;
	return foliocopy_folios_mc_copy(&bench->dst_lists[place], &bench->src_lists[place], &copied);
}

static int copy_all(struct benchmark *bench, const struct contender *one, unsigned int passes)
{
	/* One turn is 32 MiB, which is a power of two of folios. */
	unsigned int turn = max(SZ_32M >> (bench->order + PAGE_SHIFT), 1) - 1, i;

	while (passes--) {
		for (i = 0; i < bench->nr_folios; i++) {
			int error = copy_at(bench, one, i);

			if (error)
				return error;
			if ((i & turn) == turn && is_interrupted())
				return -EINTR;
		}
		if (is_interrupted())
			return -EINTR;
	}
	return 0;
}

/* Compares one copy of each contender, before anything is timed. */
static int verify(struct benchmark *bench)
{
	unsigned int contender, i;
	size_t word;

	for (i = 0; i < bench->nr_folios; i++) {
		u64 *words = folio_address(bench->src[i]);

		for (word = 0; word < folio_size(bench->src[i]) / sizeof(u64); word++)
			words[word] = ((u64)i << 40 | word) * 0x9e3779b97f4a7c15ULL;
		if (is_interrupted())
			return -EINTR;
	}
	for (contender = 0; contender < bench->nr_contenders; contender++) {
		const struct contender *one = &bench->contenders[contender];
		int error;

		for (i = 0; i < bench->nr_folios; i++)
			memset(folio_address(bench->dst[i]), 0xcc, folio_size(bench->dst[i]));
		link_folios(bench, one);
		error = copy_all(bench, one, 1);
		if (error == -EINTR)
			return error;
		for (i = 0; i < bench->nr_folios; i++) {
			struct folio *dst = bench->dst[i], *src = bench->src[i];

			if (error || memcmp(folio_address(dst), folio_address(src), folio_size(src)))
				return refuse(bench, -EIO, "%s copied wrongly (%d)", one->name, error);
			if (is_interrupted())
				return -EINTR;
		}
	}
	return 0;
}

/* Times each copy alone. A time above four seconds is kept as four seconds. */
static int copy_each(struct benchmark *bench, const struct contender *one, u64 *nanoseconds)
{
	unsigned int turn = max(SZ_32M >> (bench->order + PAGE_SHIFT), 1) - 1, pass, i;

	*nanoseconds = 0;
	bench->nr_times = 0;
	for (pass = 0; pass < bench->passes; pass++) {
		for (i = 0; i < bench->nr_folios; i++) {
			u64 started, took;
			int error;

			if (one->kind == BATCH && i % one->batch)
				continue;
			if (bench->evict_each)
				evict(bench);
			started = ktime_get_ns();
			error = copy_at(bench, one, i);
			took = ktime_get_ns() - started;
			if (error)
				return error;
			*nanoseconds += took;
			if (bench->times)
				bench->times[bench->nr_times++] = min(took, (u64)U32_MAX);
			if ((bench->evict_each || (i & turn) == turn) && is_interrupted())
				return -EINTR;
		}
		if (is_interrupted())
			return -EINTR;
	}
	return 0;
}

/* The shortest time of a reading of the clock. */
static u64 clock_nanoseconds(void)
{
	u64 least = U64_MAX, last = ktime_get_ns();
	unsigned int i;

	for (i = 0; i < 64; i++) {
		u64 now = ktime_get_ns();

		least = min(least, now - last);
		last = now;
	}
	return least;
}

static void say_times(struct benchmark *bench)
{
	size_t i;

	say(bench, ",\"clock\":%llu,\"times\":[", clock_nanoseconds());
	for (i = 0; i < bench->nr_times; i++) {
		say(bench, i ? ",%u" : "%u", bench->times[i]);
		if (!(i % 4096))
			cond_resched();
	}
	say(bench, "]");
}

/* Runs a round: every contender in shuffled order, each over the folios in another order. */
static int run_round(struct benchmark *bench)
{
	u64 bytes = ((u64)bench->passes * bench->nr_folios) << (bench->order + PAGE_SHIFT);
	unsigned int turn[MAX_CONTENDERS], i;

	for (i = 0; i < bench->nr_contenders; i++)
		turn[i] = i;
	shuffle(bench, turn, bench->nr_contenders);
	for (i = 0; i < bench->nr_contenders; i++) {
		const struct contender *one = &bench->contenders[turn[i]];
		u64 started, nanoseconds = 0;
		int cpu, error = 0;

		shuffle(bench, bench->sequence, bench->nr_folios);
		link_folios(bench, one);
		/* The caller should pin itself. If it did not, this keeps a sample on one CPU. */
		migrate_disable();
		cpu = smp_processor_id();
		if (!bench->evict_bytes)
			error = copy_all(bench, one, bench->warmup);
		else if (!bench->evict_each)
			evict(bench);
		if (!error && bench->each) {
			error = copy_each(bench, one, &nanoseconds);
		} else if (!error) {
			started = ktime_get_ns();
			error = copy_all(bench, one, bench->passes);
			nanoseconds = ktime_get_ns() - started;
		}
		migrate_enable();
		if (error == -EINTR)
			return error;
		if (error)
			return refuse(bench, error, "%s failed (%d)", one->name, error);
		say(bench, "{\"round\":%u,\"contender\":\"%s\",\"cpu\":%d,\"bytes\":%llu,\"nanoseconds\":%llu",
		    bench->round, one->name, cpu, bytes, nanoseconds);
		if (bench->times)
			say_times(bench);
		say(bench, "}\n");
		cond_resched();
	}
	bench->round++;
	return 0;
}

static int benchmark_open(struct inode *inode, struct file *file)
{
	struct benchmark *bench;

	if (atomic_cmpxchg(&busy, 0, 1))
		return -EBUSY;
	bench = kzalloc(sizeof(*bench), GFP_KERNEL);
	if (bench) {
		bench->output_size = OUTPUT_BYTES;
		bench->output = kvmalloc(OUTPUT_BYTES, GFP_KERNEL);
	}
	if (!bench || !bench->output) {
		kfree(bench);
		atomic_set(&busy, 0);
		return -ENOMEM;
	}
	mutex_init(&bench->lock);
	file->private_data = bench;
	return nonseekable_open(inode, file);
}

static int benchmark_release(struct inode *inode, struct file *file)
{
	struct benchmark *bench = file->private_data;

	release(bench);
	kvfree(bench->output);
	kfree(bench);
	atomic_set(&busy, 0);
	return 0;
}

static ssize_t benchmark_write(struct file *file, const char __user *buffer, size_t bytes, loff_t *offset)
{
	struct benchmark *bench = file->private_data;
	char *request;
	int error;

	if (bytes > MAX_REQUEST)
		return -E2BIG;
	request = memdup_user_nul(buffer, bytes);
	if (IS_ERR(request))
		return PTR_ERR(request);
	mutex_lock(&bench->lock);
	error = -EBUSY;
	/* An open file takes one request; after a refusal, another. */
	if (!bench->accepted) {
		bench->output_bytes = bench->output_read = 0;
		bench->nr_contenders = 0;
		bench->order = 0;
		bench->evict_bytes = 0;
		bench->seed = 0;
		error = parse(bench, request);
		if (!error)
			error = allocate(bench);
		prandom_seed_state(&bench->random, bench->seed);
		if (!error)
			error = verify(bench);
		if (error)
			release(bench);
		bench->accepted = !error;
	}
	mutex_unlock(&bench->lock);
	kfree(request);
	return error ?: bytes;
}

static ssize_t benchmark_read(struct file *file, char __user *buffer, size_t bytes, loff_t *offset)
{
	struct benchmark *bench = file->private_data;
	ssize_t done = 0;

	mutex_lock(&bench->lock);
	if (bench->output_read == bench->output_bytes) {
		bench->output_read = bench->output_bytes = 0;
		if (bench->accepted && bench->round < bench->rounds && !bench->ended)
			done = run_round(bench);
		if (done == -EINTR) {
			/* The samples of an incomplete round have no pairs. */
			bench->output_bytes = 0;
			bench->ended = true;
		} else if (done) {
			bench->ended = true;
			done = 0;
		}
	}
	if (!done) {
		done = min(bytes, bench->output_bytes - bench->output_read);
		if (copy_to_user(buffer, bench->output + bench->output_read, done))
			done = -EFAULT;
		else
			bench->output_read += done;
	}
	mutex_unlock(&bench->lock);
	return done;
}

static const struct file_operations benchmark_fops = {
	.owner = THIS_MODULE,
	.open = benchmark_open,
	.read = benchmark_read,
	.write = benchmark_write,
	.release = benchmark_release,
};

void foliocopy_benchmark_init(struct dentry *debugfs)
{
	debugfs_create_file("benchmark", 0600, debugfs, NULL, &benchmark_fops);
}
