/* Ends in a loop, or a recursion, of which no packet tells how often it goes round. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct node {
    struct node *next;
    long visits;
};

static struct node *list(int nodes) {
    struct node *head = (struct node *)8; /* reading it faults */
    for (int i = 0; i < nodes; i++) {
        struct node *node = malloc(sizeof *node);
        node->next = head;
        node->visits = i;
        head = node;
    }
    return head;
}

__attribute__((noinline)) static void walk(struct node *at) {
    for (;;)
        at = *(struct node *volatile *)&at->next;
}

__attribute__((noinline)) static void count(struct node *at, long *rounds) {
    for (;;) {
        at->visits++;
        ++*rounds;
        at = at->next;
    }
}

static long depths;

/* A few hundred of these fill the stack. */
__attribute__((noinline)) long recurse(long depth) {
    volatile char frame[16384];
    frame[0] = depth;
    depths = depth;
    return recurse(depth + 1) + depths + frame[0];
}

__attribute__((noinline)) static void fill(char *at, long bytes) {
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(0x41) : "memory");
}

/* The second page is not there. */
static void overrun(void) {
    char *pages = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 4096, 4096);
    memset(pages, 1, 100);
    fill(pages + 4000, 200);
}

int main(int argc, char **argv) {
    long rounds = 0;
    struct node *head = list(40);
    if (argc < 2 || !strcmp(argv[1], "walk"))
        walk(head);
    if (!strcmp(argv[1], "count"))
        count(head, &rounds);
    if (!strcmp(argv[1], "fill"))
        overrun();
    return (int)recurse(rounds);
}
