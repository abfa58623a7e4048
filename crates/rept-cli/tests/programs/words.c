/* Reads a file, through a descriptor twice and through a stream, sorts its words into chains by a hash
   and counts its letters; then it follows a chain too far. With a single argument: a file; with none:
   the standard input. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct word {
    struct word *next;
    unsigned length;
    char text[20];
};

static struct word *chains[16];
static unsigned letters[256];

static unsigned hash(const char *text, unsigned length)
{
    unsigned sum = 5381;
    while (length--)
        sum = sum * 33 + (unsigned char)*text++;
    return sum % 16;
}

static void add(const char *text, unsigned length)
{
    struct word **chain = &chains[hash(text, length)];
    struct word *word;
    for (word = *chain; word; word = word->next)
        if (word->length == length && !memcmp(word->text, text, length))
            return;
    word = malloc(sizeof *word);
    word->length = length;
    memcpy(word->text, text, length);
    word->next = *chain;
    *chain = word;
}

int main(int argc, char **argv)
{
    char head[8], text[20];
    int descriptor = argc > 1 ? open(argv[1], O_RDONLY) : 0;
    if (descriptor < 0 || read(descriptor, head, 8) != 8 || lseek(descriptor, -4, SEEK_CUR) != 4)
        return 1;
    for (int i = 0; i < 8; i++)
        letters[(unsigned char)head[i]]++;
    FILE *stream = fdopen(dup(descriptor), "r");
    unsigned length = 0;
    for (int c; (c = getc(stream)) != EOF;) {
        letters[c]++;
        if (c != ' ' && c != '\n' && length < 20)
            text[length++] = c;
        else if (length) {
            add(text, length);
            length = 0;
        }
    }
    struct word *word = chains[letters['e'] % 16];
    for (;;) {
        letters[0] += word->length;
        word = word->next;
        if (letters[0] == 12345)
            break;
    }
    return 0;
}
