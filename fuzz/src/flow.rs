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

/// Code and streams that visit it.
pub fn seeds() -> Vec<Vec<u8>> {
    // test eax,eax; je +2; jmp rax; call -7; ret
    let code = [
        0x85, 0xc0, 0x74, 0x02, 0xff, 0xe0, 0xe8, 0xf9, 0xff, 0xff, 0xff, 0xc3,
    ];
    let prefix = [&[code.len() as u8][..], &code].concat();
    packets::seeds()
        .iter()
        .map(|stream| [&prefix[..], stream].concat())
        .collect()
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
