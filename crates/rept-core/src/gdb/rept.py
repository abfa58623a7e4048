"""Commands for a gdb that is connected to `rept gdb`.

    (gdb) source rept.py
    (gdb) rept                     where am I
    (gdb) rept seek 4711:1234      go to a position
    (gdb) rept last-write $rax     who wrote it last; also &variable, or ADDRESS BYTES
    (gdb) rept explain $rax        where did the value come from; skip-copies behind leaves out plain copies
    (gdb) rept why $rax            how recovery came to know it, or why it did not
    (gdb) rept locals              with what is not known, and weaker values marked
    (gdb) rept mem &buffer 64      with ?? for what is not known
    (gdb) rept races               what two threads did at once to the same bytes
    (gdb) rept trust inferred      which values gdb itself is shown

gdb remembers memory and registers until something moves. A position is therefore reached by
a step, and a change of trust is followed by forgetting.
"""

import gdb


def monitor(command):
    """Sends a command to the stub and gives its answer."""
    return gdb.execute("monitor " + command, to_string=True)


def forget():
    """Makes gdb ask again."""
    for cache in ("dcache", "register-cache"):
        try:
            gdb.execute("maintenance flush " + cache, to_string=True)
        except gdb.error:
            pass


def address(text):
    """The value of an expression, as an address."""
    return hex(int(gdb.parse_and_eval(text)) & (2**64 - 1))


def place(text):
    """A register by its name, any other expression as an address."""
    if text.startswith("$") and text[1:].isidentifier():
        return text[1:]
    return address(text)


def show(position):
    """Selects the thread of a position, as it is there: gdb keeps to the thread that it stepped, and to
    what it remembers of the others."""
    forget()
    thread = int(position.split(":")[0])
    for one in gdb.selected_inferior().threads():
        if one.ptid[1] == thread and one != gdb.selected_thread():
            one.switch()
            gdb.execute("frame")


class Rept(gdb.Command):
    """rept [seek | last-write | explain | why | locals | reg | mem | trust | races] ...: ask the history."""

    def __init__(self):
        super().__init__("rept", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        command = words[0] if words else "where"
        rest = words[1:]
        if command in ("last-write", "explain", "why") and rest:
            rest[0] = place(rest[0])
        if command == "mem" and rest:
            rest[0] = address(rest[0])
        answer = monitor(" ".join([command] + rest))
        if command == "seek" and answer.startswith("the next"):
            gdb.execute("stepi")
            show(answer.split()[-1])
            return
        if command == "trust" and rest:
            forget()
        gdb.write(answer)


Rept()
