//! Build-ids: how binaries are told apart.

use std::fmt;

/// The linker's fingerprint of a binary (`NT_GNU_BUILD_ID`), usually 20 bytes; prints as hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(Box<[u8]>);

impl BuildId {
    /// Longest build-id taken seriously, in bytes.
    pub const MAX: usize = 64;

    /// A build-id from its bytes; `None` when there are none, more than [`BuildId::MAX`], or all are zero.
    pub fn new(bytes: &[u8]) -> Option<BuildId> {
        let plausible =
            (1..=BuildId::MAX).contains(&bytes.len()) && bytes.iter().any(|&byte| byte != 0);
        plausible.then(|| BuildId(bytes.into()))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Equal as far as both go: perf pads ids to 20 bytes with zeros.
    pub(crate) fn matches(&self, other: &BuildId) -> bool {
        let len = self.0.len().min(other.0.len());
        let zeros = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        self.0[..len] == other.0[..len] && zeros(&self.0[len..]) && zeros(&other.0[len..])
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_does_not_matter_but_bytes_do() {
        let short = BuildId::new(&[1, 2, 3]).unwrap();
        let padded = BuildId::new(&[1, 2, 3, 0, 0]).unwrap();
        let other = BuildId::new(&[1, 2, 3, 4, 0]).unwrap();
        assert!(short.matches(&padded) && padded.matches(&short));
        assert!(!short.matches(&other) && !padded.matches(&other));
    }

    #[test]
    fn no_id_from_nothing_zeros_or_too_much() {
        assert_eq!(BuildId::new(&[]), None);
        assert_eq!(BuildId::new(&[0; 20]), None);
        assert_eq!(BuildId::new(&[1; 65]), None);
        assert_eq!(BuildId::new(&[0xab, 1]).unwrap().to_string(), "ab01");
    }
}
