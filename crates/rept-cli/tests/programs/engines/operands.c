/* Memory operands of every kind: those of known length, those that depend on a counter, on a
   mask, or on a vector of addresses, those that may not be there; then a crash. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t words[64] __attribute__((aligned(64)));
static char from[256], to[256];
static __thread uint64_t own = 5;

static void stack(void)
{
    uint64_t flags;
    __asm__ volatile("push %1\n\tpop %1\n\tpush $-3\n\tpop %0\n\tpushf\n\tpop %0\n"
                     "enter $32, $0\n\tleave\n\tcall 1f\n1: add $8, %%rsp\n"
                     : "=&r"(flags), "+m"(words[0])::"memory", "cc");
    words[1] = flags;
}

static void strings(void)
{
    __asm__ volatile("lea %0, %%rsi\n\tlea %1, %%rdi\n\tmovsb\n\tmovsq\n\tlodsl\n\tstosw\n"
                     "mov $40, %%ecx\n\trep movsb\n\tmov $3, %%ecx\n\trep stosq\n"
                     "std\n\tmov $20, %%ecx\n\trep movsb\n\tcld\n"
                     "xor %%ecx, %%ecx\n\trep stosb\n"
                     "mov $64, %%ecx\n\txor %%eax, %%eax\n\tlea %1, %%rdi\n\trepne scasb\n"
                     "lea %0, %%rsi\n\tlea %1, %%rdi\n\tmov $64, %%ecx\n\trepe cmpsb\n"
                     : "+m"(from), "+m"(to)::"rax", "rcx", "rsi", "rdi", "memory", "cc");
}

static void locked(void)
{
    __asm__ volatile("mov $7, %%eax\n\tmov $9, %%ecx\n\tlock cmpxchg %%rcx, %0\n\tlock cmpxchg %%rcx, %0\n"
                     "xadd %%rcx, %0\n\txchg %%rdx, %0\n\tlock btsq $9, %0\n\tmov $70, %%ecx\n\tbts %%rcx, %0\n"
                     "mov %%rcx, %%rbx\n\tcmpxchg16b %1\n\tsetc %2\n\tsbbl $1, %2\n\tnegb %2\n\tshlq $3, %0\n"
                     : "+m"(words[2]), "+m"(words[4]), "+m"(words[6])::"rax", "rbx", "rcx", "rdx", "memory", "cc");
}

static void segments(void)
{
    uint64_t value;
    own += words[1] & 1;
    __asm__ volatile("mov %%fs:0, %0\n\tadd %%fs:(%1), %0" : "=&r"(value) : "r"(16l) : "cc");
    words[8] = value - (uint64_t)&own;
    __asm__ volatile("lea words(%%rip), %%rbx\n\tmov $4, %%eax\n\txlat\n\tmov %%rax, %0"
                     : "=m"(words[9])::"rax", "rbx", "memory");
    void *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    __asm__ volatile("addl $3, 8(%%eax)\n\tmov 8(%%eax), %%ecx\n\tmov %%ecx, %0"
                     : "=m"(words[10]) : "a"(low) : "rcx", "memory", "cc");
}

static void floats(void)
{
    double x = 3;
    __asm__ volatile("fldl %0\n\tfsqrt\n\tfstpl %0\n\tfnstcw %1\n\tstmxcsr %1\n"
                     : "+m"(x), "+m"(words[11])::"memory");
    __asm__ volatile("movups %0, %%xmm1\n\taddps %0, %%xmm1\n\tmovups %%xmm1, %1\n\tmovq %%xmm1, %0\n\tmovntdq %%xmm1, %1"
                     : "+m"(words[16]), "+m"(words[18])::"xmm1", "memory");
}

__attribute__((target("avx2"))) static void vectors(void)
{
    uint64_t *end = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap((char *)end + 4096, 4096);
    end += 512;
    __m256i index = _mm256_setr_epi64x(1, 3, 5, 7), mask = _mm256_setr_epi64x(-1, -1, 0, 0);
    __m256i sum = _mm256_i64gather_epi64((long long *)words, index, 8);
    sum = _mm256_add_epi64(sum, _mm256_maskload_epi64((long long *)end - 2, mask));
    _mm256_maskstore_epi64((long long *)end - 2, mask, sum);
    _mm256_maskstore_epi64((long long *)words + 20, mask, sum);
    _mm256_storeu_si256((__m256i *)(words + 24), sum);
}

void start(void)
{
    for (int i = 0; i < 200; i++)
        from[i] = i * 7;
    stack();
    strings();
    locked();
    segments();
    floats();
    if (__builtin_cpu_supports("avx2"))
        vectors();
    uint64_t sum = 0;
    for (int i = 0; i < 20000; i++)
        sum = sum * 31 + words[i & 63] + to[i & 255];
    *(volatile uint64_t *)(sum & 8) = sum;
}

int main(void)
{
    start();
    return 0;
}
