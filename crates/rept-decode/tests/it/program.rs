//! Random programs, run by a tracer that shares nothing with the decoder: it knows where each
//! of its instructions is, takes branches as told, and writes the packets that a processor would.

use crate::encode::encode;
use rept_decode::packet::{IpCompression, IpPayload, Packet};
use std::collections::VecDeque;

/// Where the program lies.
pub const BASE: u64 = 0x40_0000;

/// How a piece of the program ends. Numbers choose a target among the pieces.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    FallThrough,
    Branch(usize),
    Jump(usize),
    Call(usize),
    JumpIndirect,
    CallIndirect,
    Return,
    SystemCall,
}

/// Some plain instructions, then an ending.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Lengths of the plain instructions, 1 to 9 bytes.
    pub plain: Vec<u8>,
    pub ending: Ending,
}

/// What happens at a piece's end, or in its middle, as chosen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub taken: bool,
    /// Target of an indirect branch.
    pub target: usize,
    /// Events on the way: see `Tracer::piece`.
    pub event: u8,
}

/// The multi-byte NOPs that the manual recommends.
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

fn ending_len(ending: Ending) -> u64 {
    match ending {
        Ending::FallThrough => 0,
        Ending::Branch(_) => 6,
        Ending::Jump(_) | Ending::Call(_) => 5,
        Ending::JumpIndirect | Ending::CallIndirect | Ending::SystemCall => 2,
        Ending::Return => 1,
    }
}

/// A program laid out in memory.
pub struct Program {
    pieces: Vec<Piece>,
    starts: Vec<u64>,
    pub code: Vec<u8>,
}

impl Program {
    /// Lays the pieces out one behind the other; the last one falls through to a jump to the first.
    pub fn new(mut pieces: Vec<Piece>) -> Program {
        pieces.push(Piece {
            plain: Vec::new(),
            ending: Ending::Jump(0),
        });
        let mut starts = Vec::new();
        let mut at = BASE;
        for piece in &pieces {
            starts.push(at);
            at += piece.plain.iter().map(|&len| u64::from(len)).sum::<u64>()
                + ending_len(piece.ending);
        }
        let mut code = Vec::new();
        for piece in &pieces {
            piece
                .plain
                .iter()
                .for_each(|&len| code.extend_from_slice(NOPS[usize::from(len) - 1]));
            assemble(piece.ending, BASE + code.len() as u64, &starts, &mut code);
        }
        Program {
            pieces,
            starts,
            code,
        }
    }
}

fn assemble(ending: Ending, at: u64, starts: &[u64], code: &mut Vec<u8>) {
    let mut relative = |opcode: &[u8], target: usize| {
        code.extend_from_slice(opcode);
        let end = at + opcode.len() as u64 + 4;
        let distance = starts[target % starts.len()].wrapping_sub(end) as u32;
        code.extend_from_slice(&distance.to_le_bytes());
    };
    match ending {
        Ending::FallThrough => {}
        Ending::Branch(target) => relative(&[0x0f, 0x84], target),
        Ending::Jump(target) => relative(&[0xe9], target),
        Ending::Call(target) => relative(&[0xe8], target),
        Ending::JumpIndirect => code.extend_from_slice(&[0xff, 0xe0]),
        Ending::CallIndirect => code.extend_from_slice(&[0xff, 0xd0]),
        Ending::Return => code.push(0xc3),
        Ending::SystemCall => code.extend_from_slice(&[0x0f, 0x05]),
    }
}

/// What a run of a program gave.
#[derive(Default)]
pub struct Run {
    pub packets: Vec<u8>,
    /// Address of every instruction that completed, but for rounds of direct jumps that leave nothing
    /// in the packets.
    pub steps: Vec<u64>,
    /// Where there were such rounds: between two steps of these, as first and last number.
    pub rounds: Vec<(u64, u64)>,
}

const MODE_64: Packet = Packet::ModeExec {
    long: true,
    default_32: false,
    interrupts: false,
};

/// Runs a program and writes packets.
pub struct Tracer<'a> {
    program: &'a Program,
    compress: bool,
    run: Run,
    outcomes: (u64, u8),
    last_ip: u64,
    // Return addresses on the program's stack, and those that the processor tracks.
    stack: Vec<u64>,
    tracked: VecDeque<u64>,
    cycles: u64,
    // Number of steps at the last packet or outcome that told the way.
    told: usize,
}

impl<'a> Tracer<'a> {
    pub fn run(program: &'a Program, compress: bool, choices: &[Choice]) -> Run {
        let mut tracer = Tracer {
            program,
            compress,
            run: Run::default(),
            outcomes: (0, 0),
            last_ip: 0,
            stack: Vec::new(),
            tracked: VecDeque::new(),
            cycles: 0,
            told: 0,
        };
        tracer.boundary(None);
        tracer.write(MODE_64);
        let mut at = program.starts[0];
        tracer.ip(Packet::TipPge, at);
        for &choice in choices {
            at = tracer.piece(at, choice);
        }
        tracer.leave_out_rounds(at);
        tracer.flush();
        tracer.ip(Packet::Fup, at);
        tracer.write(Packet::TipPgd(IpPayload::SUPPRESSED));
        tracer.run
    }

    /// A packet is about to tell that `at` is next: rounds of direct jumps back to there have left nothing.
    fn leave_out_rounds(&mut self, at: u64) {
        let untold = &self.run.steps[self.told..];
        if let Some(first) = untold.iter().position(|&step| step == at) {
            let arrived = self.told + first;
            self.run.steps.truncate(arrived);
            self.run.rounds.push((self.told as u64, arrived as u64));
        }
    }

    fn write(&mut self, packet: Packet) {
        self.run.packets.extend(encode(&packet));
    }

    /// An address in the shortest form that the last one allows.
    fn ip(&mut self, packet: fn(IpPayload) -> Packet, address: u64) {
        let compression = match address ^ self.last_ip {
            0..=0xffff => IpCompression::Update16,
            0x1_0000..=0xffff_ffff => IpCompression::Update32,
            _ => IpCompression::SignExtend48,
        };
        let bits = address & ((1 << (8 * compression.payload_bytes())) - 1);
        self.last_ip = address;
        self.told = self.run.steps.len();
        self.write(packet(IpPayload { compression, bits }));
    }

    fn outcome(&mut self, taken: bool) {
        self.told = self.run.steps.len();
        let (bits, len) = self.outcomes;
        self.outcomes = (bits << 1 | u64::from(taken), len + 1);
        if len + 1 == 6 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let (bits, len) = std::mem::take(&mut self.outcomes);
        if len > 0 {
            self.write(Packet::Tnt {
                bits,
                len,
                long: false,
            });
        }
    }

    /// PSB+, with the address when tracing is on.
    fn boundary(&mut self, at: Option<u64>) {
        if let Some(at) = at {
            self.leave_out_rounds(at);
        }
        self.flush();
        self.write(Packet::Psb);
        self.last_ip = 0;
        self.tracked.clear();
        self.write(Packet::Cbr { ratio: 20 });
        if let Some(at) = at {
            self.write(MODE_64);
            self.ip(Packet::Fup, at);
        }
        self.write(Packet::PsbEnd);
    }

    fn call(&mut self, next: u64) {
        self.stack.push(next);
        self.tracked.push_back(next);
        if self.tracked.len() > 64 {
            self.tracked.pop_front();
        }
    }

    /// Runs the piece at `at` and returns where control goes.
    fn piece(&mut self, at: u64, choice: Choice) -> u64 {
        match choice.event {
            0 => self.boundary(Some(at)),
            1 => {
                self.cycles += 7;
                self.write(Packet::Cyc {
                    cycles: self.cycles,
                });
            }
            2 => self.write(Packet::Mtc {
                ctc: self.cycles as u8,
            }),
            _ => {}
        }
        let index = self
            .program
            .starts
            .iter()
            .position(|&start| start == at)
            .expect("a piece begins here");
        let piece = &self.program.pieces[index];
        let mut here = at;
        for &len in &piece.plain {
            self.run.steps.push(here);
            here += u64::from(len);
        }
        if choice.event == 3 {
            self.interrupt(here);
        }
        self.ending(piece.ending, here, choice)
    }

    /// Tracing stops at `at` and goes on there.
    fn interrupt(&mut self, at: u64) {
        self.leave_out_rounds(at);
        self.flush();
        self.ip(Packet::Fup, at);
        self.write(Packet::TipPgd(IpPayload::SUPPRESSED));
        self.ip(Packet::TipPge, at);
    }

    fn ending(&mut self, ending: Ending, at: u64, choice: Choice) -> u64 {
        let start = |target: usize| self.program.starts[target % self.program.starts.len()];
        let chosen = start(choice.target);
        let next = at + ending_len(ending);
        if next != at {
            self.run.steps.push(at);
        }
        match ending {
            Ending::FallThrough => next,
            Ending::Branch(target) => {
                let to = if choice.taken { start(target) } else { next };
                self.outcome(choice.taken);
                to
            }
            Ending::Jump(target) => start(target),
            Ending::Call(target) => {
                let to = start(target);
                if to == next {
                    self.stack.push(next);
                } else {
                    self.call(next);
                }
                to
            }
            Ending::JumpIndirect => self.indirect(chosen),
            Ending::CallIndirect => {
                self.call(next);
                self.indirect(chosen)
            }
            Ending::Return => self.give_back(chosen),
            Ending::SystemCall => {
                self.flush();
                self.write(Packet::TipPgd(IpPayload::SUPPRESSED));
                self.ip(Packet::TipPge, next);
                next
            }
        }
    }

    fn indirect(&mut self, to: u64) -> u64 {
        self.flush();
        self.ip(Packet::Tip, to);
        to
    }

    /// A return: compressed when it goes where the processor expects.
    fn give_back(&mut self, otherwise: u64) -> u64 {
        let to = self.stack.pop().unwrap_or(otherwise);
        if self.tracked.pop_back() == Some(to) && self.compress {
            self.outcome(true);
            return to;
        }
        self.indirect(to)
    }
}
