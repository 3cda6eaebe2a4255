/*
 * Keeps a SIGBUS handler of the program's own, and survives bad memory all the same.
 *
 * A virtual machine monitor or a language runtime often owns SIGBUS. Its handler asks the library first.
 *
 *	cc -o own_handler own_handler.c $(pkg-config --cflags --libs foliocopy) && ./own_handler
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <foliocopy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* How many faults were those of a copy. */
static volatile sig_atomic_t faults;

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	if (foliocopy_sigbus_try_handle(signal, info, context))
		faults++;
	else
		abort();
}

int main(void)
{
	struct sigaction action = { 0 };
	struct foliocopy_memory_error error;
	FILE *file = tmpfile();
	char byte;
	void *src;
	int result;

	action.sa_sigaction = on_sigbus;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	if (sigaction(SIGBUS, &action, NULL) != 0)
		return EXIT_FAILURE;
	/* Said once: from now on a fault of a copy comes to on_sigbus, which asks the library. */
	foliocopy_sigbus_handled_by_caller();

	/* A page of an empty file: nothing is behind the address. */
	src = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);
	if (src == MAP_FAILED)
		return EXIT_FAILURE;
	result = foliocopy_copy_mc(&byte, src, 1, &error);
	if (result != -EFAULT && result != -EHWPOISON) {
		fprintf(stderr, "foliocopy_copy_mc: %s\n", foliocopy_last_error());
		return EXIT_FAILURE;
	}
	printf("the copy answered %d; our own handler saw faults of it: %d\n", result, (int)faults);
	return faults != 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
