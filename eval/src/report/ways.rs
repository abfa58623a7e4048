//! From crash to cause, case by case.

use super::{debuggable, line};
use crate::result::CaseResult;
use std::fmt::Write;

pub(super) fn ways(text: &mut String, results: &[&CaseResult]) {
    line!(text, "\n## From crash to cause, case by case\n");
    for result in results {
        let (manifest, Some(found)) = (&result.manifest, &result.examination) else {
            continue;
        };
        line!(text, "### {}\n", result.name);
        line!(text, "{}\n", manifest.story.trim());
        line!(
            text,
            "Cause: `{}`, {}. Asked about: {}. {}\n",
            manifest.cause_function,
            manifest.cause.join(", "),
            found.asked,
            verdict(result)
        );
        if let Some(way) = &found.reached {
            line!(text, "```text");
            for link in shortened(&way.chain) {
                line!(text, "{link}");
            }
            line!(text, "```\n");
        }
    }
}

fn verdict(result: &CaseResult) -> String {
    let answer = debuggable(result);
    let mut letters = answer.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    format!(
        "Debuggable: {}{}.",
        first.unwrap_or_default(),
        letters.as_str()
    )
}

/// The first and the last links of a long chain.
fn shortened(chain: &[String]) -> Vec<String> {
    const ENDS: usize = 8;
    if chain.len() <= 2 * ENDS {
        return chain.to_vec();
    }
    let left_out = format!("… {} more …", chain.len() - 2 * ENDS);
    let ends = (&chain[..ENDS], &chain[chain.len() - ENDS..]);
    ends.0
        .iter()
        .cloned()
        .chain([left_out])
        .chain(ends.1.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_chains_lose_their_middle() {
        let chain: Vec<String> = (0..40).map(|link| link.to_string()).collect();
        let shown = shortened(&chain);
        assert_eq!(shown.len(), 17);
        assert_eq!(shown[8], "… 24 more …");
        assert_eq!(shown[16], "39");
    }
}
