// Reads where the kernel tells a thread its processor, and crashes; the kernel writes there at any
// time, and nothing that the program does shows it.
#include <stddef.h>

extern const ptrdiff_t __rseq_offset __attribute__((weak)); // glibc since 2.35
extern const unsigned __rseq_size __attribute__((weak));

static __attribute__((noinline)) void forget(const char *area)
{
	asm volatile("mov 4(%0), %%ecx\n\tmov $0, %%ecx" ::"r"(area) : "ecx");
}

int main(void)
{
	char *thread;
	if (!&__rseq_offset || !&__rseq_size || !__rseq_size)
		return 0;
	asm("mov %%fs:0, %0" : "=r"(thread));
	forget(thread + __rseq_offset);
	*(volatile int *)16 = 1;
	return 0;
}
