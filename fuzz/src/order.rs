//! The order: any marks and edges give a partial order and a sequence that extends it.

use crate::input::Input;
use rept_order::{Edge, EdgeKind, Order, Point, Relation, SegmentId};
use rept_trace::{BlockId, Interval, Run, ThreadId, ThreadTrace, TimeMark, Timestamp, Trace};

/// Orders a few threads of a few steps.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let threads = (0..input.byte() % 5)
        .map(|id| thread(id.into(), &mut input))
        .collect();
    let trace = Trace {
        threads,
        ..Trace::default()
    };
    let mut edges = Vec::new();
    while !input.is_empty() && edges.len() < 64 {
        let kind = EdgeKind::ALL[usize::from(input.byte()) % EdgeKind::ALL.len()];
        let mut point = || Point {
            thread: u32::from(input.byte() % 6),
            step: input.number(),
        };
        edges.push(Edge {
            kind,
            from: point(),
            to: point(),
        });
    }
    check(&Order::with_edges(&trace, &edges));
}

/// Two threads that take turns, three with edges.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![
            2, 6, 3, 0, 10, 0, 2, 10, 1, 2, 10, 1, 6, 3, 0, 15, 0, 2, 10, 1, 2, 10, 1,
        ],
        vec![3, 4, 0, 4, 0, 4, 0, 0, 0, 2, 1, 1, 1, 1, 3, 2, 2],
    ]
}

fn thread(id: u32, input: &mut Input<'_>) -> ThreadTrace {
    let mut thread = ThreadTrace::new(ThreadId(id));
    for _ in 0..input.byte() % 32 {
        thread.push(Run {
            block: BlockId(0),
            count: 1,
        });
    }
    let (mut step, mut time) = (0u64, 0u64);
    for _ in 0..input.byte() % 32 {
        step = step.saturating_add(u64::from(input.byte() % 8));
        time = time.wrapping_add(input.number());
        let latest = Timestamp(time.saturating_add(input.number()));
        let time = Interval {
            earliest: Timestamp(time),
            latest,
        };
        thread.times.push(TimeMark { step, time });
    }
    thread
}

/// Of all pairs: mirrored, in sequence, and concurrent ones inside the window.
pub(crate) fn check(order: &Order) {
    let count = order.sequence().len().min(256) as u32;
    for a in (0..count).map(SegmentId) {
        let window = order.concurrent_window(a);
        for b in (0..count).map(SegmentId) {
            let relation = order.relation(a, b);
            match relation {
                Relation::Before => assert!(a < b && order.relation(b, a) == Relation::After),
                Relation::After => assert!(b < a && order.relation(b, a) == Relation::Before),
                Relation::Concurrent => assert!(window.contains(&b.0)),
            }
        }
    }
}
