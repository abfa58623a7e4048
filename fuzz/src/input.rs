//! Reading structure out of bytes: any bytes will do, and when they end, zeros follow.

pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Input<'a> {
        Input(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    /// A number of one to nine bytes; small ones take one.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=0xf7 => u64::from(small),
            size => (0..size - 0xf7).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// At most `limit` of the bytes left, as many as a number says.
    pub(crate) fn bytes(&mut self, limit: usize) -> &'a [u8] {
        let wanted = (self.number() as usize).min(limit).min(self.0.len());
        let (bytes, rest) = self.0.split_at(wanted);
        self.0 = rest;
        bytes
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Little-endian bytes of a list of numbers.
macro_rules! bytes {
    ($($field:expr),* $(,)?) => {{
        let mut bytes: Vec<u8> = Vec::new();
        $(bytes.extend($field.to_le_bytes());)*
        bytes
    }};
}
pub(crate) use bytes;
