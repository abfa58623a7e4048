//! The target description: which registers there are, in the order in which they are sent.
//!
//! Feature and register names are gdb's (manual, "Standard Target Features", i386).

use rept_trace::RegWord;
use std::ops::Range;
use std::sync::OnceLock;

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
    /// The low 16 bits of a word, and zeros.
    Half(RegWord),
    /// A register of the x87 stack, counted from its top.
    X87(u16),
    /// The tag word of the x87 unit in full: two bits a register.
    X87Tag,
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

/// A feature of the description, and its registers.
pub(super) type Feature = (&'static str, Vec<Register>);

/// Features and their registers.
pub(super) fn features() -> &'static [Feature] {
    static FEATURES: OnceLock<Vec<Feature>> = OnceLock::new();
    FEATURES.get_or_init(|| {
        vec![
            ("org.gnu.gdb.i386.core", core()),
            ("org.gnu.gdb.i386.sse", sse()),
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
            ("org.gnu.gdb.i386.avx", vectors("ymm", "h", 0..16, 2..4)),
            ("org.gnu.gdb.i386.avx512", avx512()),
        ]
    })
}

fn core() -> Vec<Register> {
    let gprs = GPRS.iter().map(|&number| {
        let of = RegWord::gpr(number);
        let pointer = of == RegWord::RSP || of == RegWord::RBP;
        let kind = if pointer { "data_ptr" } else { "int64" };
        word(of.name(), kind, 8, of)
    });
    let mut core: Vec<Register> = gprs.collect();
    core.push(register("rip", "code_ptr", 8, Source::Pc));
    core.push(word("eflags", "int32", 4, RegWord::FLAGS));
    core.extend(SEGMENTS.map(|name| register(name, "int32", 4, Source::Never)));
    core.extend((0..8).map(|number| {
        let of = Source::X87(number);
        register(format!("st{number}"), "i387_ext", 10, of)
    }));
    core.extend(X87_CONTROL.map(|name| {
        let of = match name {
            "fctrl" => Source::Half(RegWord::X87_CONTROL),
            "fstat" => Source::Half(RegWord::X87_STATUS),
            "ftag" => Source::X87Tag,
            _ => Source::Never,
        };
        register(name, "int32", 4, of)
    }));
    core
}

fn sse() -> Vec<Register> {
    let mut sse = vectors("xmm", "", 0..16, 0..2);
    sse.push(word("mxcsr", "int32", 4, RegWord::MXCSR));
    sse
}

/// Masks, the upper halves of the first 16 vectors, and the other 16 vectors.
fn avx512() -> Vec<Register> {
    let masks = (0..8).map(|number| {
        let of = RegWord::opmask(number);
        word(of.name(), "uint64", 8, of)
    });
    let upper = vectors("zmm", "h", 0..16, 4..8);
    let rest = [
        vectors("xmm", "", 16..32, 0..2),
        vectors("ymm", "h", 16..32, 2..4),
        vectors("zmm", "h", 16..32, 4..8),
    ];
    masks
        .chain(upper)
        .chain(rest.into_iter().flatten())
        .collect()
}

/// Lanes of vector registers, each a register of its own for gdb.
fn vectors(name: &str, suffix: &str, numbers: Range<u16>, lanes: Range<u16>) -> Vec<Register> {
    let kind = match (suffix, lanes.len()) {
        ("", 2) => "vec128",
        (_, 2) => "uint128",
        _ => "v2ui128",
    };
    let of = |number| {
        let words: Vec<RegWord> = lanes
            .clone()
            .map(|lane| RegWord::vector(number, lane))
            .collect();
        let bytes = words.len() * 8;
        register(
            format!("{name}{number}{suffix}"),
            kind,
            bytes,
            Source::Words(words),
        )
    };
    numbers.map(of).collect()
}

/// All registers, in the order in which they are sent.
pub(super) fn registers() -> impl Iterator<Item = &'static Register> {
    features().iter().flat_map(|(_, registers)| registers)
}

/// The type of XMM registers that gdb's own description gives them, so that `$xmm0.v2_double[0]` works.
fn vec128() -> String {
    const VIEWS: [(&str, &str, u8); 6] = [
        ("v4_float", "ieee_single", 4),
        ("v2_double", "ieee_double", 2),
        ("v16_int8", "int8", 16),
        ("v8_int16", "int16", 8),
        ("v4_int32", "int32", 4),
        ("v2_int64", "int64", 2),
    ];
    let (mut vectors, mut fields) = (String::new(), String::new());
    for (name, kind, count) in VIEWS {
        vectors += &format!("<vector id=\"{name}\" type=\"{kind}\" count=\"{count}\"/>");
        fields += &format!("<field name=\"{name}\" type=\"{name}\"/>");
    }
    let whole = "<field name=\"uint128\" type=\"uint128\"/>";
    format!("{vectors}<union id=\"vec128\">{fields}{whole}</union>")
}

/// The description as gdb reads it.
pub(super) fn xml() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">\
         <architecture>i386:x86-64</architecture><osabi>GNU/Linux</osabi>",
    );
    for (feature, registers) in features() {
        xml += &format!("<feature name=\"{feature}\">");
        let uses = |kind| registers.iter().any(|register| register.kind == kind);
        if uses("v2ui128") {
            xml += "<vector id=\"v2ui128\" type=\"uint128\" count=\"2\"/>";
        }
        if uses("vec128") {
            xml += &vec128();
        }
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
        let all: Vec<&Register> = registers().collect();
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
