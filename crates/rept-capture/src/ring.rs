/// A circular buffer of bytes: when it is full, each new byte takes the place of the oldest.
///
/// This is what PT hardware does with a ToPA whose last entry points to its first: the
/// survivors are the newest bytes, and the oldest of them may be the middle of a packet.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    bytes: Vec<u8>,
    capacity: usize,
    // Number of bytes ever written.
    written: u64,
}

impl Ring {
    /// A ring of `capacity` bytes, at least 1; memory is taken as it fills.
    pub(crate) fn new(capacity: usize) -> Ring {
        Ring {
            bytes: Vec::new(),
            capacity: capacity.max(1),
            written: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.bytes.len() < self.capacity {
                self.bytes.push(byte);
            } else {
                let at = (self.written % self.capacity as u64) as usize;
                self.bytes[at] = byte;
            }
            self.written += 1;
        }
    }

    /// Number of bytes ever written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The surviving bytes, oldest first, as the two halves of the ring.
    pub(crate) fn halves(&self) -> (&[u8], &[u8]) {
        if self.bytes.len() < self.capacity {
            return (&self.bytes, &[]);
        }
        let split = (self.written % self.capacity as u64) as usize;
        let (newer, older) = self.bytes.split_at(split);
        (older, newer)
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    fn survivors(ring: &Ring) -> Vec<u8> {
        let (older, newer) = ring.halves();
        [older, newer].concat()
    }

    #[test]
    fn keeps_everything_until_full() {
        let mut ring = Ring::new(4);
        ring.push(&[1, 2, 3, 4]);
        assert_eq!(survivors(&ring), [1, 2, 3, 4]);
    }

    #[test]
    fn keeps_the_newest_when_full() {
        let mut ring = Ring::new(4);
        ring.push(&[1, 2, 3]);
        ring.push(&[4, 5, 6, 7, 8, 9]);
        assert_eq!(survivors(&ring), [6, 7, 8, 9]);
        assert_eq!(ring.written(), 9);
    }
}
