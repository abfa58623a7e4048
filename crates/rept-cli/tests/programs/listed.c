/* Changes its memory in many ways, reads the kernel's list of it line by line and keeps each line in a
   chain by its length; then it follows a chain too far. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

struct line {
    struct line *next;
    unsigned long start;
    char text[];
};

static struct line *chains[8];
static unsigned long sum;

static void keep(const char *text, size_t length)
{
    struct line *line = malloc(sizeof *line + length + 1);
    line->start = strtoul(text, 0, 16);
    memcpy(line->text, text, length + 1);
    line->next = chains[length % 8];
    chains[length % 8] = line;
}

static void *map(void *at, size_t pages, int protection, int flags)
{
    return mmap(at, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

int main(void)
{
    char *first = map(0, 16, PROT_READ | PROT_WRITE, 0);
    mprotect(first + 4 * PAGE, 2 * PAGE, PROT_NONE);
    munmap(first + 10 * PAGE, 3 * PAGE);
    map(first + 11 * PAGE, 1, PROT_READ, MAP_FIXED);
    mprotect(first + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE);
    char *second = map(0, 3, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    map(0, 2, PROT_READ | PROT_WRITE, MAP_STACK);
    char *third = malloc(200000), *fourth = malloc(100000);
    first[0] = second[0] = third[0] = fourth[0] = 1;
    FILE *list = fopen("/proc/self/maps", "r");
    char *text = 0;
    size_t size = 0;
    for (ssize_t length; (length = getline(&text, &size, list)) > 0;)
        keep(text, length);
    fclose(list);
    struct line *line = chains[sum % 8];
    while (!line)
        line = chains[++sum % 8];
    for (;;) {
        sum = sum * 31 + line->start + strlen(line->text);
        line = line->next;
        if (sum == 12345)
            break;
    }
    return 0;
}
