//! Decoders, each with its code cache warm, and what each is asked to do.

use crate::traces::Sample;
use rept_decode::packet::{Packet, Packets};
use rept_decode::parts::split;
use rept_decode::{CodeBuilder, DecodeOptions, Decoder, Stream, decode_thread};
use rept_trace::{Code, ThreadId, ThreadTrace};

/// Bytes of packets that are fed at once.
const PIECE_BYTES: usize = 64 << 10;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Every packet.
    Packets,
    /// Every block, in the order in which it ran.
    Blocks,
    /// The address of every instruction.
    Addresses,
}

/// Does its work, and returns a number by which it can be seen that it did all.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    pub(crate) run: Box<dyn FnMut() -> u64 + 'a>,
    /// What `run` returns.
    pub(crate) expected: u64,
}

impl<'a> Contender<'a> {
    /// Runs it once, which also warms its caches.
    fn new(name: &'static str, work: Work, mut run: impl FnMut() -> u64 + 'a) -> Contender<'a> {
        Contender {
            name,
            work,
            expected: run(),
            run: Box::new(run),
        }
    }
}

/// All of them, ours first in each kind.
pub(crate) fn contenders(sample: &Sample) -> Vec<Contender<'_>> {
    let own = [
        packets(sample),
        counted(sample),
        one_by_one(sample),
        cut(sample),
        blocks(sample),
        kept(sample),
        addresses(sample),
    ]
    .into_iter();
    #[cfg(feature = "baselines")]
    let own = own.chain(baselines::contenders(sample));
    own.collect()
}

/// Every packet in brief, and all payloads added up.
fn packets(sample: &Sample) -> Contender<'_> {
    Contender::new("packets, rept", Work::Packets, || {
        let mut sum: u64 = 0;
        let mut packets = Packets::new(&sample.packets, 0);
        loop {
            packets.briefs(|_, brief| sum = sum.wrapping_add(brief.payload()));
            match packets.next() {
                Some((_, packet)) => sum = sum.wrapping_add(payload(&packet.expect("a packet"))),
                None => return sum,
            }
        }
    })
}

/// Every packet in brief, and no more done than to count them.
fn counted(sample: &Sample) -> Contender<'_> {
    Contender::new("packets counted, rept", Work::Packets, || {
        let mut count = 0;
        let mut packets = Packets::new(&sample.packets, 0);
        loop {
            packets.briefs(|_, _| count += 1);
            match packets.next() {
                Some((_, packet)) => _ = packet.expect("a packet"),
                None => return count,
            }
            count += 1;
        }
    })
}

fn one_by_one(sample: &Sample) -> Contender<'_> {
    Contender::new("packets one by one, rept", Work::Packets, || {
        let mut sum: u64 = 0;
        for (_, packet) in Packets::new(&sample.packets, 0) {
            sum = sum.wrapping_add(payload(&packet.expect("a packet")));
        }
        sum
    })
}

fn payload(packet: &Packet) -> u64 {
    match *packet {
        Packet::Tnt { bits, .. } => bits,
        Packet::Tip(ip) | Packet::TipPge(ip) | Packet::TipPgd(ip) | Packet::Fup(ip) => ip.bits,
        _ => 0,
    }
}

/// What comes before several threads can share a stream.
fn cut(sample: &Sample) -> Contender<'_> {
    Contender::new("parts cut out, rept", Work::Packets, || {
        let stream = Stream::new(ThreadId(1), &sample.packets);
        split(&stream, &DecodeOptions::default(), PIECE_BYTES as u64).len() as u64
    })
}

/// Hands the path to `visit` as it grows, which is what the others do: nothing of it is kept.
fn each_piece(sample: &Sample, code: &mut CodeBuilder, mut visit: impl FnMut(&ThreadTrace, &Code)) {
    let image = sample.image();
    let mut decoder = Decoder::new(ThreadId(1), &image, &DecodeOptions::default(), code);
    for piece in sample.packets.chunks(PIECE_BYTES) {
        decoder.feed(piece);
        let path = decoder.take().1;
        visit(&path, decoder.code());
    }
    let rest = decoder.finish();
    visit(&rest, code.code());
}

fn blocks(sample: &Sample) -> Contender<'_> {
    let mut code = CodeBuilder::new();
    Contender::new("blocks, rept", Work::Blocks, move || {
        let mut steps = 0;
        each_piece(sample, &mut code, |path, _| {
            steps += path
                .runs()
                .iter()
                .map(|run| u64::from(run.count))
                .sum::<u64>();
        });
        steps
    })
}

/// The whole path, stored.
fn kept(sample: &Sample) -> Contender<'_> {
    let mut code = CodeBuilder::new();
    let image = sample.image();
    Contender::new("blocks kept, rept", Work::Blocks, move || {
        let stream = Stream::new(ThreadId(1), &sample.packets);
        decode_thread(&stream, &image, &DecodeOptions::default(), &mut code).steps()
    })
}

fn addresses(sample: &Sample) -> Contender<'_> {
    let mut code = CodeBuilder::new();
    Contender::new("addresses, rept", Work::Addresses, move || {
        let mut sum: u64 = 0;
        each_piece(sample, &mut code, |path, code| {
            let addresses = path.addresses(code, 0);
            sum = addresses.fold(sum, |sum, at| sum.wrapping_mul(31).wrapping_add(at.0));
        });
        sum
    })
}

#[cfg(feature = "baselines")]
mod baselines {
    use super::{Contender, Work};
    use crate::traces::Sample;
    use iptr_decoder::{DecodeOptions as IptrOptions, DecoderContext, HandlePacket};
    use iptr_edge_analyzer::{
        ControlFlowTransitionKind, EdgeAnalyzer, HandleControlFlow, ReadMemory,
    };
    use rept_decode::libipt::{self, Files, Section};
    use rept_decode::{CodeImage, DecodeOptions, StaticImage};
    use rept_trace::Address;
    use std::convert::Infallible;
    use std::num::NonZero;

    pub(super) fn contenders(sample: &Sample) -> Vec<Contender<'_>> {
        let mut all = vec![
            packets(sample),
            libipt_packets(sample),
            libipt_blocks(sample),
            libipt_addresses(sample),
        ];
        all.extend(iptr_blocks(sample));
        all
    }

    fn files(sample: &Sample) -> Files {
        let sections: Vec<Section<'_>> = sample
            .sections
            .iter()
            .map(|section| Section {
                file: &section.file,
                offset: section.offset,
                len: section.bytes.len() as u64,
                at: section.at,
            })
            .collect();
        Files::new(&sections).expect("libipt takes the files")
    }

    fn libipt_packets(sample: &Sample) -> Contender<'_> {
        Contender::new("packets, libipt", Work::Packets, || {
            let mut sum: u64 = 0;
            libipt::packets(&sample.packets, &DecodeOptions::default(), |payload| {
                sum = sum.wrapping_add(payload);
            });
            sum
        })
    }

    fn libipt_blocks(sample: &Sample) -> Contender<'_> {
        let mut files = files(sample);
        let contender = Contender::new("blocks, libipt", Work::Blocks, move || {
            let mut steps = 0;
            files.blocks(&sample.packets, &DecodeOptions::default(), |_, count| {
                steps += u64::from(count);
            });
            steps
        });
        println!(
            "{}: libipt's block decoder gives {} instructions",
            sample.name, contender.expected
        );
        contender
    }

    fn libipt_addresses(sample: &Sample) -> Contender<'_> {
        let mut files = files(sample);
        let mut steps = 0;
        files.instructions(&sample.packets, &DecodeOptions::default(), |_| steps += 1);
        println!(
            "{}: libipt's instruction decoder gives {steps} instructions",
            sample.name
        );
        Contender::new("addresses, libipt", Work::Addresses, move || {
            let mut sum: u64 = 0;
            files.instructions(&sample.packets, &DecodeOptions::default(), |at| {
                sum = sum.wrapping_mul(31).wrapping_add(at.0);
            });
            sum
        })
    }

    /// Counts packets.
    struct Count(u64);

    macro_rules! count {
        ($($name:ident($($type:ty),*))*) => {
            impl HandlePacket for Count {
                type Error = Infallible;

                fn at_decode_begin(&mut self) -> Result<(), Infallible> {
                    Ok(())
                }

                $(fn $name(&mut self, _: &DecoderContext, $(_: $type),*) -> Result<(), Infallible> {
                    self.0 += 1;
                    Ok(())
                })*
            }
        };
    }

    count! {
        on_short_tnt_packet(NonZero<u8>, u32)
        on_long_tnt_packet(NonZero<u64>, u32)
        on_tip_packet(iptr_decoder::IpReconstructionPattern)
        on_tip_pgd_packet(iptr_decoder::IpReconstructionPattern)
        on_tip_pge_packet(iptr_decoder::IpReconstructionPattern)
        on_fup_packet(iptr_decoder::IpReconstructionPattern)
        on_pad_packet()
        on_psb_packet()
    }

    fn packets(sample: &Sample) -> Contender<'_> {
        Contender::new("packets, iptr", Work::Packets, || {
            let mut count = Count(0);
            let decoded = iptr_decoder::decode(&sample.packets, IptrOptions::default(), &mut count);
            decoded.expect("packets");
            count.0
        })
    }

    /// Counts blocks.
    struct Blocks(u64);

    impl HandleControlFlow for Blocks {
        type Error = Infallible;

        fn at_decode_begin(&mut self) -> Result<(), Infallible> {
            self.0 = 0;
            Ok(())
        }

        #[inline]
        fn on_new_block(
            &mut self,
            _: u64,
            _: ControlFlowTransitionKind,
            _: bool,
        ) -> Result<(), Infallible> {
            self.0 += 1;
            Ok(())
        }
    }

    struct Memory<'a>(StaticImage<'a>);

    impl ReadMemory for Memory<'_> {
        type Error = rept_decode::MissingCode;

        fn at_decode_begin(&mut self) -> Result<(), rept_decode::MissingCode> {
            Ok(())
        }

        fn read_memory<T>(
            &mut self,
            address: u64,
            size: usize,
            callback: impl FnOnce(&[u8]) -> T,
        ) -> Result<T, rept_decode::MissingCode> {
            let found = self.0.code(Address(address), None)?;
            Ok(callback(&found.bytes[..found.bytes.len().min(size)]))
        }
    }

    /// Where iptr decodes the sample to its end, which it does not with return compression.
    fn iptr_blocks(sample: &Sample) -> Option<Contender<'_>> {
        let mut analyzer = EdgeAnalyzer::new(Blocks(0), Memory(sample.image()));
        if let Err(error) =
            iptr_decoder::decode(&sample.packets, IptrOptions::default(), &mut analyzer)
        {
            println!("{}: iptr stops: {error}", sample.name);
            return None;
        }
        println!(
            "{}: iptr gives {} blocks",
            sample.name,
            analyzer.handler().0
        );
        Some(Contender::new("blocks, iptr", Work::Blocks, move || {
            let decoded =
                iptr_decoder::decode(&sample.packets, IptrOptions::default(), &mut analyzer);
            decoded.expect("as before");
            analyzer.handler().0
        }))
    }
}
