//! The order of random runs against brute force, and against what really happened.

mod common;

use common::{BruteForce, Thread, interval, trace};
use proptest::prelude::*;
use rept_order::{Edge, EdgeKind, Order, Point, Relation, SegmentId};
use rept_trace::{Interval, Timestamp, Trace};

/// A run of a few threads: when each step really ran, what the packets say, some true edges.
#[derive(Debug)]
struct Run {
    trace: Trace,
    edges: Vec<Edge>,
    /// Place of each step in the real order, by thread and step.
    real: Vec<Vec<usize>>,
    /// When each step ran, by thread and step.
    clock: Vec<Vec<u64>>,
}

/// Choices from which a run is made; any bytes will do.
#[derive(Clone, Debug)]
struct Choices {
    threads: usize,
    timed: bool,
    schedule: Vec<(usize, u64)>,
    marks: Vec<(bool, u64, u64)>,
    edges: Vec<(usize, usize)>,
}

fn choices(edges: std::ops::Range<usize>) -> impl Strategy<Value = Choices> {
    let schedule = prop::collection::vec((0..4usize, 0..4u64), 0..24);
    let marks = prop::collection::vec((any::<bool>(), 0..6u64, 0..6u64), 64);
    let edges = prop::collection::vec((any::<usize>(), any::<usize>()), edges);
    (1..5usize, prop::bool::weighted(0.8), schedule, marks, edges).prop_map(
        |(threads, timed, schedule, marks, edges)| Choices {
            threads,
            timed,
            schedule,
            marks,
            edges,
        },
    )
}

fn run(choices: &Choices) -> Run {
    let mut clock = 10;
    let mut steps: Vec<Vec<(usize, u64)>> = vec![Vec::new(); choices.threads];
    for (place, &(thread, ticks)) in choices.schedule.iter().enumerate() {
        clock += ticks;
        steps[thread % choices.threads].push((place, clock));
    }
    let mut marks = choices.marks.iter().cycle();
    let threads: Vec<Thread> = steps
        .iter()
        .map(|steps| {
            (
                steps.len() as u64,
                if choices.timed {
                    packets(steps, &mut marks)
                } else {
                    vec![]
                },
            )
        })
        .collect();
    let real: Vec<Vec<usize>> = steps
        .iter()
        .map(|steps| steps.iter().map(|step| step.0).collect())
        .collect();
    let clock = steps
        .iter()
        .map(|steps| steps.iter().map(|step| step.1).collect())
        .collect();
    let edges = choices
        .edges
        .iter()
        .filter_map(|&pick| true_edge(&real, choices.schedule.len(), pick))
        .collect();
    Run {
        trace: trace(&threads),
        edges,
        real,
        clock,
    }
}

/// Packets between some of the steps, each off by less than its bounds say.
fn packets<'a>(
    steps: &[(usize, u64)],
    choices: &mut impl Iterator<Item = &'a (bool, u64, u64)>,
) -> Vec<(u64, u64, u64)> {
    let mut marks = Vec::new();
    for at in 0..=steps.len() {
        let &(present, below, above) = choices.next().expect("endless");
        if present && !steps.is_empty() {
            // Made between the steps around it; below them the clock may have stood anywhere.
            let time = steps.get(at).unwrap_or(&steps[steps.len() - 1]).1;
            marks.push((at as u64, time - below, time + above));
        }
    }
    marks
}

/// An edge between two real places of different threads, in their real order.
fn true_edge(real: &[Vec<usize>], total: usize, pick: (usize, usize)) -> Option<Edge> {
    let (first, second) = (pick.0 % total.max(1), pick.1 % total.max(1));
    let find = |place: usize| {
        (0u32..).zip(real).find_map(|(thread, places)| {
            let step = places.iter().position(|&p| p == place)? as u64;
            Some(Point { thread, step })
        })
    };
    let (from, to) = (find(first.min(second))?, find(first.max(second))?);
    let from = Point {
        step: from.step + 1,
        ..from
    };
    let kind = EdgeKind::ALL[pick.0 % EdgeKind::ALL.len()];
    (from.thread != to.thread).then_some(Edge { kind, from, to })
}

fn ids(order: &Order) -> impl Iterator<Item = SegmentId> + Clone {
    (0..order.sequence().len() as u32).map(SegmentId)
}

/// Strict partial order, and the sequence extends it.
fn check_partial_order(order: &Order) {
    for a in ids(order) {
        assert_eq!(order.relation(a, a), Relation::Concurrent);
        for b in ids(order) {
            let relation = order.relation(a, b);
            let mirrored = match relation {
                Relation::Before => Relation::After,
                Relation::After => Relation::Before,
                Relation::Concurrent => Relation::Concurrent,
            };
            assert_eq!(order.relation(b, a), mirrored);
            assert!(
                relation != Relation::Before || a < b,
                "{a:?} before {b:?} in time, not in the sequence"
            );
            if relation != Relation::Before {
                continue;
            }
            for c in ids(order).filter(|&c| order.relation(b, c) == Relation::Before) {
                assert_eq!(
                    order.relation(a, c),
                    Relation::Before,
                    "{a:?} before {b:?} before {c:?}"
                );
            }
        }
    }
}

/// Every step is in exactly one segment.
fn check_partition(order: &Order, trace: &Trace) {
    let mut next: Vec<u64> = vec![0; trace.threads.len()];
    for segment in order.sequence() {
        assert_eq!(
            segment.first, next[segment.thread as usize],
            "program order in the sequence"
        );
        assert!(segment.steps > 0);
        next[segment.thread as usize] = segment.end();
    }
    let steps: Vec<u64> = trace.threads.iter().map(|thread| thread.steps()).collect();
    assert_eq!(next, steps);
}

fn check_against_brute_force(order: &Order, brute: &BruteForce) {
    for (i, &a) in brute.points().iter().enumerate() {
        for (j, &b) in brute.points().iter().enumerate().filter(|&(j, _)| j != i) {
            assert_eq!(
                order.relation_of_steps(a, b),
                Some(brute.relation(i, j)),
                "{a:?} against {b:?}"
            );
        }
    }
}

/// The window holds all concurrent segments; with `exact`, it is the smallest that does.
fn check_windows(order: &Order, exact: bool) {
    for a in ids(order) {
        let window = order.concurrent_window(a);
        let concurrent = || {
            ids(order)
                .filter(|&b| order.relation(a, b) == Relation::Concurrent)
                .map(|b| b.0)
        };
        let (first, last) = (
            concurrent().min().expect("itself"),
            concurrent().max().expect("itself"),
        );
        assert!(
            window.start <= first && last < window.end,
            "{window:?} must hold {first}..={last}"
        );
        if exact {
            assert_eq!(window, first..last + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn time_alone(choices in choices(0..1)) {
        let run = run(&choices);
        let order = Order::new(&run.trace);
        check_partition(&order, &run.trace);
        check_partial_order(&order);
        check_windows(&order, true);
        check_against_brute_force(&order, &BruteForce::new(&run.trace, &[]));
    }

    #[test]
    fn time_and_edges(choices in choices(0..6)) {
        let run = run(&choices);
        let order = Order::with_edges(&run.trace, &run.edges);
        check_partition(&order, &run.trace);
        check_partial_order(&order);
        check_windows(&order, false);
        check_against_brute_force(&order, &BruteForce::new(&run.trace, &run.edges));
    }

    #[test]
    fn never_contradicts_what_happened(choices in choices(0..6)) {
        let run = run(&choices);
        let order = Order::with_edges(&run.trace, &run.edges);
        for a in ids(&order) {
            for b in ids(&order).filter(|&b| order.relation(a, b) == Relation::Before) {
                let (x, y) = (order.sequence()[a.0 as usize], order.sequence()[b.0 as usize]);
                let last = run.real[x.thread as usize][x.end() as usize - 1];
                let first = run.real[y.thread as usize][y.first as usize];
                prop_assert!(last < first, "claimed {x:?} before {y:?}");
            }
        }
    }

    #[test]
    fn a_step_ran_when_its_time_says(choices in choices(0..6)) {
        let run = run(&choices);
        let order = Order::with_edges(&run.trace, &run.edges);
        for (thread, clock) in (0u32..).zip(&run.clock) {
            let mut before = Interval { earliest: Timestamp(0), latest: Timestamp(0) };
            for (step, &ticks) in (0u64..).zip(clock) {
                let at = Point { thread, step };
                let time = order.time(&run.trace, at).expect("a step");
                prop_assert!(time.earliest.0 <= ticks && ticks <= time.latest.0, "{at:?} at {ticks}: {time:?}");
                prop_assert!(before.earliest <= time.earliest && before.latest <= time.latest);
                let packets = interval(&run.trace, &at);
                prop_assert!(packets.earliest <= time.earliest && time.latest <= packets.latest);
                prop_assert!(packets == time || !run.edges.is_empty());
                before = time;
            }
            let end = Point { thread, step: clock.len() as u64 };
            let reached = order.time(&run.trace, end);
            prop_assert_eq!(reached.is_some(), !clock.is_empty());
            prop_assert!(reached.is_none_or(|reached| before.earliest <= reached.earliest));
            prop_assert_eq!(order.time(&run.trace, Point { step: end.step + 1, ..end }), None);
        }
    }

    #[test]
    fn nonsense_in_a_partial_order_out(
        threads in prop::collection::vec((0..8u64, prop::collection::vec((0..10u64, 0..20u64, 0..20u64), 0..5)), 0..4),
        edges in prop::collection::vec(((0..5u32, 0..10u64), (0..5u32, 0..10u64)), 0..8),
    ) {
        let sorted = |(steps, mut marks): Thread| { marks.sort(); (steps, marks) };
        let trace = trace(&threads.into_iter().map(sorted).collect::<Vec<_>>());
        let point = |(thread, step)| Point { thread, step };
        let edges: Vec<Edge> = edges
            .into_iter()
            .map(|(from, to)| Edge { kind: EdgeKind::Signal, from: point(from), to: point(to) })
            .collect();
        let order = Order::with_edges(&trace, &edges);
        check_partition(&order, &trace);
        check_partial_order(&order);
        check_windows(&order, false);
    }
}
