//! Recovery as an experiment: without some of its techniques, or with the places of all accesses
//! given. Only builds with the feature `experiments` can do either.

use super::Truth;
use crate::failure::Failure;
use rept_core::RecoverOptions;
use rept_recover::history::Recovered;
use rept_trace::{FinalState, Trace};

/// The naive engine of rept-recover's tests.
#[cfg(feature = "experiments")]
#[path = "../../../rept-recover/tests/naive/engine.rs"]
#[expect(dead_code, reason = "the text cases there ask for memory as well")]
mod naive_engine;

/// Options of a recovery without these techniques.
///
/// # Errors
/// There is no such technique, or this build cannot leave any out.
pub(crate) fn leaving_out(names: &[String]) -> Result<RecoverOptions, Failure> {
    if names.is_empty() {
        return Ok(RecoverOptions::default());
    }
    #[cfg(feature = "experiments")]
    return enabled::leaving_out(names);
    #[cfg(not(feature = "experiments"))]
    Err(disabled("--without"))
}

/// Options of a recovery that is told where every access was.
///
/// # Errors
/// Those of reading the truth, or this build cannot give places away.
#[cfg_attr(
    not(feature = "experiments"),
    expect(unused_variables, reason = "this build always fails")
)]
pub(crate) fn given(trace: &Trace, truth: &mut dyn Truth) -> Result<RecoverOptions, Failure> {
    #[cfg(feature = "experiments")]
    return enabled::given(trace, truth);
    #[cfg(not(feature = "experiments"))]
    Err(disabled("--ceiling"))
}

/// What a naive engine knows.
///
/// # Errors
/// This build has no such engine.
#[cfg_attr(
    not(feature = "experiments"),
    expect(unused_variables, reason = "this build always fails")
)]
pub(crate) fn naive(trace: &Trace, last: &FinalState<'_>) -> Result<Box<dyn Recovered>, Failure> {
    #[cfg(feature = "experiments")]
    return Ok(Box::new(naive_engine::recover(trace, last, &[])));
    #[cfg(not(feature = "experiments"))]
    Err(disabled("--naive"))
}

#[cfg(not(feature = "experiments"))]
fn disabled(option: &str) -> Failure {
    Failure::new(format!(
        "{option}: this rept was built without experiments; build it with `cargo build --features experiments`"
    ))
}

#[cfg(feature = "experiments")]
mod enabled {
    use super::{Failure, RecoverOptions, Trace, Truth};
    use crate::score::stretches;
    use crate::score::walk::TrueStep;
    use rept_recover::experiment::{GivenOperand, Technique};

    pub(super) fn leaving_out(names: &[String]) -> Result<RecoverOptions, Failure> {
        let technique = |name: &String| {
            let found = Technique::ALL.into_iter().find(|one| one.name() == name);
            found.ok_or_else(|| {
                let known = Technique::ALL.map(Technique::name).join(", ");
                Failure::new(format!("--without {name}: not one of {known}"))
            })
        };
        let mut options = RecoverOptions::default();
        options.experiment.without = names.iter().map(technique).collect::<Result<_, _>>()?;
        Ok(options)
    }

    pub(super) fn given(trace: &Trace, truth: &mut dyn Truth) -> Result<RecoverOptions, Failure> {
        let mut options = RecoverOptions::default();
        for thread in &trace.threads {
            let mut operands = Vec::new();
            let stretches = stretches(trace, truth, thread)?;
            let mut next = stretches.first().map_or(0, |stretch| stretch.truth);
            let mut steps = truth.steps(thread.thread, next as u64)?;
            for stretch in stretches {
                for (index, step) in stretch.trace.enumerate() {
                    let wanted = stretch.truth + index;
                    let Some(found) = steps.by_ref().nth(wanted - next) else {
                        break;
                    };
                    next = wanted + 1;
                    operands.extend(given_operands(step as u64, &found?));
                }
            }
            options.experiment.given.push(operands);
        }
        Ok(options)
    }

    fn given_operands(step: u64, truth: &TrueStep) -> impl Iterator<Item = GivenOperand> + '_ {
        truth.operands.iter().map(move |operand| GivenOperand {
            step,
            address: operand.address,
            bytes: operand.bytes.len() as u64,
            store: operand.store,
        })
    }
}
