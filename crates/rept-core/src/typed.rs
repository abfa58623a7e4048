//! Values as the program's source has them.

use crate::history::Value;
use crate::show::{grade, known_part, mark};
use std::fmt;

/// A variable with the value that it has at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// It is a parameter of its function.
    pub parameter: bool,
    /// Its value.
    pub value: Typed,
    /// Where it is, when it is at one place that is known: in memory, or in a register of its function's
    /// frame, which is the thread's own only in the innermost one.
    pub location: Option<crate::Location>,
}

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Typed {
    /// The type, as the source names it.
    pub type_name: String,
    /// What it is made of.
    pub shape: Shape,
}

/// What a value is made of. Displays as one line; what is not known is `?`, and marked as by
/// [`crate::show::LEGEND`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// A number, pointer, character or the like.
    Scalar {
        /// Its bits.
        value: Value,
        /// How many, 1 to 64.
        bits: u32,
        /// As the language writes it, when all of it is known.
        text: Option<String>,
    },
    /// Characters; `None` for those that are not known.
    Text {
        /// The bytes, cut off where long.
        bytes: Vec<Option<u8>>,
        /// The bytes' grades together: those of the least trusted.
        grade: crate::Trust,
        /// More follow.
        more: bool,
    },
    /// A structure, union, class, or an enumeration's variant that has a name.
    Members {
        /// The variant's name.
        variant: Option<String>,
        /// Members in the order of the source.
        members: Vec<(String, Typed)>,
    },
    /// Elements of an array or the like.
    Elements {
        /// The first of them.
        elements: Vec<Typed>,
        /// How many more there are.
        more: u64,
    },
    /// Nothing to show, and why.
    Missing(String),
}

impl Typed {
    pub(crate) fn missing(type_name: String, why: impl Into<String>) -> Typed {
        let shape = Shape::Missing(why.into());
        Typed { type_name, shape }
    }

    /// Some bit of it is known.
    pub fn is_known(&self) -> bool {
        match &self.shape {
            Shape::Scalar { value, .. } => value.known != 0,
            Shape::Text { bytes, .. } => bytes.iter().any(Option::is_some) || bytes.is_empty(),
            Shape::Members { variant, members } => {
                variant.is_some()
                    || members.is_empty()
                    || members.iter().any(|(_, member)| member.is_known())
            }
            Shape::Elements { elements, .. } => {
                elements.is_empty() || elements.iter().any(Typed::is_known)
            }
            Shape::Missing(_) => false,
        }
    }
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shape.fmt(f)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Scalar { value, bits, text } => scalar(f, *value, *bits, text.as_deref()),
            Shape::Text { bytes, grade, more } => {
                f.write_str(mark(*grade))?;
                quoted(f, bytes, *more)
            }
            Shape::Members { variant, members } => {
                f.write_str(variant.as_deref().unwrap_or_default())?;
                match (variant, members.is_empty()) {
                    (Some(_), true) => Ok(()),
                    (Some(_), false) => {
                        f.write_str(" ")?;
                        braces(f, members)
                    }
                    (None, _) => braces(f, members),
                }
            }
            Shape::Elements { elements, more } => {
                f.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if index == 0 { "" } else { ", " })?;
                }
                if *more > 0 {
                    write!(f, ", … {more} more")?;
                }
                f.write_str("]")
            }
            Shape::Missing(why) => write!(f, "? ({why})"),
        }
    }
}

fn scalar(f: &mut fmt::Formatter<'_>, value: Value, bits: u32, text: Option<&str>) -> fmt::Result {
    match text {
        Some(text) => {
            let all = if bits >= 64 {
                u64::MAX
            } else {
                (1 << bits) - 1
            };
            write!(f, "{}{text}", mark(grade(value, all)))
        }
        None => f.write_str(known_part(value, bits).as_deref().unwrap_or("?")),
    }
}

fn braces(f: &mut fmt::Formatter<'_>, members: &[(String, Typed)]) -> fmt::Result {
    f.write_str("{")?;
    for (index, (name, member)) in members.iter().enumerate() {
        write!(f, "{}{name}: {member}", if index == 0 { "" } else { ", " })?;
    }
    f.write_str("}")
}

fn quoted(f: &mut fmt::Formatter<'_>, bytes: &[Option<u8>], more: bool) -> fmt::Result {
    f.write_str("\"")?;
    for byte in bytes {
        match byte {
            Some(byte) => write!(f, "{}", byte.escape_ascii())?,
            // A text has question marks of its own.
            None => f.write_str("\u{fffd}")?,
        }
    }
    f.write_str(if more { "…\"" } else { "\"" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trust;

    fn number(bits: u64, known: u64, text: Option<&str>) -> Typed {
        Typed {
            type_name: "int".to_owned(),
            shape: Shape::Scalar {
                value: Value {
                    bits,
                    known,
                    certain: 0,
                    assumed: known,
                },
                bits: 32,
                text: text.map(str::to_owned),
            },
        }
    }

    #[test]
    fn what_is_unknown_is_marked_member_by_member() {
        let members = vec![
            ("x".to_owned(), number(3, u64::MAX, Some("3"))),
            ("y".to_owned(), number(0, 0, None)),
            ("z".to_owned(), number(0x12, 0xff, None)),
        ];
        let shape = Shape::Members {
            variant: None,
            members,
        };
        assert_eq!(shape.to_string(), "{x: ~3, y: ?, z: ~0x??????12}");
        let text = Shape::Text {
            bytes: vec![Some(b'a'), None, Some(b'"')],
            grade: Trust::Certain,
            more: true,
        };
        assert_eq!(text.to_string(), "\"a\u{fffd}\\\"…\"");
    }
}
