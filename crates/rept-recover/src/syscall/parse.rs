//! The reader of `syscalls.txt`; the grammar is at the top of that file.

use super::{Argument, Case, Condition, Effect, Length, Operand, SystemCall, Write};

/// Reads the table; the error is a sentence that names the line.
pub(super) fn table(text: &'static str) -> Result<Vec<SystemCall>, String> {
    let mut calls: Vec<SystemCall> = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        let (number, name, case) =
            self::row(row).ok_or_else(|| format!("line {line}: no row: {row}"))?;
        match calls.last_mut().filter(|call| call.number >= number) {
            None => calls.push(SystemCall {
                number,
                name,
                cases: vec![case],
            }),
            Some(call) if (call.number, call.name) == (number, name) && !is_closed(call) => {
                call.cases.push(case)
            }
            Some(_) => return Err(format!("line {line}: out of place: {row}")),
        }
    }
    match calls.iter().find(|call| !is_closed(call)) {
        Some(call) => Err(format!("{} has no row without a condition", call.name)),
        None => Ok(calls),
    }
}

/// A row without a condition was read: no other can apply.
fn is_closed(call: &SystemCall) -> bool {
    call.cases.last().is_some_and(|case| case.when.is_empty())
}

fn row(row: &'static str) -> Option<(u64, &'static str, Case)> {
    let mut words = row.split_ascii_whitespace().peekable();
    let (number, name) = (words.next()?.parse().ok()?, words.next()?);
    let mut when = Vec::new();
    while let Some(word) = words.next_if(|word| word.contains('=')) {
        when.push(condition(word)?);
    }
    let (effect, unknown_extent, asynchronous) = match words.next()? {
        "all" => (Effect::None, true, false),
        "all~" => (Effect::None, true, true),
        word => {
            let anywhere = words.next_if_eq(&"all").is_some();
            (effect_of(word)?, anywhere, false)
        }
    };
    let writes = words.map(write).collect::<Option<_>>()?;
    let case = Case {
        when: when.into(),
        effect,
        writes,
        unknown_extent,
        asynchronous,
    };
    Some((number, name, case))
}

fn effect_of(word: &str) -> Option<Effect> {
    Some(match word {
        "-" => Effect::None,
        "map" => Effect::Map,
        "unmap" => Effect::Unmap,
        "protect" => Effect::Protect,
        "break" => Effect::Break,
        "remap" => Effect::Remap,
        "discard" => Effect::Discard,
        "attach" => Effect::Attach,
        "detach" => Effect::Detach,
        "exec" => Effect::Exec,
        "clone" => Effect::Clone,
        "exit" => Effect::Exit,
        "sigreturn" => Effect::SignalReturn,
        "segment" => Effect::Segment,
        _ => return None,
    })
}

/// `OPERAND[&MASK]=VALUE[|VALUE…]`
fn condition(word: &str) -> Option<Condition> {
    let (left, values) = word.split_once('=')?;
    let (operand, mask) = match left.split_once('&') {
        Some((operand, mask)) => (operand, number(mask)?),
        None => (left, u64::MAX),
    };
    let operand = self::operand(operand)?;
    let values = values.split('|').map(number).collect::<Option<_>>()?;
    Some(Condition {
        operand,
        mask,
        values,
    })
}

/// `POINTER:LENGTH[!][~]`
fn write(word: &str) -> Option<Write> {
    let (word, lasting) = suffix(word, '~');
    let (word, on_failure) = suffix(word, '!');
    let (pointer, length) = word.split_once(':')?;
    let (pointer, offset) = match pointer.split_once('+') {
        _ if pointer.starts_with('[') => (pointed(pointer)?, 0),
        Some((n, offset)) => (Operand::Argument(argument(n)?), number(offset)?),
        None => (Operand::Argument(argument(pointer)?), 0),
    };
    Some(Write {
        pointer,
        offset,
        length: self::length(length)?,
        on_failure,
        lasting,
    })
}

fn length(word: &str) -> Option<Length> {
    if let Some((result, limit)) = word.split_once("<=") {
        let size = match result.strip_prefix("ret")? {
            "" => 1,
            times => number(times.strip_prefix('*')?)?,
        };
        return Some(Length::Result(argument(limit.strip_prefix('a')?)?, size));
    }
    if let Some((function, operand)) = word.strip_suffix(')').and_then(|word| word.split_once('('))
    {
        return match (function, self::operand(operand)?) {
            ("iov", count) => Some(Length::Vector(count)),
            ("at", Operand::Argument(argument)) => Some(Length::At(argument)),
            ("bits", Operand::Argument(argument)) => Some(Length::Bits(argument)),
            ("pages", Operand::Argument(argument)) => Some(Length::Pages(argument)),
            _ => None,
        };
    }
    if let Some(Operand::Pointed(argument, offset)) = pointed(word) {
        return Some(Length::Pointed(argument, offset));
    }
    match word
        .strip_prefix('a')
        .map(|word| word.split_once('*').unwrap_or((word, "1")))
    {
        Some((n, size)) => Some(Length::Argument(argument(n)?, number(size)?)),
        None => Some(Length::Fixed(number(word)?)),
    }
}

/// `aN` or `[N+D]`
fn operand(word: &str) -> Option<Operand> {
    match word.strip_prefix('a') {
        Some(n) => Some(Operand::Argument(argument(n)?)),
        None => pointed(word),
    }
}

/// `[N+D]`
fn pointed(word: &str) -> Option<Operand> {
    let (n, offset) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('+')?;
    Some(Operand::Pointed(argument(n)?, number(offset)?))
}

fn argument(word: &str) -> Option<Argument> {
    Argument::new(word.parse().ok()?)
}

fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

fn suffix(word: &str, mark: char) -> (&str, bool) {
    match word.strip_suffix(mark) {
        Some(word) => (word, true),
        None => (word, false),
    }
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn wrong_tables_are_refused() {
        for (text, complaint) in [
            ("0 read", "line 1: no row: 0 read"),
            ("0 read - 7:4", "line 1: no row: 0 read - 7:4"),
            ("0 read - 2:ret<=b3", "line 1: no row: 0 read - 2:ret<=b3"),
            ("0 read perhaps", "line 1: no row: 0 read perhaps"),
            (
                "# head\n\n1 write -\n0 read -",
                "line 4: out of place: 0 read -",
            ),
            ("1 write -\n1 write -", "line 2: out of place: 1 write -"),
            ("1 write a1=0 -\n1 read -", "line 2: out of place: 1 read -"),
            (
                "1 write a1=0 -\n2 open -",
                "write has no row without a condition",
            ),
        ] {
            assert_eq!(table(text).expect_err(text), complaint);
        }
    }
}
