/* Says that it is in a restartable sequence, as a program that uses them does; ends by a store
   to nowhere. */
#include <stdint.h>
#include <sys/rseq.h>
#include <unistd.h>

extern char abort_here[];
__asm__(".long 0x53053053\nabort_here: ud2"); /* the signature that glibc registers */
static struct rseq_cs sequence __attribute__((aligned(32)));

int main(void)
{
    struct rseq *own = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    sequence.start_ip = 0x1000;
    sequence.post_commit_offset = 1;
    sequence.abort_ip = (uintptr_t)abort_here;
    own->rseq_cs = (uintptr_t)&sequence;
    *(volatile int *)0 = getpid();
    return 0;
}
