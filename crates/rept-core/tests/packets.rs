//! The gdb stub, spoken to packet by packet: what no client can be trusted to ask.
#![cfg(feature = "gdb")]

#[path = "support/client.rs"]
mod client;
#[path = "support/victim.rs"]
mod victim;

use client::Client;
use rept_core::{Builder, GdbOptions, History, Location, Position, RecoverOptions, Session, Trust};
use rept_trace::{Address, RegWord, ThreadId};
use std::os::unix::net::UnixStream;
use victim::{Folder, open, record_source, recover};

/// Serves a client that does this; the stub has to end when the client is gone.
fn serve(history: &History, trust: Trust, talk: impl FnOnce(&mut Client)) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut options = GdbOptions::default();
    options.trust = trust;
    std::thread::scope(|scope| {
        let stub = scope.spawn(move || {
            let input = theirs.try_clone().expect("the socket can be shared");
            let ended = history.serve_gdb(input, theirs.try_clone().expect("as before"), options);
            let _ = theirs.shutdown(std::net::Shutdown::Both);
            ended.map_err(|error| error.to_string())
        });
        let mut client = Client(ours);
        talk(&mut client);
        drop(client);
        // Ended, well or with a sentence, and did not panic.
        let _ = stub.join().expect("the stub does not panic");
    });
}

/// Where a register's digits are in the answer to `g`.
fn register(all: &str, number: usize) -> &str {
    all.get(16 * number..16 * (number + 1)).unwrap_or_default()
}

#[test]
fn a_client_sees_nothing_that_is_not_known() {
    let Some((_folder, history)) = recover("packets") else {
        return;
    };
    let crash = history.crash().expect("the core has the signal");
    let plant = history.session().symbols().addresses_of("plant")[0];
    serve(&history, Trust::Assumed, |client| {
        let supported = client.ask("qSupported:multiprocess+;xmlRegisters=i386");
        client.ask("Hg0");
        client.ask("Hc0");
        // A wrong link map would move libc; maps of memory would make gdb refuse to read.
        assert!(!supported.contains("libraries"), "{supported}");
        assert!(!supported.contains("memory-map"), "{supported}");
        assert!(supported.contains("ReverseStep+"), "{supported}");
        assert!(client.ask("vFile:open:2f,0,0").is_empty(), "no host I/O");

        let xml = client.whole("features:read:target.xml");
        for part in ["org.gnu.gdb.i386.avx512", "fs_base", "orig_rax"] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
        assert!(client.ask("qXfer:auxv:read::0,fff").len() > 32);
        let file = client.ask("qXfer:exec-file:read::0,fff");
        assert!(file.ends_with("victim"), "{file}");

        // A register is sent wholly or not at all: its first byte speaks for it.
        let all = client.ask("g");
        for number in 0..16 {
            let digits = register(&all, number);
            let unknown = digits.contains('x');
            assert!(!unknown || digits == "x".repeat(16), "{number}: {digits}");
        }
        assert_eq!(register(&all, 16).len(), 16);
        let pc = crash.pc.0.swap_bytes();
        assert_eq!(register(&all, 16), format!("{pc:016x}"));

        // The dump has no page of code, the file has.
        let code = client.ask(&format!("m{:x},4", plant.0));
        assert_eq!(code.len(), 8, "{code}");
        assert!(client.ask("m10,8").starts_with('E'));
        assert!(
            client.ask("M10,1:00").starts_with('E'),
            "nothing is written"
        );
        assert!(
            client.ask("s").starts_with("T0b"),
            "the crash is its signal"
        );
        let back = client.ask("bs");
        assert!(back.starts_with("T05"), "{back}");
    });
}

/// A word of which some bits are known and some are not, and where.
fn partly_known(history: &History) -> Option<(Position, RegWord)> {
    let thread = history.crash()?.position.thread;
    let mut steps = history.lifetime(thread)?;
    steps.find_map(|step| {
        let position = Position::new(thread, step);
        let state = history.at(position)?;
        let partly = |word: &RegWord| {
            let known = Trust::Assumed.known(&state.reg(*word));
            known & 0xff == 0xff && known != u64::MAX
        };
        let word = (0..16).map(RegWord::gpr).find(partly)?;
        Some((position, word))
    })
}

#[test]
fn a_register_that_is_partly_known_is_not_sent() {
    let Some((_folder, history)) = recover("packets-partly") else {
        return;
    };
    let (position, word) = partly_known(&history).expect("a byte is loaded into some register");
    let names = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15";
    let number = names.split(' ').position(|name| name == word.name());
    let number = number.expect("a general-purpose register");
    serve(&history, Trust::Assumed, |client| {
        client.ask("Hg0");
        client.monitor(&format!("seek {position}"));
        client.ask("vCont;s:1");
        let unavailable = "x".repeat(16);
        assert_eq!(register(&client.ask("g"), number), unavailable);
        assert_eq!(client.ask(&format!("p{number:x}")), unavailable);
        let shown = client.monitor(&format!("reg {}", word.name()));
        assert!(shown.contains('?'), "what is known is shown: {shown}");
    });
}

/// An address below which all is known for some bytes, and the number of these.
fn known_then_unknown(history: &History, position: Position) -> Option<(u64, usize)> {
    let state = history.at(position)?;
    let top = state.reg(RegWord::RSP);
    (top.assumed == u64::MAX).then_some(())?;
    (0..64u64).find_map(|distance| {
        let start = top.bits + 8 * distance;
        let known = state
            .read(Address(start), &mut [0; 64], Trust::Assumed)
            .known_prefix();
        (1..64).contains(&known).then_some((start, known))
    })
}

#[test]
fn a_read_ends_where_knowledge_ends() {
    let Some((_folder, history)) = recover("packets-memory") else {
        return;
    };
    let thread = history.crash().expect("a signal").position.thread;
    let mut steps = history.lifetime(thread).expect("it was traced");
    let found = steps.find_map(|step| {
        let position = Position::new(thread, step);
        Some((position, known_then_unknown(&history, position)?))
    });
    let (position, (start, known)) = found.expect("something on the stack is overwritten later");
    serve(&history, Trust::Assumed, |client| {
        client.ask("Hg0");
        let read = format!("m{start:x},40");
        let before = client.ask(&read);
        client.monitor(&format!("seek {position}"));
        // A client that knows nothing of the seek keeps what it read: nothing may change yet.
        assert_eq!(client.ask(&read), before);
        client.ask("vCont;s:1");
        assert_eq!(client.ask(&read).len(), 2 * known);
        let unknown = format!("m{:x},8", start + known as u64);
        assert!(client.ask(&unknown).starts_with('E'), "not an empty answer");
        let shown = client.monitor(&format!("mem {start:#x} 64"));
        assert!(shown.contains(" ??"), "{shown}");
    });
}

/// A word of `.bss` that is overwritten: what it was before is not to be had.
const OVERWRITTEN: &str = r#"
static long cell;
__attribute__((noinline)) static void fill(long with) { cell = with; }
int main(int argc, char **argv) {
    (void)argv;
    fill(0x1000 + argc);
    fill(0x10 + argc);
    return (int)*(volatile long *)cell;
}
"#;

/// lldb takes what the file has for a read that fails (F3): a failure and `??` are all that the stub can say.
#[test]
fn what_is_not_known_of_a_section_is_no_zero() {
    let folder = Folder::new("packets-section");
    let flags = ["cc", "-O0", "-g"];
    let built = record_source(&folder.0, "victim.c", OVERWRITTEN, &flags, Some("main"));
    let Some((recording, _)) = built else { return };
    let history = open(&recording);
    let crash = history.crash().expect("a signal").position;
    let found = history.variables_named("cell", crash, Trust::Certain);
    let found = found.expect("the position exists");
    let Some(Location::Mem { address, size: 8 }) = found[0].location else {
        panic!("{found:?}");
    };
    let read = format!("m{:x},8", address.0);
    serve(&history, Trust::Certain, |client| {
        client.ask("Hg0");
        assert_eq!(client.ask(&read), "1100000000000000");
        client.monitor(&format!("seek {}:0", crash.thread));
        client.ask("vCont;s:1");
        assert!(client.ask(&read).starts_with('E'));
        let shown = client.monitor(&format!("mem {address} 8"));
        assert!(shown.contains("?? ?? ?? ?? ?? ?? ?? ??"), "{shown}");
    });
}

#[test]
fn a_watch_stops_before_the_store_in_both_directions() {
    let Some((_folder, history)) = recover("packets-watch") else {
        return;
    };
    let crash = history.crash().expect("a signal").position;
    let plant = history.session().symbols().addresses_of("plant")[0];
    let mut steps = (0..crash.step).rev();
    let planted = steps.find_map(|step| {
        let position = Position::new(crash.thread, step);
        let mut accesses = history.accesses(position).into_iter();
        let store = accesses.find(|access| access.store && access.value.bits == 0x10)?;
        let symbol = history.source(position)?;
        (symbol.name() == Some("plant")).then_some((position, store.address?))
    });
    let (position, address) = planted.expect("plant stores 0x10");
    let pc = history.at(position).and_then(|state| state.pc());
    let pc = format!("{:016x}", pc.expect("it runs there").0.swap_bytes());
    serve(&history, Trust::Assumed, |client| {
        for packet in ["qSupported:multiprocess+", "Hg0", "Hc0"] {
            client.ask(packet);
        }
        assert_eq!(
            client.ask(&format!("Z2,{address},8").replace("0x", "")),
            "OK"
        );
        let answer = client.ask("bc");
        assert!(
            answer.contains(&format!("watch:{:x};", address.0)),
            "{answer}"
        );
        assert_eq!(
            client.ask("p10"),
            pc,
            "the storing instruction is about to run"
        );
        assert_eq!(
            client.ask(&format!("z2,{address},8").replace("0x", "")),
            "OK"
        );
        // Watches of reads are not offered, so that gdb says so.
        assert!(
            client
                .ask(&format!("Z3,{:x},8", address.0))
                .starts_with('E')
        );
        assert_eq!(client.ask(&format!("Z0,{:x},1", plant.0)), "OK");
        assert!(client.ask("bc").contains("swbreak"));
        assert_eq!(client.ask(&format!("z0,{:x},1", plant.0)), "OK");
        // gdb locks the scheduler for a step over a breakpoint, and steps one of several threads.
        let thread = format!("p1.{:x}", crash.thread.0);
        for step in [format!("vCont;s:{thread}"), format!("vCont;s:{thread};c")] {
            let answer = client.ask(&step);
            assert!(answer.starts_with("T05thread"), "{step}: {answer}");
        }
    });
}

#[test]
fn nothing_before_the_window_and_no_thread_that_was_not_traced() {
    let Some((_folder, history)) = recover("packets-ends") else {
        return;
    };
    let crash = history.crash().expect("the core has the signal");
    serve(&history, Trust::Assumed, |client| {
        client.ask("qSupported:multiprocess+");
        let first = format!("seek {}:0", crash.position.thread);
        assert!(client.monitor(&first).contains("stepi"));
        client.ask("s");
        let begin = client.ask("bs");
        assert!(begin.contains("replaylog:begin"), "{begin}");
        client.ask("Hc-1");
        let begin = client.ask("bs");
        assert!(begin.contains("replaylog:begin"), "{begin}");
        let begin = client.ask("bc");
        assert!(begin.contains("replaylog:begin"), "{begin}");
        client.ask("Hcp1.7fffff");
        assert!(!client.ask("bs").is_empty(), "an answer at once");
        let end = client.ask("c");
        assert!(end.starts_with("T0b"), "{end}");
        assert!(
            client
                .monitor("where")
                .starts_with(&crash.position.to_string())
        );
    });
}

#[test]
fn monitor_commands_answer_in_sentences() {
    let Some((_folder, history)) = recover("packets-monitor") else {
        return;
    };
    serve(&history, Trust::Assumed, |client| {
        client.ask("qSupported:multiprocess+");
        let mut check = |command: &str, part: &str| {
            let answer = client.monitor(command);
            assert!(answer.contains(part), "{command}: {answer}");
        };
        check("help", "last-write");
        check("where", "use_it");
        check("seek nowhere", "is no position");
        check("seek 1:0", "there is no position 1:0");
        check("seek +1", "there is no position");
        check("seek -1", "the next `stepi` goes to");
        check("seek 99999999999999999999:0", "is no position");
        check("last-write", "expected a register");
        check("last-write nothing", "is no location");
        check("last-write rip", "is no location");
        check("last-write rax", "use_it");
        check("explain rax", "plant");
        check("explain rax skip-copies", "plant");
        // As gdb reads numbers, in all commands.
        check("explain 100", "[0x64; 8]");
        check("explain 0x100 0x4", "[0x100; 4]");
        check("last-write 100", "[0x64; 8]");
        check("last-write 0x100 4", "[0x100; 4]");
        check("last-write ff", "is no location");
        check("mem ff 4", "is no number");
        check("mem 0x10 0x2", "?? ??");
        check("why rax", "rax before");
        check("why 10", "is not wholly known");
        check("why", "expected a register");
        check("locals", "p = ");
        check("reg rax", "0x10");
        check("races", "0 places in the code race");
        check("reg 10", "is no register");
        check("mem 0x10 4", "?? ?? ?? ??");
        check("mem 0xfffffffffffffffe 99999999999", "??");
        check("mem here 4", "is no number");
        check("trust", "assumed");
        check("trust inferred:2", "start with --trust inferred:N");
        check("trust blindly", "is no grade");
        check("trust certain", "certain");
        check("trust", "certain");
    });
}

/// Lines of an explanation that are of steps.
fn steps_of(answer: &str, thread: ThreadId) -> usize {
    let step = format!("  {thread}:");
    answer.lines().filter(|line| line.contains(&step)).count()
}

#[test]
fn who_wrote_it_is_told_by_what_is_trusted() {
    let Some((_folder, history)) = recover("packets-trust") else {
        return;
    };
    let crash = history.crash().expect("a signal").position;
    let named = |address| Location::Mem { address, size: 8 };
    let told = |location, trust| history.last_write_by(location, crash, trust);
    let mut steps = (0..crash.step).rev();
    let found = steps.find_map(|step| {
        let at = Position::new(crash.thread, step);
        let stores = history
            .accesses(at)
            .into_iter()
            .filter(|access| access.store);
        let mut places = stores.filter_map(|access| access.address);
        places.find(|&address| {
            told(named(address), Trust::Certain) != told(named(address), Trust::Inferred)
        })
    });
    let address = found.expect("the heap's place is no certainty");
    let writer = told(named(address), Trust::Inferred).and_then(|written| written.position());
    let writer = writer.expect("a step wrote it").to_string();
    let hint = "monitor trust inferred";
    serve(&history, Trust::Inferred, |client| {
        let all = client.monitor(&format!("last-write {address}"));
        assert!(all.starts_with(&writer) && !all.contains(hint), "{all}");
        let way = client.monitor(&format!("explain {address}"));
        assert!(way.contains(&writer) && !way.contains(hint), "{way}");
        client.monitor("trust certain");
        for command in ["last-write", "explain"] {
            let certain = client.monitor(&format!("{command} {address}"));
            assert!(
                !certain.contains(&writer) && certain.contains(hint),
                "{certain}"
            );
        }
    });
}

#[test]
fn copies_can_be_left_out_of_an_explanation() {
    let Some((_folder, history)) = recover("packets-copies") else {
        return;
    };
    let crash = history.crash().expect("a signal").position;
    let all = history.explain(Location::Reg(RegWord::RAX), crash);
    let all = all.expect("the position exists");
    let few = all.without_copies().count();
    assert!(few < all.links.len(), "{all:?}");
    serve(&history, Trust::Inferred, |client| {
        let shown = client.monitor("explain rax");
        assert_eq!(steps_of(&shown, crash.thread), all.links.len(), "{shown}");
        let shown = client.monitor("explain rax skip-copies");
        assert_eq!(steps_of(&shown, crash.thread), few, "{shown}");
        assert!(
            client
                .monitor("explain skip-copies")
                .contains("expected a register")
        );
    });
}

/// Crashes in a function that is inlined into its caller.
const INLINED: &str = r#"
static inline __attribute__((always_inline)) long inner(long n) {
    volatile long twice = n * 2;
    return *(volatile long *)twice;
}
int main(int argc, char **argv) {
    (void)argv;
    volatile long outer = argc * 8;
    return (int)inner(outer);
}
"#;

#[test]
fn variables_of_inlined_functions_are_named_so() {
    let folder = Folder::new("packets-inlined");
    let flags = ["cc", "-O1", "-g"];
    let Some((recording, _)) = record_source(&folder.0, "victim.c", INLINED, &flags, None) else {
        return;
    };
    let history = open(&recording);
    serve(&history, Trust::Assumed, |client| {
        let shown = client.monitor("locals");
        let line = |name: &str| shown.lines().find(|line| line.starts_with(name));
        let is_inlined = |name| line(name).map(|line| line.contains("(of inner, inlined)"));
        assert_eq!(is_inlined("twice = "), Some(true), "{shown}");
        assert_eq!(is_inlined("outer = "), Some(false), "{shown}");
    });
}

#[test]
fn lldb_is_told_of_each_register_whether_it_is_there() {
    let Some((_folder, history)) = recover("packets-lldb") else {
        return;
    };
    serve(&history, Trust::Assumed, |client| {
        client.ask("qSupported:xmlRegisters=i386");
        client.ask("Hg0");
        let whole = client.ask("g");
        assert!(whole.contains("xx"), "segments are never known");
        let host = client.ask("qHostInfo");
        assert!(!host.is_empty());
        // lldb refuses a stop of a process that is not the one it was told of.
        assert!(client.ask("qProcessInfo").contains("pid:1;"));
        client.ask("qSupported:multiprocess+");
        assert!(client.ask("?").contains("thread:p01."));
        assert!(client.ask("g").starts_with('E'));
        assert_eq!(client.ask("p10").len(), 16, "the instruction pointer");
        assert!(client.ask("p12").starts_with('E'), "cs");
        assert!(client.ask("pffff").starts_with('E') || client.ask("pffff").is_empty());
    });
}

#[test]
fn garbage_and_hanging_up_end_cleanly() {
    let Some((_folder, history)) = recover("packets-garbage") else {
        return;
    };
    let long = "$".to_owned() + &"A".repeat(1 << 20);
    let garbage: [&[u8]; 9] = [
        b"",
        b"$",
        b"$g",
        b"$g#00",
        b"\x00\xff\xfe$#$#}}}}",
        b"$m,#99$mzz,zz#00$m0,ffffffffffffffffffff#00",
        b"$Z9,0,0#00$vCont;x:y#00$qRcmd,zz#00",
        b"+++++-----\x03\x03\x03",
        long.as_bytes(),
    ];
    for bytes in garbage {
        serve(&history, Trust::Assumed, |client| client.send(bytes));
    }
    // A client may leave in the middle of an answer.
    serve(&history, Trust::Assumed, |client| {
        client.send(b"$qXfer:features:read:target.xml:0,ffff#00$g#67");
    });
}

#[test]
fn a_dump_without_a_trace_is_shown_and_has_no_past() {
    let folder = Folder::new("packets-dump");
    let Some((recording, _)) = victim::record(&folder.0) else {
        return;
    };
    let open = |builder: Builder| {
        builder
            .open()
            .expect("it opens")
            .recover(&RecoverOptions::default())
    };
    let history = open(Session::builder().dump(recording.join("core")));
    serve(&history, Trust::Assumed, |client| {
        for packet in ["qSupported:multiprocess+", "Hg0", "Hc0"] {
            client.ask(packet);
        }
        assert!(client.ask("g").len() > 16);
        for (resumption, stop) in [
            ("bs", "replaylog:begin"),
            ("bc", "replaylog:begin"),
            ("c", "T0b"),
        ] {
            let (text, answer) = client.ask_and_listen(resumption);
            assert!(text.contains("no thread was traced"), "{text}");
            assert!(answer.contains(stop), "{resumption}: {answer}");
        }
        assert!(client.monitor("where").contains("was not traced"));
        assert!(client.monitor("seek -1").contains("is no position"));
    });
}
