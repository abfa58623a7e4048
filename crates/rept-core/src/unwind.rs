//! Who called whom at a position.
//!
//! Calls made inside the window are known by the trace alone: the frames above them are
//! those of the calling steps, with the registers they had then. Beyond the outermost of
//! them, call-frame information (`.eh_frame`) unwinds over what is known of registers and
//! stack; where something is not known the backtrace ends, and says why.

mod evaluate;

use crate::binaries::Binary;
use crate::history::{History, StateView, Trust};
use crate::position::Position;
use crate::symbols::{Reader, section};
use evaluate::{Surroundings, value_of};
use gimli::{CfaRule, EndianReader, LittleEndian, RegisterRule, UnwindSection};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};
use rept_trace::{Address, RegWord};
use std::sync::Arc;

/// Frames of one backtrace at most.
const MAX_FRAMES: usize = 1024;
/// Registers that DWARF numbers 0 to 15, then the return address.
const REGISTERS: usize = 17;
const RETURN_ADDRESS: usize = 16;

/// General-purpose registers in DWARF's order (System V ABI, AMD64 supplement, figure 3.36).
const BY_DWARF: [u16; 16] = [0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];

/// The open function calls at a position, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backtrace {
    /// Frames.
    pub frames: Vec<Frame>,
    /// Why there may be more frames than these; `None` when the outermost is the last.
    pub truncated: Option<String>,
}

/// One open function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The instruction that runs next in it; for outer frames, the one behind the call.
    pub pc: Address,
    /// The calling step, for calls made inside the window.
    pub call: Option<Position>,
}

impl Frame {
    /// An address inside the instruction that the frame is at: for outer frames the call.
    /// This is what to look symbols and lines up with.
    pub fn lookup_address(&self, index: usize) -> Address {
        if index == 0 {
            self.pc
        } else {
            Address(self.pc.0.wrapping_sub(1))
        }
    }
}

/// Registers of a frame, as far as known.
type Registers = [Option<u64>; REGISTERS];

impl History {
    /// The open function calls at a position, by values known at grade `trust` or better.
    ///
    /// `None` when there is no such position.
    pub fn backtrace(&self, position: Position, trust: Trust) -> Option<Backtrace> {
        let state = self.at(position)?;
        let mut backtrace = Backtrace::default();
        let Some(pc) = state.pc() else {
            backtrace.truncated = Some("the instruction pointer is not known".to_owned());
            return Some(backtrace);
        };
        backtrace.frames.push(Frame { pc, call: None });
        let mut outermost = state;
        for index in self.open_calls(position).into_iter().rev() {
            let site = Position::new(position.thread, self.calls(position.thread)[index].site);
            let Some((state, instruction)) = self.at(site).zip(self.instruction(site)) else {
                break;
            };
            let pc = instruction.at.offset(instruction.bytes.len() as u64);
            backtrace.frames.push(Frame {
                pc,
                call: Some(site),
            });
            outermost = state;
        }
        self.unwind(&outermost, trust, &mut backtrace);
        Some(backtrace)
    }

    fn unwind(&self, state: &StateView<'_>, trust: Trust, backtrace: &mut Backtrace) {
        let mut registers: Registers = [None; REGISTERS];
        for (register, number) in registers.iter_mut().zip(BY_DWARF) {
            let value = state.reg(RegWord::gpr(number));
            *register = (trust.known(&value) == u64::MAX).then_some(value.bits);
        }
        // The outermost frame known so far is at its own instruction, not behind a call.
        let Some(mut at) = state.pc() else { return };
        while backtrace.frames.len() < MAX_FRAMES {
            let (caller, return_to) = match self.caller(state, trust, at, &registers) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(reason) => {
                    backtrace.truncated = Some(reason);
                    return;
                }
            };
            backtrace.frames.push(Frame {
                pc: Address(return_to),
                call: None,
            });
            at = Address(return_to.wrapping_sub(1));
            registers = caller;
        }
        backtrace.truncated = Some(format!("more than {MAX_FRAMES} frames"));
    }

    /// Registers of the caller, and where the function returns to; `None` for the outermost function.
    fn caller(
        &self,
        state: &StateView<'_>,
        trust: Trust,
        at: Address,
        registers: &Registers,
    ) -> Result<Option<(Registers, u64)>, String> {
        let Some((binary, bias)) = self.session().symbols().binary(at) else {
            return Err(format!("no file for the code at {at}"));
        };
        let tables = Tables::new(&binary)
            .ok_or_else(|| format!("{} has no call-frame information", binary.path().display()))?;
        let memory = |address: u64, size: usize| state.read_number(Address(address), size, trust);
        let rules = tables.rules(at.0.wrapping_sub(bias));
        let (row, frame) =
            rules.ok_or_else(|| format!("no call-frame information for the code at {at}"))?;
        let surroundings = Surroundings {
            registers: &|number| registers.get(usize::from(number)).copied().flatten(),
            memory: &memory,
            cfa: None,
            frame_base: None,
            bias,
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                let base = (surroundings.registers)(register.0);
                base.map(|base| base.wrapping_add_signed(*offset))
            }
            CfaRule::Expression(expression) => {
                let expression = expression.get(&tables.frame).ok();
                expression.and_then(|expression| value_of(expression, frame, &surroundings, None))
            }
        };
        let cfa = cfa.ok_or_else(|| format!("the stack frame of the code at {at} is not known"))?;
        let inside = Surroundings {
            cfa: Some(cfa),
            ..surroundings
        };
        let mut caller: Registers = [None; REGISTERS];
        for (number, slot) in caller.iter_mut().enumerate() {
            let rule = row.register(gimli::Register(number as u16));
            if number == RETURN_ADDRESS && matches!(rule, Some(RegisterRule::Undefined)) {
                return Ok(None);
            }
            *slot = restore(rule, number, cfa, registers, &inside, &tables, frame);
        }
        caller[7] = Some(cfa);
        match caller[RETURN_ADDRESS] {
            Some(0) => Ok(None),
            Some(return_to) => Ok(Some((caller, return_to))),
            None => Err(format!(
                "the return address of the code at {at} is not known"
            )),
        }
    }
}

/// The value of a register in the caller. Registers without a rule keep their value when the ABI
/// has callees preserve them: rbx, rbp, r12 to r15.
fn restore(
    rule: Option<RegisterRule<usize>>,
    number: usize,
    cfa: u64,
    registers: &Registers,
    inside: &Surroundings<'_>,
    tables: &Tables,
    encoding: gimli::Encoding,
) -> Option<u64> {
    let preserved = matches!(number, 3 | 6 | 12..=15);
    match rule {
        None => registers[number].filter(|_| preserved),
        Some(RegisterRule::SameValue) => registers[number],
        Some(RegisterRule::Offset(offset)) => (inside.memory)(cfa.wrapping_add_signed(offset), 8),
        Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(offset)),
        Some(RegisterRule::Register(register)) => (inside.registers)(register.0),
        Some(RegisterRule::Constant(value)) => Some(value),
        Some(RegisterRule::Expression(expression)) => {
            let address = value_of(
                expression.get(&tables.frame).ok()?,
                encoding,
                inside,
                Some(cfa),
            )?;
            (inside.memory)(address, 8)
        }
        Some(RegisterRule::ValExpression(expression)) => value_of(
            expression.get(&tables.frame).ok()?,
            encoding,
            inside,
            Some(cfa),
        ),
        Some(_) => None,
    }
}

/// `.eh_frame` of one file.
struct Tables {
    frame: gimli::EhFrame<Reader>,
    bases: gimli::BaseAddresses,
    index: Option<gimli::ParsedEhFrameHdr<Reader>>,
}

impl Tables {
    fn new(binary: &Arc<Binary>) -> Option<Tables> {
        let file = ElfFile64::<object::LittleEndian>::parse(binary.bytes()).ok()?;
        let address = |name: &str| file.section_by_name(name).map(|section| section.address());
        let reader = |name: &str| {
            section(binary, &file, name).map(|bytes| EndianReader::new(bytes, LittleEndian))
        };
        let mut bases = gimli::BaseAddresses::default().set_eh_frame(address(".eh_frame")?);
        if let Some(text) = address(".text") {
            bases = bases.set_text(text);
        }
        if let Some(got) = address(".got") {
            bases = bases.set_got(got);
        }
        if let Some(header) = address(".eh_frame_hdr") {
            bases = bases.set_eh_frame_hdr(header);
        }
        let mut frame = gimli::EhFrame::from(reader(".eh_frame")?);
        frame.set_address_size(8);
        let index = reader(".eh_frame_hdr")
            .and_then(|bytes| gimli::EhFrameHdr::from(bytes).parse(&bases, 8).ok());
        Some(Tables {
            frame,
            bases,
            index,
        })
    }

    /// The unwinding rules for an address of the file.
    fn rules(&self, at: u64) -> Option<(gimli::UnwindTableRow<usize>, gimli::Encoding)> {
        let mut context = gimli::UnwindContext::new();
        let table = self.index.as_ref().and_then(gimli::ParsedEhFrameHdr::table);
        let entry = match table {
            Some(table) => table.fde_for_address(
                &self.frame,
                &self.bases,
                at,
                gimli::EhFrame::cie_from_offset,
            ),
            None => self
                .frame
                .fde_for_address(&self.bases, at, gimli::EhFrame::cie_from_offset),
        };
        let entry = entry.ok()?;
        let row = entry
            .unwind_info_for_address(&self.frame, &self.bases, &mut context, at)
            .ok()?;
        Some((row.clone(), entry.cie().encoding()))
    }
}
