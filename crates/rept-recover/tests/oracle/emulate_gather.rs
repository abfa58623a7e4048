//! The emulator's gathers and scatters, element by element in ascending order.

use crate::emulate::{Cpu, Elements};
use crate::state::linear;
use iced_x86::{InstructionInfoFactory, Register};

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn scattered(&mut self, name: &str) -> Option<Option<()>> {
        let plain = name.strip_prefix('p').unwrap_or(name);
        let gathers = plain.starts_with("gather");
        let sizes = plain
            .strip_prefix("gather")
            .or(plain.strip_prefix("scatter"))?;
        let size = match &sizes[1..] {
            "d" | "ps" => 4,
            "q" | "pd" => 8,
            _ => return None,
        };
        let index_size = if sizes.starts_with('d') { 4 } else { 8 };
        let vector = self.instruction.op_register(u32::from(!gathers));
        let count = (vector.size() / size).min(self.instruction.memory_index().size() / index_size);
        Some(match gathers {
            true => self.gather(vector, size, count),
            false => self.scatter(size, count),
        })
    }

    /// Offset in the scratch of element `i`.
    fn element_place(&self, i: usize) -> Option<usize> {
        let mut factory = InstructionInfoFactory::new();
        let memory = *factory.info(self.instruction).used_memory().first()?;
        let address = linear(self.setting, &self.world.state, &memory, i)?;
        Some(address.wrapping_sub(self.setting.scratch) as usize)
    }

    fn gather(&mut self, destination: Register, size: usize, count: usize) -> Option<()> {
        if destination.number() == self.instruction.memory_index().number() {
            // An undefined opcode.
            self.open = true;
            return Some(());
        }
        let mut result: Elements = self.elements(0, size, count)?;
        for (i, element) in result.iter_mut().enumerate() {
            if self.selected(i) {
                let at = self.element_place(i)?;
                let mut bytes = [0; 8];
                bytes[..size].copy_from_slice(self.world.scratch.get(at..at + size)?);
                *element = u64::from_le_bytes(bytes);
            }
        }
        self.set_all_elements(size, &result)?;
        self.clear_mask()
    }

    fn scatter(&mut self, size: usize, count: usize) -> Option<()> {
        let values = self.elements(1, size, count)?;
        for (i, value) in values.iter().enumerate() {
            if self.selected(i) {
                let at = self.element_place(i)?;
                let bytes = &value.to_le_bytes()[..size];
                self.world
                    .scratch
                    .get_mut(at..at + size)?
                    .copy_from_slice(bytes);
            }
        }
        self.clear_mask()
    }

    fn clear_mask(&mut self) -> Option<()> {
        self.world.state.opmask[self.instruction.op_mask().number()] = 0;
        Some(())
    }
}
