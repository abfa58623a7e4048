// Parses a file and looks at the declarations of elements.
#include <stdio.h>
#include "expat.h"

static XML_Parser parser;
static unsigned declared;

static void declaration(void *user, const XML_Char *name, XML_Content *model) {
    declared++;
    XML_FreeContentModel(parser, model);
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 2;
    parser = XML_ParserCreate(NULL);
    XML_SetElementDeclHandler(parser, declaration);
    for (int last = 0; !last;) {
        void *buffer = XML_GetBuffer(parser, 1 << 16);
        size_t size = fread(buffer, 1, 1 << 16, file);
        last = size < 1 << 16;
        if (!XML_ParseBuffer(parser, (int)size, last)) {
            printf("%s\n", XML_ErrorString(XML_GetErrorCode(parser)));
            return 1;
        }
    }
    printf("%u elements declared\n", declared);
    return 0;
}
