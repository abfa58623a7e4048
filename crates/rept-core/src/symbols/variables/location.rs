//! Where a variable is, by its DWARF location, and the bytes there as far as they are known.
//!
//! An expression is evaluated over registers and memory of which each bit may be unknown. What it
//! takes to find the place counts too: bytes at an address that is only inferred are inferred.

use super::super::die::{Die, Dies};
use super::super::dwarf::Reader;
use super::super::exports::Counts;
use super::super::places::Places;
use super::super::thread_storage::{Base, Called};
use crate::history::{Trust, Value};
use gimli::{Encoding, Evaluation, EvaluationResult, Expression, Location, Piece, Reader as _};
use rept_trace::{Address, RegWord};

/// Operations evaluated at most; expressions may loop.
const MAX_OPERATIONS: u32 = 10_000;
/// Expressions inside expressions at most.
const MAX_NESTING: usize = 4;

/// Where the thread pointer leads to the thread's vector of blocks, as glibc has it. The number of its
/// entries is in the one before it; each is an address, and what is to be freed with it.
const THREAD_VECTOR: u64 = 8;
const THREAD_VECTOR_ENTRY: u64 = 16;
/// What an entry is while the thread has not used the module's variables.
const NO_BLOCK: u64 = u64::MAX;

/// General-purpose registers in DWARF's order (System V ABI, AMD64 supplement, figure 3.36).
const BY_DWARF: [u16; 16] = [0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];

/// What a frame's code finds in registers and memory.
pub(crate) struct FrameState<'a> {
    /// Registers of the frame.
    pub(crate) register: &'a dyn Fn(RegWord) -> Value,
    /// Registers when the function was entered, where the history tells.
    pub(crate) at_entry: &'a dyn Fn(RegWord) -> Option<Value>,
    /// A byte of memory.
    pub(crate) byte: &'a dyn Fn(Address) -> Value,
    /// Canonical frame address, and how it is known.
    pub(crate) cfa: Option<(u64, Trust)>,
    /// The thread pointer.
    pub(crate) thread: Value,
    /// What is shown.
    pub(crate) trust: Trust,
}

/// Bytes of an object, each with its known bits; and where they lie, when it is in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    pub(super) bytes: Vec<Value>,
    pub(super) address: Option<Address>,
    /// The register that they are in, when it is one.
    pub(super) register: Option<RegWord>,
    /// How the place is known.
    pub(super) floor: Grade,
}

/// The weakest grade of what was needed so far.
pub(super) type Grade = Option<Trust>;

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The compiler kept it nowhere.
    OptimizedOut,
    /// It is the thread's own, and the thread has not used any of the module's yet.
    NotMade,
    /// It is the thread's own, in a block that was made when a library was loaded.
    LoadedLater,
    /// Another module may have one of the same name, which is used instead.
    SeveralModules,
    /// The place depends on something that is not known.
    PlaceUnknown,
    /// The expression uses something that is not supported.
    Unsupported(&'static str),
}

impl FrameState<'_> {
    /// A word that is wholly known, and how.
    fn whole(&self, value: Value) -> Option<(u64, Trust)> {
        let grades = [Trust::Certain, Trust::Assumed, Trust::Inferred];
        let mut allowed = grades.into_iter().filter(|&grade| grade <= self.trust);
        let grade = allowed.find(|grade| grade.known(&value) == u64::MAX)?;
        Some((value.bits, grade))
    }

    /// `len` bytes at an address whose own grade is `floor`.
    pub(super) fn memory(&self, address: Address, len: u64, floor: Grade) -> Bytes {
        let bytes = (0..len).map(|distance| {
            let byte = (self.byte)(address.offset(distance));
            limited(byte, self.trust, floor)
        });
        Bytes {
            bytes: bytes.collect(),
            address: Some(address),
            register: None,
            floor,
        }
    }

    fn number(&self, address: u64, size: u64, floor: &mut Grade) -> Option<u64> {
        let found = self.memory(Address(address), size, None);
        let (mut number, mut all) = (0, Value::default());
        all.certain = 0xff;
        all.assumed = 0xff;
        for (index, byte) in found.bytes.iter().enumerate() {
            if byte.known != 0xff {
                return None;
            }
            all.certain &= byte.certain;
            all.assumed &= byte.assumed;
            number |= byte.bits << (8 * index);
        }
        let grade = match (all.certain, all.assumed) {
            (0xff, _) => Trust::Certain,
            (_, 0xff) => Trust::Assumed,
            _ => Trust::Inferred,
        };
        *floor = (*floor).max(Some(grade));
        Some(number)
    }
}

/// A value as shown at grade `trust`, when what led to it is known no better than `floor`.
pub(super) fn limited(value: Value, trust: Trust, floor: Grade) -> Value {
    let known = trust.known(&value);
    let (certain, assumed) = match floor {
        None | Some(Trust::Certain) => (value.certain, value.assumed),
        Some(Trust::Assumed) => (0, value.assumed),
        Some(Trust::Inferred) => (0, 0),
    };
    Value {
        bits: value.bits & known,
        known,
        certain: certain & known,
        assumed: assumed & known,
    }
}

/// One evaluation.
pub(super) struct Evaluator<'a> {
    pub(super) dies: &'a mut Dies,
    pub(super) state: &'a FrameState<'a>,
    /// The function: for DW_OP_fbreg.
    pub(super) function: &'a Die,
    /// The frame's registers are not set up (or no more) as its frame base has it.
    pub(super) unset: bool,
    /// Where the module's variables are.
    pub(super) places: &'a Places,
    /// The variable, and its bytes.
    pub(super) variable: (&'a Die, u64),
    pub(super) nesting: usize,
}

impl Evaluator<'_> {
    /// The bytes of an object of `size` bytes that an expression describes.
    pub(super) fn object(
        &mut self,
        unit: &Die,
        expression: Expression<Reader>,
        size: u64,
    ) -> Result<Bytes, Missing> {
        let mut floor = None;
        let pieces = self.pieces(unit, expression, None, &mut floor)?;
        if let [piece] = pieces.as_slice()
            && piece.size_in_bits.is_none()
        {
            return self.piece(piece, size, floor);
        }
        let mut found = Bytes {
            floor,
            ..Bytes::default()
        };
        for piece in &pieces {
            let bits = piece.size_in_bits.unwrap_or(0);
            if bits % 8 != 0 || piece.bit_offset.unwrap_or(0) != 0 {
                return Err(Missing::Unsupported("pieces of bits"));
            }
            let len = (bits / 8).min(size - found.bytes.len() as u64);
            match self.piece(piece, len, floor) {
                Ok(part) => found.bytes.extend(part.bytes),
                Err(_) => found
                    .bytes
                    .extend(std::iter::repeat_n(Value::default(), len as usize)),
            }
        }
        found.bytes.resize(size as usize, Value::default());
        Ok(found)
    }

    fn piece(&self, piece: &Piece<Reader>, len: u64, floor: Grade) -> Result<Bytes, Missing> {
        let raw = |number: u64| Bytes {
            bytes: split(limited(all_known(number), self.state.trust, floor), len),
            floor,
            ..Bytes::default()
        };
        match &piece.location {
            Location::Empty => Err(Missing::OptimizedOut),
            Location::Register { register } => {
                let words = registers(register.0).ok_or(Missing::Unsupported("a register"))?;
                let mut bytes = Vec::new();
                let register = words.first().copied().filter(|_| words.len() == 1);
                for word in words {
                    let value = limited((self.state.register)(word), self.state.trust, floor);
                    bytes.extend(split(value, 8));
                }
                bytes.resize(len as usize, Value::default());
                Ok(Bytes {
                    bytes,
                    register,
                    floor,
                    ..Bytes::default()
                })
            }
            Location::Address { address } => Ok(self.state.memory(Address(*address), len, floor)),
            Location::Value { value } => match value {
                gimli::Value::F32(number) => Ok(raw(number.to_bits().into())),
                gimli::Value::F64(number) => Ok(raw(number.to_bits())),
                other => other
                    .to_u64(u64::MAX)
                    .map(raw)
                    .map_err(|_| Missing::Unsupported("a value")),
            },
            Location::Bytes { value } => {
                let bytes = value.to_slice().map_err(|_| Missing::OptimizedOut)?;
                let one = |&byte: &u8| {
                    limited(all_known(byte.into()).masked(0xff), self.state.trust, floor)
                };
                let mut bytes: Vec<Value> = bytes.iter().map(one).collect();
                bytes.resize(len as usize, Value::default());
                Ok(Bytes {
                    bytes,
                    floor,
                    ..Bytes::default()
                })
            }
            Location::ImplicitPointer { .. } => {
                Err(Missing::Unsupported("a pointer to an optimized-out value"))
            }
        }
    }

    fn pieces(
        &mut self,
        unit: &Die,
        expression: Expression<Reader>,
        initial: Option<u64>,
        floor: &mut Grade,
    ) -> Result<Vec<Piece<Reader>>, Missing> {
        let mut evaluation = expression.evaluation(unit.unit.encoding());
        evaluation.set_max_iterations(MAX_OPERATIONS);
        evaluation.set_object_address(0);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let broken = |_| Missing::Unsupported("an expression that cannot be read");
        let mut state = evaluation.evaluate().map_err(broken)?;
        while !matches!(state, EvaluationResult::Complete) {
            state = self.supply(unit, &mut evaluation, state, floor)?;
        }
        Ok(evaluation.result())
    }

    /// The number that an expression computes, and of a register the register's.
    pub(super) fn value(
        &mut self,
        unit: &Die,
        expression: Expression<Reader>,
        initial: Option<u64>,
        floor: &mut Grade,
    ) -> Result<u64, Missing> {
        if self.nesting == MAX_NESTING {
            return Err(Missing::Unsupported("nested expressions"));
        }
        self.nesting += 1;
        let pieces = self.pieces(unit, expression, initial, floor);
        self.nesting -= 1;
        match pieces?.as_slice() {
            [piece] => match &piece.location {
                Location::Address { address } => Ok(*address),
                Location::Value { value } => value
                    .to_u64(u64::MAX)
                    .map_err(|_| Missing::Unsupported("a value")),
                Location::Register { register } => self.register(register.0, floor),
                _ => Err(Missing::OptimizedOut),
            },
            _ => Err(Missing::Unsupported("several pieces")),
        }
    }

    fn register(&self, number: u16, floor: &mut Grade) -> Result<u64, Missing> {
        let word = general(number).ok_or(Missing::Unsupported("a register"))?;
        let whole = self.state.whole((self.state.register)(word));
        let (bits, grade) = whole.ok_or(Missing::PlaceUnknown)?;
        *floor = (*floor).max(Some(grade));
        Ok(bits)
    }

    fn supply(
        &mut self,
        unit: &Die,
        evaluation: &mut Evaluation<Reader>,
        wanted: EvaluationResult<Reader>,
        floor: &mut Grade,
    ) -> Result<EvaluationResult<Reader>, Missing> {
        let next = match wanted {
            EvaluationResult::RequiresMemory {
                address,
                size,
                base_type,
                ..
            } => {
                let number = self.state.number(address, size.into(), floor);
                let number = number.ok_or(Missing::PlaceUnknown)?;
                evaluation.resume_with_memory(self.typed(unit, base_type, number)?)
            }
            EvaluationResult::RequiresRegister {
                register,
                base_type,
            } => {
                let number = self.register(register.0, floor)?;
                evaluation.resume_with_register(self.typed(unit, base_type, number)?)
            }
            EvaluationResult::RequiresFrameBase => {
                let base = self.frame_base(floor)?;
                evaluation.resume_with_frame_base(base)
            }
            EvaluationResult::RequiresCallFrameCfa => {
                let (cfa, grade) = self.state.cfa.ok_or(Missing::PlaceUnknown)?;
                *floor = (*floor).max(Some(grade));
                evaluation.resume_with_call_frame_cfa(cfa)
            }
            EvaluationResult::RequiresEntryValue(expression) => {
                let value = self.entry_value(expression, unit.unit.encoding(), floor)?;
                evaluation.resume_with_entry_value(gimli::Value::Generic(value))
            }
            EvaluationResult::RequiresRelocatedAddress(address) => {
                let address = self.relocated(address)?;
                evaluation.resume_with_relocated_address(address)
            }
            EvaluationResult::RequiresIndexedAddress { index, relocate } => {
                let address = unit.unit.dwarf.address(&unit.unit, index);
                let address = address.map_err(|_| Missing::OptimizedOut)?;
                let address = match relocate {
                    true => self.relocated(address)?,
                    false => address,
                };
                evaluation.resume_with_indexed_address(address)
            }
            EvaluationResult::RequiresBaseType(offset) => {
                let kind = self.value_type(unit, offset)?;
                evaluation.resume_with_base_type(kind)
            }
            EvaluationResult::RequiresTls(offset) => {
                let distance = self.thread_distance(offset)?;
                let block = self.thread_block(floor)?;
                evaluation.resume_with_tls(block.wrapping_add(distance))
            }
            _ => return Err(Missing::Unsupported("a reference to another entry")),
        };
        next.map_err(|_| Missing::Unsupported("an expression that cannot be read"))
    }

    /// Where the thread's variables of the module begin.
    fn thread_block(&self, floor: &mut Grade) -> Result<u64, Missing> {
        let (pointer, grade) = self
            .state
            .whole(self.state.thread)
            .ok_or(Missing::PlaceUnknown)?;
        *floor = (*floor).max(Some(grade));
        let mut number = |address: u64| {
            let number = self.state.number(address, 8, floor);
            number.ok_or(Missing::PlaceUnknown)
        };
        match self.places.storage.base {
            Base::Fixed(distance) => Ok(pointer.wrapping_add(distance)),
            Base::Distance { at, plus } => {
                let distance = number(at.wrapping_add(self.places.bias))?;
                // Blocks lie below the thread pointer; the loader has not been here yet.
                if (distance as i64) >= 0 {
                    return Err(Missing::PlaceUnknown);
                }
                Ok(pointer.wrapping_add(distance.wrapping_sub(plus)))
            }
            Base::Numbered { at } => {
                let module = number(at.wrapping_add(self.places.bias))?;
                numbered_block(module, pointer, number)
            }
            Base::Unknown => Err(Missing::Unsupported("thread-local storage of this module")),
        }
    }

    /// An address of the file's data, in the process.
    fn relocated(&self, address: u64) -> Result<u64, Missing> {
        if !self.places.has(address) {
            return Err(Missing::OptimizedOut);
        }
        match self.places.counts(false, address) {
            Counts::Own => Ok(address.wrapping_add(self.places.bias)),
            Counts::Copy(address) => Ok(address),
            Counts::Unknown => Err(Missing::SeveralModules),
        }
    }

    /// How far the variable is into the module's block, by what debug information has.
    fn thread_distance(&mut self, number: u64) -> Result<u64, Missing> {
        let (die, size) = self.variable;
        let called = Called {
            symbol: self.dies.linkage_name(die),
            name: self.dies.name(die).unwrap_or_default(),
            size,
        };
        let distance = self.places.storage.distance(number, &called);
        let distance = distance.ok_or(Missing::PlaceUnknown)?;
        match self.places.counts(true, distance) {
            Counts::Own => Ok(distance),
            _ => Err(Missing::SeveralModules),
        }
    }

    fn typed(
        &self,
        unit: &Die,
        offset: gimli::UnitOffset,
        number: u64,
    ) -> Result<gimli::Value, Missing> {
        if offset.0 == 0 {
            return Ok(gimli::Value::Generic(number));
        }
        let kind = self.value_type(unit, offset)?;
        gimli::Value::from_u64(kind, number).map_err(|_| Missing::Unsupported("a value"))
    }

    fn value_type(
        &self,
        unit: &Die,
        offset: gimli::UnitOffset,
    ) -> Result<gimli::ValueType, Missing> {
        if offset.0 == 0 {
            return Ok(gimli::ValueType::Generic);
        }
        let unit = unit.unit.clone();
        let entry = self.dies.entry(&Die { unit, offset });
        entry
            .and_then(|entry| gimli::ValueType::from_entry(&entry).ok().flatten())
            .ok_or(Missing::Unsupported("a type of values"))
    }

    fn frame_base(&mut self, floor: &mut Grade) -> Result<u64, Missing> {
        if self.unset {
            return Err(Missing::PlaceUnknown);
        }
        let function = self.function.clone();
        let found = self.dies.attribute(&function, gimli::DW_AT_frame_base);
        let expression = found.and_then(|(_, value)| value.exprloc_value());
        let expression = expression.ok_or(Missing::Unsupported("a frame base"))?;
        self.value(&function, expression, None, floor)
    }

    /// The value that an expression had when the function was entered: those of registers only,
    /// which is what compilers write.
    fn entry_value(
        &self,
        expression: Expression<Reader>,
        encoding: Encoding,
        floor: &mut Grade,
    ) -> Result<u64, Missing> {
        let mut operations = expression.operations(encoding);
        let (first, second) = (operations.next(), operations.next());
        let (Ok(Some(gimli::Operation::Register { register })), Ok(None)) = (first, second) else {
            return Err(Missing::Unsupported(
                "a value at entry that is no register's",
            ));
        };
        let word = general(register.0).ok_or(Missing::Unsupported("a register"))?;
        let value = (self.state.at_entry)(word).ok_or(Missing::PlaceUnknown)?;
        let (bits, grade) = self.state.whole(value).ok_or(Missing::PlaceUnknown)?;
        *floor = (*floor).max(Some(grade));
        Ok(bits)
    }
}

/// The block of the module of this number in a thread's vector. A block that was made when a library
/// was loaded is not told from that of an earlier library of the same number, which is gone.
fn numbered_block(
    module: u64,
    pointer: u64,
    mut number: impl FnMut(u64) -> Result<u64, Missing>,
) -> Result<u64, Missing> {
    let vector = number(pointer.wrapping_add(THREAD_VECTOR))?;
    let entries = number(vector.wrapping_sub(THREAD_VECTOR_ENTRY))?;
    if module == 0 || module > entries {
        return Err(Missing::PlaceUnknown);
    }
    let entry = vector.wrapping_add(module.wrapping_mul(THREAD_VECTOR_ENTRY));
    match (number(entry)?, number(entry.wrapping_add(8))?) {
        (NO_BLOCK, _) => Err(Missing::NotMade),
        (block, 0) => Ok(block),
        _ => Err(Missing::LoadedLater),
    }
}

fn general(number: u16) -> Option<RegWord> {
    BY_DWARF
        .get(usize::from(number))
        .map(|&number| RegWord::gpr(number))
}

/// Words of a register by its DWARF number.
fn registers(number: u16) -> Option<Vec<RegWord>> {
    match number {
        0..=15 => Some(vec![general(number)?]),
        17..=32 => Some(
            (0..8)
                .map(|lane| RegWord::vector(number - 17, lane))
                .collect(),
        ),
        _ => None,
    }
}

/// A number about which nothing is in doubt.
pub(super) fn all_known(bits: u64) -> Value {
    Value {
        bits,
        known: u64::MAX,
        certain: u64::MAX,
        assumed: u64::MAX,
    }
}

/// The lowest `len` bytes of a word, zero behind its eighth.
fn split(value: Value, len: u64) -> Vec<Value> {
    let byte = |index: u64| match u32::try_from(8 * index) {
        Ok(shift) if shift < 64 => Value {
            bits: value.bits >> shift,
            known: value.known >> shift,
            certain: value.certain >> shift,
            assumed: value.assumed >> shift,
        }
        .masked(0xff),
        _ => Value::default(),
    };
    (0..len).map(byte).collect()
}
