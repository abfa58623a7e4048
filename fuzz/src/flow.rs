//! The flow: any stream over any code gives a path whose parts fit together.

use crate::input::Input;
use crate::packets;
use rept_decode::{DecodeOptions, StaticImage, Stream, TimeParameters};
use rept_trace::{Address, ThreadId, Trace};

/// Where the code lies.
pub(crate) const BASE: Address = Address(0x40_1000);

/// Decodes the rest of the input over as much code as its first number says.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let code = input.bytes(1 << 12);
    check(&decode(code, input.rest()));
}

/// Code of every kind that the flow tells apart, and streams that visit it.
pub fn seeds() -> Vec<Vec<u8>> {
    let codes: &[&[u8]] = &[
        // test eax,eax; je +2; jmp rax; call -7; ret
        &[
            0x85, 0xc0, 0x74, 0x02, 0xff, 0xe0, 0xe8, 0xf9, 0xff, 0xff, 0xff, 0xc3,
        ],
        // nop; mov rax,[rax]; jmp -6: a loop without packets
        &[0x90, 0x48, 0x8b, 0x00, 0xeb, 0xfa],
        // rep movsb; vpgatherdd ymm0,[rax+ymm1],ymm2; xsave [rax]; jne -14
        &[
            0xf3, 0xa4, 0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x08, 0x0f, 0xae, 0x20, 0x75, 0xf2,
        ],
        // call +0; call -5: recursion without packets
        &[0xe8, 0, 0, 0, 0, 0xe8, 0xf6, 0xff, 0xff, 0xff],
        // syscall; ptwrite rax; xbegin +0; xend; call [rax]; iretq
        &[
            0x0f, 0x05, 0xf3, 0x48, 0x0f, 0xae, 0xe0, 0xc7, 0xf8, 0, 0, 0, 0, 0x0f, 0x01, 0xd5,
            0xff, 0x10, 0x48, 0xcf,
        ],
        // vmresume; mov cr3,rax; wrmsr; sysretq
        &[
            0x0f, 0x01, 0xc3, 0x0f, 0x22, 0xd8, 0x0f, 0x30, 0x48, 0x0f, 0x07,
        ],
    ];
    let streams = packets::seeds();
    let over = |code: &&[u8]| {
        let prefix = [&[code.len() as u8][..], code].concat();
        let with_code = |stream: &Vec<u8>| [&prefix[..], stream].concat();
        streams.iter().map(with_code).collect::<Vec<_>>()
    };
    codes.iter().flat_map(over).collect()
}

pub(crate) fn decode(code: &[u8], stream: &[u8]) -> Trace {
    let mut image = StaticImage::new();
    image.add(BASE, code);
    let time = TimeParameters {
        tsc_ctc_numerator: 84,
        tsc_ctc_denominator: 2,
        mtc_shift: 3,
        max_nonturbo_ratio: 27,
        tsc: true,
        mtc: true,
        cyc: true,
    };
    let options = DecodeOptions {
        time,
        ..DecodeOptions::default()
    };
    rept_decode::decode(&[Stream::new(ThreadId(1), stream)], &image, &options)
}

/// Steps are where the runs say, and whatever lies beside them is in order.
pub(crate) fn check(trace: &Trace) {
    for thread in &trace.threads {
        let steps = thread.steps();
        let runs: u64 = thread.runs().iter().map(|run| u64::from(run.count)).sum();
        assert_eq!(runs, steps);
        for run in thread.runs() {
            assert!(
                run.count > 0
                    && usize::from(run.count) <= trace.code.block(run.block).instructions()
            );
        }
        assert!(thread.events.is_sorted_by_key(|event| event.step));
        assert!(thread.gaps.is_sorted_by_key(|gap| (gap.step, gap.offset)));
        assert!(thread.times.is_sorted_by_key(|mark| mark.step));
        assert!(thread.events.iter().all(|event| event.step <= steps));
        assert!(thread.gaps.iter().all(|gap| gap.step <= steps));
        assert!(thread.times.iter().all(|mark| mark.step <= steps));
        assert_eq!(thread.address(&trace.code, steps), None);
        if let Some(last) = steps.checked_sub(1) {
            assert!(thread.address(&trace.code, last).is_some());
        }
    }
}
