//! What the kernel and string instructions write is found and followed like any other store.

use super::victim::{Folder, open, record_source};
use rept_core::{Location, Origin, Position, Write};
use rept_trace::Address;

/// A pointer that comes out of a pipe, and is copied by one instruction.
const PROGRAM: &str = r#"
#include <unistd.h>
static long source[2], target[2], filled[3];
__attribute__((noinline)) static void copy(void *to, const void *from, long bytes) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) :: "memory");
}
__attribute__((noinline)) static void fill(void *to, long value, long words) {
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(value) : "memory");
}
int main(void) {
    int ends[2];
    long bad[2] = {0x18, 0x10};
    if (pipe(ends) || write(ends[1], bad, sizeof bad) != sizeof bad) return 1;
    if (read(ends[0], source, sizeof bad) != sizeof bad) return 1;
    fill(filled, 0x1122334455667788, 3);
    copy(target, source, sizeof bad);
    return *(volatile int *)target[1];
}
"#;

#[test]
fn long_accesses_are_followed() {
    let folder = Folder::new("strings");
    let compiler = ["cc", "-O1", "-g"];
    let recorded = record_source(&folder.0, "strings.c", PROGRAM, &compiler, Some("main"));
    let Some((recording, _)) = recorded else {
        return;
    };
    let history = open(&recording);
    let crash = history.crash().expect("a signal");
    let pointer = Location::Reg(crash.pointer.expect("a memory operand faulted"));
    let found = history.explain(pointer, crash.position).expect("it exists");
    let copied = found.links.iter().find(|link| {
        matches!(
            (link.to, link.from),
            (Location::Mem { .. }, Some(Location::Mem { .. }))
        )
    });
    let copied = copied.unwrap_or_else(|| panic!("a copy from memory to memory: {found:?}"));
    let function = |at| {
        let symbol = history.source(at).expect("it exists");
        symbol.name().unwrap_or_default().to_owned()
    };
    assert_eq!(function(copied.at), "copy", "{found:?}");
    assert!(
        matches!(found.origin, Origin::SystemCall(at) if function(at).contains("read")),
        "{found:?}"
    );
    let bytes = |store: bool| -> u32 {
        let accesses = history.accesses(copied.at);
        let wanted = accesses.iter().filter(|access| access.store == store);
        wanted.map(|access| u32::from(access.size)).sum()
    };
    assert_eq!((bytes(false), bytes(true)), (16, 16));

    let fill = history.session().symbols().addresses_of("fill")[0];
    let entry = history.executions(crash.position.thread, fill, 0).next();
    let entry = entry.expect("it ran");
    let stored = (entry.step..crash.position.step).find_map(|step| {
        let at = Position::new(entry.thread, step);
        let accesses = history.accesses(at);
        let stores = accesses.iter().filter(|access| access.store);
        (stores.count() == 3).then(|| (at, accesses[0].address.expect("it is placed")))
    });
    let (at, Address(start)) = stored.expect("three words are filled");
    let middle = Location::Mem {
        address: Address(start + 12),
        size: 2,
    };
    let written = history.last_write(middle, crash.position);
    assert_eq!(
        written.and_then(|written: Write| written.position()),
        Some(at)
    );
    let found = history.explain(middle, crash.position).expect("it exists");
    assert!(
        matches!(found.origin, Origin::Constant(_)),
        "the fourth and fifth byte of the pattern come from rax: {found:?}"
    );
}
