// Counts the names of a DER list that occur twice.
#include <stdio.h>
#include <openssl/x509v3.h>

int main(int argc, char **argv) {
    static unsigned char bytes[1 << 14];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 2;
    const unsigned char *next = bytes;
    GENERAL_NAMES *names = d2i_GENERAL_NAMES(NULL, &next, (long)fread(bytes, 1, sizeof bytes, file));
    if (!names) return 1;
    int twice = 0, count = sk_GENERAL_NAME_num(names);
    for (int one = 1; one < count; one++)
        for (int other = 0; other < one; other++)
            twice += GENERAL_NAME_cmp(sk_GENERAL_NAME_value(names, one), sk_GENERAL_NAME_value(names, other)) == 0;
    printf("%d names, %d of them twice\n", count, twice);
    return 0;
}
