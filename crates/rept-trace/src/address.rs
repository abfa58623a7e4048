use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A virtual address of the traced process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

impl Address {
    /// The address `bytes` further on, modulo 2^64 as the processor computes it.
    pub fn offset(self, bytes: u64) -> Address {
        Address(self.0.wrapping_add(bytes))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// As debuggers read numbers: hexadecimal behind `0x`, else decimal.
impl FromStr for Address {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Address, ParseIntError> {
        let hexadecimal = text.strip_prefix("0x").map(|digits| (digits, 16));
        let (digits, radix) = hexadecimal.unwrap_or((text, 10));
        // A sign is no digit here; alone, it is none for the standard library either.
        let digits = if digits.starts_with('+') { "+" } else { digits };
        u64::from_str_radix(digits, radix).map(Address)
    }
}

impl fmt::LowerHex for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A thread of the traced process, by the kernel's thread id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u32);

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
