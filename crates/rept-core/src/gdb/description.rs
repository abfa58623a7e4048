//! The target description: which registers there are, in the order in which they are sent.
//!
//! Feature and register names are gdb's (manual, "Standard Target Features", i386).

use rept_trace::RegWord;

/// One register: its words of 64 bits, the first that many bytes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Register {
    name: String,
    kind: &'static str,
    pub(super) bytes: usize,
    pub(super) source: Source,
}

/// Where a register's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The address of the next instruction.
    Pc,
    /// Words of the thread's register state.
    Words(Vec<RegWord>),
    /// Not recovered.
    Never,
}

/// General-purpose registers in gdb's order, by encoding number.
const GPRS: [u16; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
const SEGMENTS: [&str; 6] = ["cs", "ss", "ds", "es", "fs", "gs"];
const X87_CONTROL: [&str; 8] = [
    "fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop",
];

fn register(name: impl Into<String>, kind: &'static str, bytes: usize, source: Source) -> Register {
    let name = name.into();
    Register {
        name,
        kind,
        bytes,
        source,
    }
}

fn word(name: impl Into<String>, kind: &'static str, bytes: usize, word: RegWord) -> Register {
    register(name, kind, bytes, Source::Words(vec![word]))
}

/// Features and their registers.
pub(super) fn features() -> Vec<(&'static str, Vec<Register>)> {
    let mut core: Vec<Register> = GPRS
        .iter()
        .map(|&number| {
            let of = RegWord::gpr(number);
            let kind = if of == RegWord::RSP || of == RegWord::RBP {
                "data_ptr"
            } else {
                "int64"
            };
            word(of.name(), kind, 8, of)
        })
        .collect();
    core.push(register("rip", "code_ptr", 8, Source::Pc));
    core.push(word("eflags", "int32", 4, RegWord::FLAGS));
    core.extend(SEGMENTS.map(|name| register(name, "int32", 4, Source::Never)));
    core.extend(
        (0..8).map(|number| register(format!("st{number}"), "i387_ext", 10, Source::Never)),
    );
    core.extend(X87_CONTROL.map(|name| register(name, "int32", 4, Source::Never)));
    let lanes = |number: u16, first: u16| {
        Source::Words(vec![
            RegWord::vector(number, first),
            RegWord::vector(number, first + 1),
        ])
    };
    let mut sse: Vec<Register> = (0..16)
        .map(|number| register(format!("xmm{number}"), "uint128", 16, lanes(number, 0)))
        .collect();
    sse.push(word("mxcsr", "int32", 4, RegWord::MXCSR));
    let avx =
        (0..16).map(|number| register(format!("ymm{number}h"), "uint128", 16, lanes(number, 2)));
    vec![
        ("org.gnu.gdb.i386.core", core),
        ("org.gnu.gdb.i386.sse", sse),
        (
            "org.gnu.gdb.i386.linux",
            vec![register("orig_rax", "int64", 8, Source::Never)],
        ),
        (
            "org.gnu.gdb.i386.segments",
            vec![
                word("fs_base", "int64", 8, RegWord::FS_BASE),
                word("gs_base", "int64", 8, RegWord::GS_BASE),
            ],
        ),
        ("org.gnu.gdb.i386.avx", avx.collect()),
    ]
}

/// The description as gdb reads it.
pub(super) fn xml() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">\
         <architecture>i386:x86-64</architecture><osabi>GNU/Linux</osabi>",
    );
    for (feature, registers) in features() {
        xml += &format!("<feature name=\"{feature}\">");
        for Register {
            name, kind, bytes, ..
        } in registers
        {
            xml += &format!(
                "<reg name=\"{name}\" bitsize=\"{}\" type=\"{kind}\"/>",
                bytes * 8
            );
        }
        xml += "</feature>";
    }
    xml + "</target>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_stand_where_gdb_expects_them() {
        let all: Vec<Register> = features()
            .into_iter()
            .flat_map(|(_, registers)| registers)
            .collect();
        let position = |name: &str| all.iter().position(|register| register.name == name);
        // gdb/amd64-tdep.h
        assert_eq!(
            [
                position("rax"),
                position("rsp"),
                position("rip"),
                position("eflags")
            ],
            [Some(0), Some(7), Some(16), Some(17)]
        );
        assert_eq!(
            [
                position("st0"),
                position("fctrl"),
                position("xmm0"),
                position("mxcsr")
            ],
            [Some(24), Some(32), Some(40), Some(56)]
        );
        assert!(xml().contains("<reg name=\"rbp\" bitsize=\"64\" type=\"data_ptr\"/>"));
    }
}
