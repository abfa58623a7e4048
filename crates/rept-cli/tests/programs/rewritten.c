/* Writes code into memory that can be written and run, runs it, and writes other code to the same place
 * several times; tells no one, and ends in an instruction that is none.
 *
 * usage: rewritten WAY
 *
 * path: each version branches in its own way. constant: they differ in a constant only. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

static volatile unsigned told[64];
static unsigned work[256];

static unsigned use(unsigned seed) {
    for (unsigned i = 0; i < 256; i++)
        work[i] = work[(i * 7 + seed) & 255] + i;
    return work[seed & 255];
}

int main(int count, char **arguments) {
    /* mov ecx, edi; l: add eax, 1; dec ecx; jne l; ret */
    static const unsigned char adds[] = {0x89, 0xf9, 0x31, 0xc0, 0x83, 0xc0, 1, 0xff, 0xc9, 0x75, 0xf9, 0xc3};
    /* mov ecx, edi; l: test cl, 1; je e; add eax, 5; e: dec ecx; jne l; ret */
    static const unsigned char odd[] = {0x89, 0xf9, 0x31, 0xc0, 0xf6, 0xc1, 1,    0x74, 3,
                                        0x83, 0xc0, 5,    0xff, 0xc9, 0x75, 0xf4, 0xc3};
    /* mov eax, edi; add eax, 7; ret */
    static const unsigned char plain[] = {0x89, 0xf8, 0x83, 0xc0, 7, 0xc3};
    static const unsigned char *const versions[] = {odd, adds, plain, odd, plain};
    static const unsigned char sizes[] = {sizeof odd, sizeof adds, sizeof plain, sizeof odd, sizeof plain};
    int constant = arguments[1][0] == 'c';
    unsigned char *place = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED)
        return 1;
    unsigned last = 0;
    for (unsigned version = 0; version < 5; version++) {
        const unsigned char *code = constant ? plain : versions[version];
        memcpy(place, code, constant ? sizeof plain : sizes[version]);
        if (constant)
            place[4] = 7 + version;
        for (unsigned round = 0; round < 40; round++) {
            last = ((unsigned (*)(unsigned))place)(9 + (round & 3));
            told[(version * 8 + round) & 63] = last;
            last += use(last);
        }
    }
    told[0] = last;
    __builtin_trap();
}
