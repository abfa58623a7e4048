//! Processor errata that change the packet stream.
//!
//! Names are those of Intel's specification updates; the same fault has other names in
//! other documents (BDM70 is also SKL021 and KBL021, for instance). Each switch says what
//! the decoder does differently. Faults that the decoder's ordinary rules absorb are
//! listed too, so that the table is whole.

use crate::CpuModel;

/// Which errata a processor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errata {
    /// A transactional abort right after a branch may record a wrong branch target just
    /// before the abort: a TIP whose target the abort's FUP contradicts is overruled.
    pub bdm64: bool,
    /// A PSB+ before a TIP.PGE may hold FUP and MODE.Exec although tracing is off: such
    /// a FUP does not enable tracing when a TIP.PGE follows.
    pub bdm70: bool,
    /// An OVF may come inside a CYC packet, in place of its further bytes.
    pub skd007: bool,
    /// An OVF may lack the FUP or TIP.PGE that tells where tracing goes on: the next
    /// packet with an address does.
    pub skd010: bool,
    /// A VM entry that clears TraceEn may put a FUP before its TIP.PGD: not an
    /// asynchronous event, the VM entry instruction ran.
    pub skd022: bool,
    /// A direct branch out of the filtered region may give a TIP.PGD without target.
    pub skl014: bool,
    /// One CYC, perhaps with an MTC, may be missing before a PSB: the first of each
    /// after a PSB calibrates nothing.
    pub skl168: bool,
    /// A guest's TMA may hold wrong values and be followed by one bogus byte.
    pub skz84: bool,
    /// An OVF may be followed by a TIP.PGD.
    pub apl11: bool,
    /// An OVF while the filter is off may be followed by a FUP.
    pub apl12: bool,
}

const NONE: Errata = Errata {
    bdm64: false,
    bdm70: false,
    skd007: false,
    skd010: false,
    skd022: false,
    skl014: false,
    skl168: false,
    skz84: false,
    apl11: false,
    apl12: false,
};

impl Errata {
    /// The errata of this processor; none for one that the table does not know.
    pub fn of(cpu: CpuModel) -> Errata {
        match (cpu.family, cpu.model) {
            // Broadwell.
            (6, 0x3d | 0x47 | 0x4f | 0x56) => Errata {
                bdm64: true,
                bdm70: true,
                ..NONE
            },
            // Skylake, Kaby Lake, Coffee Lake and Comet Lake clients.
            (6, 0x4e | 0x5e | 0x8e | 0x9e | 0xa5 | 0xa6) => Errata {
                bdm70: true,
                skd007: true,
                skd010: true,
                skd022: true,
                skl014: true,
                skl168: true,
                ..NONE
            },
            // Skylake, Cascade Lake, Cooper Lake and Ice Lake servers.
            (6, 0x55 | 0x6a | 0x6c) => Errata {
                bdm70: true,
                skd022: true,
                skl014: true,
                skz84: true,
                ..NONE
            },
            // Sapphire, Emerald and Granite Rapids, Diamond Rapids.
            (6, 0x8f | 0xcf | 0xad | 0xae) | (0x13, 0x01) => Errata {
                bdm70: true,
                skd022: true,
                skz84: true,
                ..NONE
            },
            // Cannon, Ice, Tiger and Rocket Lake.
            (6, 0x66 | 0x7d | 0x7e | 0x8c | 0x8d | 0xa7 | 0xa8) => Errata {
                bdm70: true,
                skd022: true,
                skl014: true,
                ..NONE
            },
            // Alder Lake and its successors.
            (
                6,
                0x97 | 0x9a | 0xba | 0xb7 | 0xbf | 0xc5 | 0xc6 | 0xb5 | 0xaa | 0xac | 0xbd | 0xcc
                | 0xd5,
            )
            | (0x12, 0x01 | 0x03) => Errata {
                bdm70: true,
                skd022: true,
                apl11: true,
                ..NONE
            },
            // Goldmont.
            (6, 0x5c | 0x5f) => Errata {
                apl11: true,
                apl12: true,
                ..NONE
            },
            // Goldmont Plus, Tremont, Gracemont and their successors.
            (6, 0x7a | 0x86 | 0x96 | 0x9c | 0xb6 | 0xaf | 0xdd) => Errata {
                apl11: true,
                ..NONE
            },
            _ => NONE,
        }
    }
}
