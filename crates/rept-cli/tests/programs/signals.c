/* Asynchronous and irregular control flow: signal handlers, setjmp and longjmp, a jump
   table, indirect calls, recursion; then a crash. */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t caught;
static jmp_buf back;
static sigjmp_buf out;

static void on_usr1(int number)
{
    caught += number;
}

static void on_fault(int number)
{
    (void)number;
    siglongjmp(out, 1);
}

static int dispatch(int operation, int a, int b)
{
    switch (operation) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return a ^ b;
    case 4: return a & b;
    case 5: return a | b;
    case 6: return a << (b & 7);
    case 7: return a >> (b & 7);
    default: return b;
    }
}

__attribute__((noinline)) static int descend(int depth)
{
    if (depth == 0)
        longjmp(back, 42);
    return descend(depth - 1) + 1;
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

int start(void)
{
    int values[24], sum = 0;
    signal(SIGUSR1, on_usr1);
    for (int i = 0; i < 24; i++) {
        values[i] = dispatch(i % 9, i * 7, sum + i) % 1000;
        sum += values[i];
        if (i % 8 == 0)
            raise(SIGUSR1);
    }
    qsort(values, 24, sizeof values[0], by_value);
    if (setjmp(back) == 0)
        sum += descend(10);
    signal(SIGSEGV, on_fault);
    if (sigsetjmp(out, 1) == 0)
        *(volatile int *)8 = sum;
    signal(SIGSEGV, SIG_DFL);
    memset(values, 0, sizeof values);
    *(volatile int *)16 = sum + values[3];
    return sum;
}

int main(void)
{
    return start();
}
