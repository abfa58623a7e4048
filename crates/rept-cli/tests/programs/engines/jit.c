/* Code that is written while it runs, in four ways: in a page that stays writable, through a
   second mapping of the same memory, in a page that is writable and executable in turns, and
   over itself; ends in what it wrote last. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const unsigned char returns[] = { 0xb8, 0, 0, 0, 0, 0xc3 };
static const unsigned char crashes[] = { 0x31, 0xc0, 0x8b, 0x00, 0xc3 };

static int writable(unsigned char *page)
{
    int sum = 0;
    for (int i = 0; i < 50; i++) {
        memcpy(page, returns, sizeof returns);
        page[1] = i;
        sum += ((int (*)(void))page)();
    }
    return sum;
}

static int twice(void)
{
    int fd = memfd_create("code", 0), sum = 0;
    ftruncate(fd, 4096);
    unsigned char *write_here = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *run_here = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    for (int i = 0; i < 50; i++) {
        memcpy(write_here, returns, sizeof returns);
        write_here[1] = i;
        sum += ((int (*)(void))run_here)();
    }
    return sum;
}

static int in_turns(void)
{
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int sum = 0;
    for (int i = 0; i < 50; i++) {
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
        memcpy(page, returns, sizeof returns);
        page[1] = i;
        mprotect(page, 4096, PROT_READ | PROT_EXEC);
        sum += ((int (*)(void))page)();
    }
    return sum;
}

int main(void)
{
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (writable(page) != 1225 || twice() != 1225)
        return 1;
    /* Behind it there is nothing to decode: see irregular.c. */
    if (in_turns() != 1225)
        return 1;
    memcpy(page, crashes, sizeof crashes);
    return ((int (*)(void))page)();
}
