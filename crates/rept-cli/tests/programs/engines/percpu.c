/* Counts in restartable sequences, and without one where the kernel aborts it; ends by a store
   to nowhere. */
#include <stdio.h>
#include <sys/rseq.h>
#include <unistd.h>

static long count;

static int counts(struct rseq *own)
{
    __asm__ goto(
        ".pushsection sequences, \"aw\"\n"
        ".balign 32\n"
        "3: .long 0, 0\n"
        ".quad 1f, 2f - 1f, 4f\n"
        ".popsection\n"
        "lea 3b(%%rip), %%rax\n"
        "mov %%rax, %[sequence]\n"
        "1: mov %[count], %%rax\n"
        "inc %%rax\n"
        "mov %%rax, %[count]\n"
        "2:\n"
        ".pushsection aborts, \"ax\"\n"
        ".byte 0x0f, 0xb9, 0x3d\n"
        ".long 0x53053053\n" /* the signature that glibc registers */
        "4: jmp %l[aborted]\n"
        ".popsection\n"
        :
        : [sequence] "m"(own->rseq_cs), [count] "m"(count)
        : "rax", "memory", "cc"
        : aborted);
    return 1;
aborted:
    return 0;
}

int main(void)
{
    struct rseq *own = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    for (int i = 0; i < 1000; i++)
        if (!counts(own))
            __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    printf("%ld\n", count);
    fflush(stdout);
    *(volatile int *)0 = 1;
    return 0;
}
