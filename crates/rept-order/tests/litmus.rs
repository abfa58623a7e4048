//! Named shapes of two to four threads, each with the order it must have.

mod common;

use common::{Thread, trace};
use rept_order::Relation::{self, After, Before, Concurrent};
use rept_order::{Diagnostic, Edge, EdgeKind, Order, Point};
use rept_trace::{ThreadId, Timestamp};

fn at(thread: u32, step: u64) -> Point {
    Point { thread, step }
}

fn edge(kind: EdgeKind, from: (u32, u64), to: (u32, u64)) -> Edge {
    Edge {
        kind,
        from: at(from.0, from.1),
        to: at(to.0, to.1),
    }
}

/// What two steps, each as (thread, step), must be to each other.
type Claim = ((u32, u64), Relation, (u32, u64));

#[track_caller]
fn check(order: &Order, expect: &[Claim]) {
    for &((t, s), relation, (u, r)) in expect {
        let found = order.relation_of_steps(at(t, s), at(u, r));
        assert_eq!(
            found,
            Some(relation),
            "step {s} of #{t} against step {r} of #{u}"
        );
    }
}

#[track_caller]
fn ordered(threads: &[Thread], edges: &[Edge]) -> Order {
    let order = Order::with_edges(&trace(threads), edges);
    assert_eq!(order.diagnostics(), [], "clean input");
    order
}

/// Timing packets exact to the tick, one before each of these steps.
fn exact(marks: &[(u64, u64)]) -> Vec<(u64, u64, u64)> {
    marks
        .iter()
        .map(|&(step, time)| (step, time, time))
        .collect()
}

#[test]
fn two_overlapping() {
    let order = ordered(
        &[
            (2, exact(&[(0, 10), (2, 30)])),
            (2, exact(&[(0, 20), (2, 40)])),
        ],
        &[],
    );
    check(
        &order,
        &[
            ((0, 0), Concurrent, (1, 0)),
            ((0, 1), Concurrent, (1, 1)),
            ((0, 0), Before, (0, 1)),
        ],
    );
    assert_eq!(
        order.sequence().len(),
        2,
        "nothing tells the steps of one thread apart"
    );
}

#[test]
fn two_disjoint() {
    let order = ordered(
        &[
            (2, exact(&[(0, 30), (2, 40)])),
            (2, exact(&[(0, 10), (2, 20)])),
        ],
        &[],
    );
    check(&order, &[((0, 0), After, (1, 1)), ((1, 0), Before, (0, 1))]);
    assert_eq!(order.sequence()[0].thread, 1);
}

#[test]
fn same_tick_is_not_an_order() {
    let order = ordered(
        &[
            (1, exact(&[(0, 10), (1, 20)])),
            (1, exact(&[(0, 20), (1, 30)])),
        ],
        &[],
    );
    check(&order, &[((0, 0), Concurrent, (1, 0))]);
}

#[test]
fn message_passing_through_time() {
    // The reader's second part begins after the writer's first ended: what came before and after follows.
    let writer = (4, exact(&[(0, 0), (2, 10), (4, 100)]));
    let reader = (4, exact(&[(0, 0), (2, 20), (4, 100)]));
    let order = ordered(&[writer, reader], &[]);
    check(
        &order,
        &[
            ((0, 0), Before, (1, 2)),
            ((0, 1), Before, (1, 3)),
            ((0, 2), Concurrent, (1, 2)),
            ((0, 0), Concurrent, (1, 0)),
        ],
    );
}

#[test]
fn chain_by_program_order() {
    // Edge, program order, edge: thread 0 before thread 2, no clock involved.
    let edges = [
        edge(EdgeKind::FutexWake, (0, 2), (1, 1)),
        edge(EdgeKind::FutexWake, (1, 3), (2, 2)),
    ];
    let order = Order::with_edges(&trace(&[(4, vec![]), (4, vec![]), (4, vec![])]), &edges);
    check(
        &order,
        &[
            ((0, 1), Before, (2, 2)),
            ((2, 3), After, (0, 0)),
            ((0, 2), Concurrent, (2, 2)),
            ((0, 1), Concurrent, (2, 1)),
            ((1, 2), Before, (2, 3)),
        ],
    );
}

#[test]
fn chain_through_time_and_edge() {
    // 0 → 1 by an edge, 1 → 2 by time, though 0 has no clock at all.
    let threads = [
        (2, vec![]),
        (2, exact(&[(0, 10), (2, 20)])),
        (2, exact(&[(0, 30), (2, 40)])),
        (2, exact(&[(0, 0), (2, 5)])),
    ];
    let order = Order::with_edges(
        &trace(&threads),
        &[edge(EdgeKind::ThreadJoin, (0, 2), (1, 1))],
    );
    check(
        &order,
        &[
            ((0, 1), Before, (2, 0)),
            ((0, 1), Before, (1, 1)),
            ((0, 1), Concurrent, (1, 0)),
            ((0, 1), Concurrent, (3, 0)),
        ],
    );
    assert_eq!(
        order.diagnostics(),
        [Diagnostic::NoTime {
            thread: ThreadId(100)
        }]
    );
}

#[test]
fn edge_carries_time_forward() {
    // What the edge leads to begins no earlier than what it comes from, so 2's early part is before it.
    let threads = [
        (2, exact(&[(0, 50), (2, 60)])),
        (2, vec![]),
        (2, exact(&[(0, 10), (2, 20)])),
    ];
    let order = Order::with_edges(
        &trace(&threads),
        &[edge(EdgeKind::ThreadCreate, (0, 1), (1, 0))],
    );
    check(
        &order,
        &[
            ((2, 1), Before, (1, 0)),
            ((0, 0), Before, (1, 0)),
            ((0, 1), Concurrent, (1, 0)),
        ],
    );
}

#[test]
fn mtc_only_is_coarse_but_right() {
    // MTC every 1000 ticks, each known to within 1000: quanta far apart are ordered, near ones are not.
    let coarse = |times: [u64; 3]| {
        times
            .iter()
            .zip([0, 2, 4])
            .map(|(&t, step)| (step, t, t + 1000))
            .collect()
    };
    let order = ordered(
        &[
            (4, coarse([0, 1000, 2000])),
            (4, coarse([2000, 3000, 9000])),
        ],
        &[],
    );
    check(
        &order,
        &[
            ((0, 0), Concurrent, (1, 0)),
            ((0, 1), Before, (1, 2)),
            ((0, 3), Concurrent, (1, 2)),
        ],
    );
}

#[test]
fn blocked_thread_does_not_reach_over_its_wait() {
    // Packets on both sides of a system call: the steps before it ended when it began.
    let blocked = (4, exact(&[(0, 0), (2, 10), (2, 90), (4, 100)]));
    let order = ordered(&[blocked, (2, exact(&[(0, 20), (2, 80)]))], &[]);
    check(
        &order,
        &[((0, 1), Before, (1, 0)), ((1, 1), Before, (0, 2))],
    );
}

#[test]
fn clock_backwards() {
    let backwards = (4, vec![(0, 100, 110), (2, 50, 60), (4, 200, 210)]);
    let order = Order::new(&trace(&[
        backwards,
        (2, exact(&[(0, 10), (2, 20)])),
        (2, exact(&[(0, 30), (2, 40)])),
    ]));
    check(
        &order,
        &[
            ((0, 0), Concurrent, (1, 0)),
            ((0, 0), Before, (0, 3)),
            ((1, 0), Before, (2, 0)),
        ],
    );
    let expect = Diagnostic::ClockBackwards {
        thread: ThreadId(100),
        step: 2,
        reached: Timestamp(100),
        claimed: Timestamp(60),
    };
    assert_eq!(order.diagnostics(), std::slice::from_ref(&expect));
    assert_eq!(
        expect.to_string(),
        "clock of thread 100 runs backwards before step 2: 60 after 100; its times are not used"
    );
}

#[test]
fn threads_without_time() {
    let order = Order::new(&trace(&[(3, vec![]), (3, vec![])]));
    check(
        &order,
        &[
            ((0, 0), Before, (0, 2)),
            ((0, 2), Concurrent, (1, 0)),
            ((1, 2), After, (1, 1)),
        ],
    );
    assert_eq!(order.diagnostics().len(), 2);
}

#[test]
fn one_thread_is_one_segment() {
    let marks: Vec<_> = (0..1000).map(|step| (step, step, step)).collect();
    let order = ordered(&[(1000, marks), (0, vec![])], &[]);
    assert_eq!(order.sequence().len(), 1);
    assert_eq!(
        (order.sequence()[0].first, order.sequence()[0].steps),
        (0, 1000)
    );
}

#[test]
fn serialised_threads_are_one_segment_a_turn() {
    // Ten packets a turn, two threads taking turns: what cannot be told apart is merged.
    let turns = |phase: u64| {
        let turn = move |n: u64| (0..=10).map(move |k| (n * 10 + k, n * 200 + phase * 100 + k));
        exact(&(0..5).flat_map(turn).collect::<Vec<_>>())
    };
    let order = ordered(&[(50, turns(0)), (50, turns(1))], &[]);
    let sequence: Vec<u32> = order
        .sequence()
        .iter()
        .map(|segment| segment.thread)
        .collect();
    assert_eq!(sequence, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    assert!((0..10).all(|id| order.concurrent_window(rept_order::SegmentId(id)) == (id..id + 1)));
}

#[test]
fn thread_creation_orders_the_parents_past() {
    let order = Order::with_edges(
        &trace(&[(6, vec![]), (3, vec![])]),
        &[
            edge(EdgeKind::ThreadCreate, (0, 3), (1, 0)),
            edge(EdgeKind::ThreadJoin, (1, 3), (0, 5)),
        ],
    );
    check(
        &order,
        &[
            ((0, 2), Before, (1, 0)),
            ((0, 3), Concurrent, (1, 1)),
            ((1, 2), Before, (0, 5)),
            ((0, 4), Concurrent, (1, 2)),
        ],
    );
}

#[test]
fn every_edge_kind_orders() {
    for kind in EdgeKind::ALL {
        let order = Order::with_edges(
            &trace(&[(2, vec![]), (2, vec![])]),
            &[edge(kind, (0, 1), (1, 1))],
        );
        check(
            &order,
            &[
                ((0, 0), Before, (1, 1)),
                ((0, 1), Concurrent, (1, 1)),
                ((0, 0), Concurrent, (1, 0)),
            ],
        );
    }
}

#[test]
fn edge_against_time_is_dropped() {
    let threads = [
        (2, exact(&[(0, 100), (2, 200)])),
        (2, exact(&[(0, 10), (2, 20)])),
    ];
    let wrong = edge(EdgeKind::Signal, (0, 2), (1, 0));
    let order = Order::with_edges(&trace(&threads), &[wrong]);
    check(&order, &[((1, 0), Before, (0, 0))]);
    assert_eq!(
        order.diagnostics(),
        [Diagnostic::EdgeContradicted { edge: wrong }]
    );
}

#[test]
fn edges_in_a_cycle_are_dropped() {
    let edges = [
        edge(EdgeKind::FutexWake, (0, 2), (1, 0)),
        edge(EdgeKind::FutexWake, (1, 2), (0, 0)),
    ];
    let order = Order::with_edges(&trace(&[(2, vec![]), (2, vec![])]), &edges);
    let dropped = |diagnostic: &&Diagnostic| matches!(diagnostic, Diagnostic::EdgeCycle { .. });
    assert_eq!(
        order.diagnostics().iter().filter(dropped).count(),
        1,
        "one is enough to break it"
    );
    check(&order, &[((0, 0), Before, (1, 0))]);
}

#[test]
fn edges_out_of_range_are_named() {
    let edges = [
        edge(EdgeKind::ContextSwitch, (0, 3), (1, 0)),
        edge(EdgeKind::ContextSwitch, (7, 0), (1, 0)),
        edge(EdgeKind::Signal, (0, 2), (0, 1)),
    ];
    let order = Order::with_edges(&trace(&[(2, vec![]), (0, vec![])]), &edges);
    assert_eq!(
        order.diagnostics(),
        [
            Diagnostic::EdgeOutOfRange { edge: edges[0] },
            Diagnostic::EdgeOutOfRange { edge: edges[1] },
            Diagnostic::EdgeContradicted { edge: edges[2] },
        ]
    );
}

// A thousand threads, a timing packet each ten steps, in turns and overlapping by half; an edge
// from each thread to the next. Every thread is after all whose time is over, nobody else.
#[test]
fn a_thousand_threads_of_a_thousand_steps() {
    const THREADS: u32 = 1000;
    const STEPS: u64 = 1000;
    let start = |thread: u32| u64::from(thread) * STEPS / 2;
    let threads: Vec<Thread> = (0..THREADS)
        .map(|thread| {
            let marks = (0..=STEPS / 10).map(|mark| (mark * 10, start(thread) + mark * 10));
            (STEPS, exact(&marks.collect::<Vec<_>>()))
        })
        .collect();
    let edges: Vec<Edge> = (1..THREADS)
        .map(|thread| edge(EdgeKind::FutexWake, (thread - 1, 500), (thread, 1)))
        .collect();
    let order = ordered(&threads, &edges);
    let steps: u64 = order.sequence().iter().map(|segment| segment.steps).sum();
    assert_eq!(steps, u64::from(THREADS) * STEPS);
    for thread in (0..THREADS - 2).step_by(37) {
        check(
            &order,
            &[
                ((thread, 0), Before, (thread + 2, 0)),
                ((thread, 0), Before, (thread + 1, 600)),
                ((thread, 999), Before, (THREADS - 1, 999)),
                ((thread, 990), Concurrent, (thread + 1, 480)),
            ],
        );
    }
}

#[test]
fn empty_traces() {
    assert_eq!(Order::new(&trace(&[])).sequence(), []);
    let order = Order::new(&trace(&[(0, vec![(0, 1, 1)])]));
    assert_eq!(order.sequence(), []);
    assert_eq!(order.segment_at(at(0, 0)), None);
    assert_eq!(order.segment_at(at(5, 0)), None);
}

// What a thread did before its trace begins may have come after what another did until then.
#[test]
fn a_beginning_that_is_lost() {
    let threads = [
        (3, exact(&[(0, 10), (1, 20), (2, 40)])),
        (2, exact(&[(0, 30), (1, 32)])),
    ];
    let unseen_after = |order: &Order| {
        let segment = |step| order.segment_at(at(0, step)).expect("a step");
        [0, 1, 2].map(|step| order.unseen_after(segment(step)))
    };
    let order = ordered(&threads, &[]);
    assert_eq!(unseen_after(&order), [1, 1, 0]);
    // Its own steps are seen, and the thread whose trace goes back furthest is.
    for step in [0, 1] {
        let segment = order.segment_at(at(1, step)).expect("a step");
        assert_eq!(order.unseen_after(segment), 0);
    }
    let made = edge(EdgeKind::ThreadCreate, (0, 1), (1, 0));
    assert_eq!(unseen_after(&ordered(&threads, &[made])), [0, 0, 0]);
}
