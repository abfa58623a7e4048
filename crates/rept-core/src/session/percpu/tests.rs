//! Traces of processors, of a run a span.

use super::assemble::unseen_gap;
use super::*;
use rept_trace::{BlockId, Event, EventKind, Gap, GapReason, Run, TimeMark};

fn switch(time: u64, thread: u32, out: bool) -> Switch {
    Switch {
        time: Timestamp(time),
        cpu: Some(0),
        process: 1,
        thread: ThreadId(thread),
        out,
    }
}

/// One run of each length, resumed at its time.
fn processor(runs: &[(u16, u64)]) -> ThreadTrace {
    let mut trace = ThreadTrace::new(ThreadId(0));
    for &(count, time) in runs {
        let time = Interval {
            earliest: Timestamp(time),
            latest: Timestamp(time + 2),
        };
        let kind = EventKind::Enabled {
            ip: rept_trace::Address(0x1000),
        };
        trace.events.push(Event {
            step: trace.steps(),
            time,
            kind,
        });
        if count > 0 {
            trace.push(Run {
                block: BlockId(count.into()),
                count,
            });
        }
        trace.events.push(Event {
            step: trace.steps(),
            time,
            kind: EventKind::Disabled { ip: None },
        });
    }
    trace
}

#[track_caller]
fn check(runs: &[(u16, u64)], switches: &[Switch], expect: &[(u32, &[u16])], unclear: bool) {
    let mut said = Vec::new();
    let cpus = [(0, processor(runs))];
    let threads = split(&cpus, switches, None, Some(1), &mut said).threads;
    let found: Vec<(u32, Vec<u16>)> = threads
        .iter()
        .map(|thread| {
            (
                thread.thread.0,
                thread.runs().iter().map(|run| run.count).collect(),
            )
        })
        .collect();
    let expect: Vec<(u32, Vec<u16>)> = expect
        .iter()
        .map(|&(thread, runs)| (thread, runs.to_vec()))
        .collect();
    assert_eq!(found, expect);
    assert_eq!(!said.is_empty(), unclear, "{said:?}");
    for thread in &threads {
        let events: Vec<u64> = thread.events.iter().map(|event| event.step).collect();
        assert!(events.is_sorted(), "{events:?}");
        assert_eq!(
            events.len(),
            thread.runs().len() * 2,
            "each span keeps its two events"
        );
    }
}

#[test]
fn spans_go_to_the_thread_on_the_processor() {
    let switches = [
        switch(5, 7, false),
        switch(20, 7, true),
        switch(21, 8, false),
        switch(40, 8, true),
        switch(41, 7, false),
    ];
    check(
        &[(1, 10), (2, 15), (3, 30), (4, 50)],
        &switches,
        &[(7, &[1, 2, 4]), (8, &[3])],
        false,
    );
}

#[test]
fn a_time_that_tells_no_thread_gives_the_span_to_nobody() {
    let switches = [
        switch(5, 7, false),
        switch(20, 7, true),
        switch(21, 8, false),
    ];
    check(
        &[(1, 10), (2, 19), (3, 30)],
        &switches,
        &[(7, &[1]), (8, &[3])],
        true,
    );
}

#[test]
fn a_lost_switch_leaves_both_threads_possible() {
    let switches = [
        switch(5, 7, false),
        switch(40, 8, true),
        switch(41, 7, false),
    ];
    check(&[(1, 10), (2, 50)], &switches, &[(7, &[2])], true);
}

/// Thread 7 runs on processor 0, then on 1, then on 0 again; 8 in between on 0.
const MOVING: [(u32, u64, u32, bool); 8] = [
    (0, 5, 7, false),
    (0, 20, 7, true),
    (0, 21, 8, false),
    (1, 25, 7, false),
    (1, 40, 7, true),
    (0, 44, 8, true),
    (0, 45, 7, false),
    (0, 90, 7, true),
];

fn moving() -> Vec<Switch> {
    let switches = MOVING.iter().map(|&(cpu, time, thread, out)| Switch {
        cpu: Some(cpu),
        ..switch(time, thread, out)
    });
    switches.collect()
}

fn split_moving(first: &[(u16, u64)], gap: Option<u64>) -> Split {
    let mut zero = processor(first);
    zero.gaps.extend(gap.map(unseen_gap));
    let cpus = [(0, zero), (1, processor(&[(4, 30)]))];
    split(&cpus, &moving(), None, Some(1), &mut Vec::new())
}

fn runs(thread: &ThreadTrace) -> Vec<u16> {
    thread.runs().iter().map(|run| run.count).collect()
}

#[test]
fn a_thread_that_moves_is_put_together_in_its_own_order() {
    let split = split_moving(&[(1, 10), (2, 30), (3, 50)], None);
    assert_eq!(runs(&split.threads[0]), [1, 4, 3]);
    assert_eq!(runs(&split.threads[1]), [2]);
    assert!(split.threads.iter().all(|thread| thread.gaps.is_empty()));
    let zero: Vec<u32> = split.stretches[0].iter().map(|s| s.thread.0).collect();
    assert_eq!(zero, [7, 8, 7]);
    let edges = edges(
        &split.stretches,
        &Trace {
            threads: split.threads,
            ..Trace::default()
        },
    );
    let points: Vec<_> = edges.iter().map(|e| (e.from, e.to)).collect();
    let at = |thread, step| Point { thread, step };
    assert_eq!(points, [(at(0, 1), at(1, 0)), (at(1, 2), at(0, 5))]);
}

#[test]
fn a_visit_without_steps_leaves_no_trace_in_others() {
    let split = split_moving(&[(1, 10), (0, 30), (3, 50)], None);
    assert_eq!(split.threads[0].events.len(), 6);
    assert_eq!(
        (split.threads[1].steps(), split.threads[1].events.len()),
        (0, 2)
    );
}

#[test]
fn lost_data_parts_the_threads_that_may_have_run_there() {
    // Lost on processor 0 behind its first span, and what it ran then tells no time.
    let split = split_moving(&[(1, 10), (2, 30), (3, 50)], Some(1));
    let gaps: Vec<Vec<u64>> = split
        .threads
        .iter()
        .map(|thread| thread.gaps.iter().map(|gap| gap.step).collect())
        .collect();
    assert_eq!(gaps, [[1, 5]]);
}

/// A loss, then one run of five steps that ran at 100 or later, at 200 or sooner.
fn behind_a_loss(enabled: Option<u64>, reason: GapReason) -> Vec<(u32, u64)> {
    let mut source = ThreadTrace::new(ThreadId(0));
    let at = |earliest, latest| Interval {
        earliest: Timestamp(earliest),
        latest: Timestamp(latest),
    };
    source.gaps.push(Gap {
        reason,
        ..unseen_gap(0)
    });
    source.events.extend(enabled.map(|time| Event {
        step: 0,
        time: at(time, time + 20),
        kind: EventKind::Enabled {
            ip: rept_trace::Address(0x1000),
        },
    }));
    let marks = [(0, at(0, 100)), (0, at(100, 200)), (5, at(100, 200))];
    source.times = marks.map(|(step, time)| TimeMark { step, time }).into();
    source.push(Run {
        block: BlockId(1),
        count: 5,
    });
    let switches = [
        switch(90, 7, false),
        switch(150, 7, true),
        switch(151, 8, false),
    ];
    let threads = split(&[(0, source)], &switches, None, Some(1), &mut Vec::new()).threads;
    threads
        .iter()
        .map(|thread| (thread.thread.0, thread.steps()))
        .collect()
}

#[test]
fn behind_a_loss_the_time_of_the_psb_tells_the_thread() {
    assert_eq!(behind_a_loss(None, GapReason::BadPacket), [(7, 5)]);
    assert_eq!(behind_a_loss(Some(40), GapReason::BadPacket), [(7, 5)]);
    assert_eq!(behind_a_loss(Some(100), GapReason::BadPacket), []);
    assert_eq!(behind_a_loss(None, GapReason::Overflow), []);
}

/// A trace that begins in the midst of a thread: the PSB+ tells when that was, and switches later are
/// another's, though steps may have run up to then. Records need not name the only processor.
#[test]
fn at_the_begin_the_time_of_the_psb_tells_the_thread() {
    let at = |earliest, latest| Interval {
        earliest: Timestamp(earliest),
        latest: Timestamp(latest),
    };
    let mut source = ThreadTrace::new(ThreadId(0));
    let marks = [(0, at(0, 100)), (0, at(100, 200)), (5, at(100, 200))];
    source.times = marks.map(|(step, time)| TimeMark { step, time }).into();
    source.push(Run {
        block: BlockId(1),
        count: 5,
    });
    let mut switches = [switch(150, 7, true), switch(151, 8, false)];
    for switch in &mut switches {
        switch.cpu = None;
    }
    let given = |cpus: &[(u32, ThreadTrace)]| {
        let threads = split(cpus, &switches, None, Some(1), &mut Vec::new()).threads;
        let threads = threads.iter();
        let all: Vec<_> = threads.map(|of| (of.thread.0, of.steps())).collect();
        all
    };
    let one = (0, source);
    assert_eq!(given(std::slice::from_ref(&one)), [(7, 5)]);
    assert_eq!(given(&[one, (1, processor(&[(1, 10)]))]), []);
}

/// What other programs ran in between, without their code, is missing of them, and not of the thread.
#[test]
fn code_of_others_that_is_missing_parts_no_thread() {
    let gaps_of = |process: u32, at: &[u64]| {
        let mut source = processor(&[(1, 10), (0, 30), (2, 50)]);
        let ips = [0x1000, 0x2000, 0x1001].into_iter();
        let enabled = source.events.iter_mut().step_by(2);
        for (event, ip) in enabled.zip(ips) {
            event.kind = EventKind::Enabled {
                ip: rept_trace::Address(ip),
            };
        }
        let missing = |at| Gap {
            at: Some(rept_trace::Address(at)),
            reason: GapReason::MissingCode {
                wanted: String::new(),
            },
            ..unseen_gap(1)
        };
        source.gaps = at.iter().map(|&at| missing(at)).collect();
        let mut switches = [
            switch(5, 7, false),
            switch(20, 7, true),
            switch(21, 8, false),
            switch(40, 8, true),
            switch(41, 7, false),
        ];
        for switch in switches.iter_mut().filter(|of| of.thread == ThreadId(8)) {
            switch.process = process;
        }
        let cpus = [(0, source)];
        let threads = split(&cpus, &switches, None, Some(1), &mut Vec::new()).threads;
        let threads = threads.iter();
        let all: Vec<_> = threads
            .map(|of| (of.thread.0, of.steps(), of.gaps.len()))
            .collect();
        all
    };
    assert_eq!(gaps_of(2, &[0x2000]), [(7, 3, 0)]);
    assert_eq!(gaps_of(1, &[0x2000]), [(7, 3, 0), (8, 0, 1)]);
    // What is missing elsewhere may be the thread's own.
    assert_eq!(gaps_of(2, &[0x1010, 0x2000]), [(7, 3, 1)]);
    assert_eq!(gaps_of(2, &[0x2000, 0x2000]), [(7, 3, 1)]);
}

/// Rounds that are not counted part the thread that ran them, and hide no other.
#[test]
fn a_loop_without_packets_is_its_threads_own() {
    let mut source = processor(&[(3, 10), (4, 30), (2, 50)]);
    let gap = |step| Gap {
        reason: GapReason::PartialInstruction(BlockId(0)),
        ..unseen_gap(step)
    };
    source.gaps = [1, 3, 5, 9].map(gap).into();
    let switches = [
        switch(5, 7, false),
        switch(20, 7, true),
        switch(21, 8, false),
        switch(40, 8, true),
        switch(41, 7, false),
    ];
    let threads = split(&[(0, source)], &switches, None, Some(1), &mut Vec::new()).threads;
    let found: Vec<_> = threads
        .iter()
        .map(|thread| {
            let gaps = thread.gaps.iter();
            assert!(gaps.clone().all(|gap| gap.reason.repeats()));
            (thread.steps(), gaps.map(|gap| gap.step).collect::<Vec<_>>())
        })
        .collect();
    // The one at step 3 may be of the end of the first span or of the begin of the second.
    assert_eq!(found, [(5, vec![1, 3, 5]), (4, vec![0, 2])]);
}

#[test]
fn without_switches_the_only_thread_has_it_all() {
    let cpus = [(0, processor(&[(1, 10), (2, 20)]))];
    let threads = split(&cpus, &[], Some(ThreadId(9)), Some(1), &mut Vec::new()).threads;
    assert_eq!((threads[0].thread, threads[0].steps()), (ThreadId(9), 3));
}

#[test]
fn without_switches_nobody_of_several_has_anything() {
    check(&[(1, 10), (2, 20)], &[], &[], true);
}
