/* Makes code at run time, tells of it in a jitdump file, and crashes in it.
 *
 * usage: jit FOLDER
 *
 * Three functions: "first" and "second" at the same address, one after the other, a copy of
 * "second" behind, and "last", which reads through a null pointer. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#define PLACE ((unsigned char *)0x7a0000000000)
#define LOAD 0
#define MOVE 1
#define DEBUG_INFO 2
#define CLOSE 3
#define UNWINDING 4

static int dump;

static void record(uint32_t kind, const void *body, uint32_t size) {
    uint32_t head[2] = {kind, 16 + size};
    uint64_t now = __rdtsc();
    write(dump, head, 8);
    write(dump, &now, 8);
    write(dump, body, size);
}

static void line(unsigned char *at, uint32_t number, const char *file) {
    struct {
        uint64_t at, count, entry;
        uint32_t line, discriminator;
        char file[16];
    } body = {(uint64_t)at, 1, (uint64_t)at, number, 0, ""};
    strcpy(body.file, file);
    record(DEBUG_INFO, &body, 32 + strlen(file) + 1);
}

static void told(unsigned char *at, const unsigned char *code, uint64_t size, uint64_t index, const char *name) {
    unsigned char body[256];
    uint32_t ids[2] = {getpid(), getpid()};
    uint64_t words[4] = {(uint64_t)at, (uint64_t)at, size, index};
    memcpy(body, ids, 8);
    memcpy(body + 8, words, 32);
    strcpy((char *)body + 40, name);
    uint64_t unwinding[3] = {0, 0, 0};
    record(UNWINDING, unwinding, 24);
    memcpy(body + 40 + strlen(name) + 1, code, size);
    record(LOAD, body, 40 + strlen(name) + 1 + size);
}

static void make(unsigned char *at, const unsigned char *code, uint64_t size) {
    mprotect(PLACE, 4096, PROT_READ | PROT_WRITE);
    memcpy(at, code, size);
}

static int run(unsigned char *at) {
    mprotect(PLACE, 4096, PROT_READ | PROT_EXEC);
    return ((int (*)(void))at)();
}

int main(int count, char **arguments) {
    /* mov ecx, 40; l: add eax, 1; dec ecx; jne l; ret */
    static const unsigned char first[] = {0xb9, 40, 0, 0, 0, 0x83, 0xc0, 1, 0xff, 0xc9, 0x75, 0xf9, 0xc3};
    /* mov ecx, 30; l: nop; imul eax, eax, 3; dec ecx; jne l; ret */
    static const unsigned char second[] = {0xb9, 30, 0, 0, 0, 0x90, 0x6b, 0xc0, 3, 0xff, 0xc9, 0x75, 0xf8, 0xc3};
    /* xor eax, eax; mov eax, [rax] */
    static const unsigned char last[] = {0x31, 0xc0, 0x8b, 0x00, 0xc3};
    char path[4096];
    snprintf(path, sizeof path, "%s/jit-%d.dump", arguments[1], getpid());
    dump = open(path, O_CREAT | O_TRUNC | O_RDWR, 0644);
    uint32_t halves[6] = {0x4a695444, 1, 40, 62, 0, getpid()};
    uint64_t words[2] = {__rdtsc(), 1};
    write(dump, halves, 24);
    write(dump, words, 16);
    mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, dump, 0);
    if (mmap(PLACE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != PLACE)
        return 1;

    make(PLACE, first, sizeof first);
    line(PLACE, 11, "made.lua");
    told(PLACE, first, sizeof first, 0, "first");
    run(PLACE);

    make(PLACE, second, sizeof second);
    told(PLACE, second, sizeof second, 1, "second");
    run(PLACE);

    make(PLACE + 256, second, sizeof second);
    uint32_t ids[2] = {getpid(), getpid()};
    uint64_t moved[6] = {0, (uint64_t)PLACE + 256, (uint64_t)PLACE, (uint64_t)PLACE + 256, sizeof second, 1};
    memcpy(moved, ids, 8);
    record(MOVE, moved, sizeof moved);
    run(PLACE + 256);

    make(PLACE + 512, last, sizeof last);
    line(PLACE + 512, 33, "made.lua");
    told(PLACE + 512, last, sizeof last, 2, "last");
    run(PLACE + 512);
    return 2;
}
