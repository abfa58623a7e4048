//! Independent judges of what instructions do to data.
//!
//! The lowering is written from the manual, and so it can misread the manual. Two judges that
//! share no code with it go over every instruction form: iced's access tables ([`access`])
//! say which registers, flags and memory an instruction touches, and the processor at hand
//! ([`silicon`]) says what comes out, forward from known inputs and backward from real pairs
//! of states of which random bits are hidden. That the judges can say no is itself tested
//! ([`sabotage`]). The third judge, of each micro-operation by exhaustion, lives beside the
//! operations.
//!
//! `REPT_ORACLE_STATES` sets the number of states per form (10 000 for published figures).

#[path = "oracle/access.rs"]
mod access;
#[path = "oracle/emulate.rs"]
mod emulate;
#[path = "oracle/emulate_atomic.rs"]
mod emulate_atomic;
#[path = "oracle/emulate_convert.rs"]
mod emulate_convert;
#[path = "oracle/emulate_float.rs"]
mod emulate_float;
#[path = "oracle/emulate_gather.rs"]
mod emulate_gather;
#[path = "oracle/emulate_move.rs"]
mod emulate_move;
#[path = "oracle/emulate_special.rs"]
mod emulate_special;
#[path = "oracle/family.rs"]
mod family;
#[path = "oracle/fit.rs"]
mod fit;
#[path = "oracle/forms.rs"]
mod forms;
#[path = "oracle/hostile.rs"]
mod hostile;
#[path = "oracle/judge.rs"]
mod judge;
#[path = "oracle/machine.rs"]
mod machine;
#[path = "oracle/partial.rs"]
mod partial;
#[path = "oracle/products.rs"]
mod products;
#[path = "oracle/random.rs"]
mod random;
#[path = "oracle/rearrange.rs"]
mod rearrange;
#[path = "oracle/sabotage.rs"]
mod sabotage;
#[path = "oracle/scalar.rs"]
mod scalar;
#[path = "oracle/share.rs"]
mod share;
#[path = "oracle/silicon.rs"]
mod silicon;
#[path = "oracle/state.rs"]
mod state;
#[path = "oracle/unmodelled.rs"]
mod unmodelled;
#[path = "oracle/witness.rs"]
mod witness;

use emulate::Emulator;
use forms::Place;
use iced_x86::{Code, EncodingKind};
use machine::Machine;
use random::Random;
use silicon::Effort;

/// Every form that iced can encode reads and writes what iced says.
#[test]
fn access_sets_equal_iceds() {
    let mut survey = access::Survey::default();
    Code::values().for_each(|code| survey.check(code, 12));
    println!("{survey}");
    assert!(
        survey.wrong.is_empty(),
        "{} unexplained differences",
        survey.wrong.len()
    );
}

/// Every form that user mode can run does what its effect says, forward and backward.
#[test]
fn effects_agree_with_silicon() {
    let codes: Vec<Code> = Code::values().collect();
    let effort = Effort {
        states: states(100),
        instances: 10,
        inverses: 2,
    };
    let Some(tally) = silicon::judge(Machine::new, &codes, effort) else {
        println!("skipped: no AVX2, or no executable memory to be had");
        return;
    };
    println!("{tally}");
    assert!(
        tally.wrong.is_empty(),
        "{} encodings disagree with the processor",
        tally.wrong.len()
    );
    assert!(
        tally.imprecise.is_empty(),
        "{} forms leave outputs open",
        tally.imprecise.len()
    );
}

/// AVX-512 and its kin do what the manual says, element by element.
#[test]
fn effects_agree_with_the_manual_where_silicon_is_rare() {
    let rare = |code: &Code| {
        let features = code.cpuid_features();
        let newer = features.iter().any(|feature| {
            let name = format!("{feature:?}");
            name == "GFNI"
                || name.starts_with("AVX_VNNI")
                || matches!(
                    &*name,
                    "AVX_IFMA" | "AVX_NE_CONVERT" | "RAO_INT" | "CMPCCXADD"
                )
        });
        let encoding = code.op_code().encoding();
        encoding == EncodingKind::EVEX
            || newer && encoding != EncodingKind::D3NOW
            || format!("{:?}", code.mnemonic()).starts_with('K')
    };
    let codes: Vec<Code> = Code::values().filter(rare).collect();
    let effort = Effort {
        states: states(60),
        instances: 10,
        inverses: 2,
    };
    let tally = silicon::judge(|| Some(Emulator::new()), &codes, effort).expect("an emulator");
    println!("{tally}");
    assert!(
        tally.wrong.is_empty(),
        "{} encodings disagree with the manual",
        tally.wrong.len()
    );
    assert!(
        tally.imprecise.is_empty(),
        "{} forms leave outputs open",
        tally.imprecise.len()
    );
}

/// States per form: what the environment asks for, else enough for every day.
fn states(default: usize) -> usize {
    std::env::var("REPT_ORACLE_STATES")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(default)
}

/// A wrong meaning of each kind, in each operation, is noticed.
#[test]
fn sabotage_is_noticed() {
    let Some(mut machine) = Machine::new() else {
        println!("skipped: no AVX2, or no executable memory to be had");
        return;
    };
    let mut random = Random::new(7);
    let place = Place {
        at: machine.slot(),
        data: machine.setting().scratch + 512,
        bitness: 64,
    };
    let mut score = sabotage::Score::default();
    for code in Code::values().filter(|&code| fit::unfit(code).is_none()) {
        for instance in forms::instances(code, place, 1, &mut random) {
            score.sabotage(&mut machine, &instance, &mut random);
        }
    }
    println!("{score}");
    assert!(score.unnoticed().is_empty(), "{:#?}", score.unnoticed());
}

/// A wrong meaning in each family is noticed, and the right one is not objected to.
#[test]
fn sabotaged_families_are_noticed() {
    assert_eq!(family::without_sabotage(), Vec::<String>::new());
    for sabotage in family::SABOTAGE {
        let verdict = sabotage.judge();
        println!("{}: {verdict:?}", sabotage.family);
        let noticed = matches!(
            verdict,
            family::Verdict::Noticed(_) | family::Verdict::NotRun
        );
        assert!(noticed, "family {}: {verdict:?}", sabotage.family);
    }
}

/// Nearly everything that real programs execute is modelled.
#[test]
fn executed_instructions_are_modelled() {
    let share = share::measure();
    println!("{share}");
    assert!(
        share.modelled_ppm() >= 999_900,
        "{} ppm",
        share.modelled_ppm()
    );
}

/// Every instruction of user mode is modelled, or `oracle/unmodelled.txt` says why it is not.
#[test]
fn what_is_not_modelled_is_explained() {
    let unexplained = unmodelled::unexplained();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}
