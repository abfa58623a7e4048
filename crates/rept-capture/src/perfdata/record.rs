/// One record under construction.
pub(super) struct Record(Vec<u8>);

impl Record {
    pub(super) fn new(kind: u32, misc: u16) -> Record {
        let mut record = Record(Vec::new());
        record.u32s(&[kind]);
        record.0.extend(misc.to_le_bytes());
        record.0.extend([0, 0]);
        record
    }

    pub(super) fn u32s(&mut self, values: &[u32]) -> &mut Record {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_le_bytes()));
        self
    }

    pub(super) fn u64s(&mut self, values: &[u64]) -> &mut Record {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_le_bytes()));
        self
    }

    /// Zero-terminated, padded to eight bytes.
    pub(super) fn text(&mut self, text: &str) -> &mut Record {
        // A record's size has 16 bits; PATH_MAX keeps real names far below.
        self.0.extend(&text.as_bytes()[..text.len().min(4096)]);
        self.0.push(0);
        while !self.0.len().is_multiple_of(8) {
            self.0.push(0);
        }
        self
    }

    /// Takes the place of device, inode and generation: size, padding, 20 bytes.
    pub(super) fn build_id(&mut self, id: &[u8]) -> &mut Record {
        let mut field = [0; 24];
        let length = id.len().min(20);
        field[0] = length as u8;
        field[4..4 + length].copy_from_slice(&id[..length]);
        self.0.extend(field);
        self
    }

    pub(super) fn done(mut self) -> Vec<u8> {
        let size = self.0.len() as u16;
        self.0[6..8].copy_from_slice(&size.to_le_bytes());
        self.0
    }
}
