// Renders a document with GitHub's table extension.
#include <stdio.h>
#include <stdlib.h>
#include "cmark-gfm-core-extensions.h"
#include "cmark-gfm.h"

int main(int argc, char **argv) {
    static char text[1 << 20];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 2;
    size_t size = fread(text, 1, sizeof text, file);
    cmark_gfm_core_extensions_ensure_registered();
    cmark_parser *parser = cmark_parser_new(CMARK_OPT_DEFAULT);
    cmark_parser_attach_syntax_extension(parser, cmark_find_syntax_extension("table"));
    cmark_parser_feed(parser, text, size);
    cmark_node *document = cmark_parser_finish(parser);
    char *html = cmark_render_html(document, CMARK_OPT_DEFAULT, NULL);
    puts(html);
    free(html);
    cmark_node_free(document);
    cmark_parser_free(parser);
    return 0;
}
