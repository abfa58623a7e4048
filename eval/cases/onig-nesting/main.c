// Compiles a regular expression in which quantifiers follow each other, and searches with it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "oniguruma.h"

int main(int argc, char **argv) {
    // A server's stack, not a terminal's: deep patterns take long to read.
    struct rlimit stack = {128 << 10, RLIM_INFINITY};
    setrlimit(RLIMIT_STACK, &stack);
    int depth = argc > 1 ? atoi(argv[1]) : 1;
    char *pattern = malloc(depth + 2);
    memset(pattern, '+', depth + 1);
    pattern[0] = 'X';
    pattern[depth + 1] = 0;
    regex_t *regex;
    OnigErrorInfo error;
    int result = onig_new(&regex, (UChar *)pattern, (UChar *)pattern + depth + 1, ONIG_OPTION_DEFAULT,
                          ONIG_ENCODING_ASCII, ONIG_SYNTAX_DEFAULT, &error);
    printf("result %d\n", result);
    return 0;
}
