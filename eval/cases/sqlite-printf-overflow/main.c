// Executes the statements of a file, one after the other, in a database in memory.
#include <stdio.h>
#include <stdlib.h>
#include "sqlite3.h"

// Compiled without optimisation, the overrun soon writes over the pointer by which it writes. Whether it
// goes on from there or writes the same bytes for ever hangs on where that pointer lies, and so on the
// environment, which lies above the stack. This much more stack puts it in one place whatever that is.
int main(int argc, char **argv) {
#ifndef __OPTIMIZE__
    (void)__builtin_alloca((size_t)__builtin_frame_address(0) % 256 + 160);
#endif
    static char script[1 << 16];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 2;
    script[fread(script, 1, sizeof script - 1, file)] = 0;
    sqlite3 *database;
    if (sqlite3_open(":memory:", &database)) return 2;
    for (const char *rest = script; *rest;) {
        sqlite3_stmt *statement;
        if (sqlite3_prepare_v2(database, rest, -1, &statement, &rest)) {
            fprintf(stderr, "%s\n", sqlite3_errmsg(database));
            return 1;
        }
        while (statement && sqlite3_step(statement) == SQLITE_ROW) {
            const unsigned char *text = sqlite3_column_text(statement, 0);
            puts(text ? (const char *)text : "NULL");
        }
        sqlite3_finalize(statement);
    }
    return sqlite3_close(database);
}
