//! The emulator's atomic operations on memory (SDM volume 2, CMPccXADD; the extensions reference,
//! AADD and its kin).

use crate::emulate::{Cpu, ones, signed};

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn atomic(&mut self, name: &str) -> Option<Option<()>> {
        match name {
            "aadd" => Some(self.update(|x, y| x.wrapping_add(y))),
            "aand" => Some(self.update(|x, y| x & y)),
            "aor" => Some(self.update(|x, y| x | y)),
            "axor" => Some(self.update(|x, y| x ^ y)),
            _ => {
                let condition = name.strip_prefix("cmp")?.strip_suffix("xadd")?;
                Some(self.exchange_add_if(condition))
            }
        }
    }

    fn update(&mut self, f: impl Fn(u64, u64) -> u64) -> Option<()> {
        let size = self.instruction.memory_size().size();
        let result = f(self.load(0, size), self.scalar(1)?);
        self.store(result, 0, size);
        Some(())
    }

    fn exchange_add_if(&mut self, condition: &str) -> Option<()> {
        let size = self.instruction.memory_size().size();
        let (old, compared, addend) = (self.load(0, size), self.scalar(1)?, self.scalar(2)?);
        let all = ones(8 * size);
        let difference = old.wrapping_sub(compared) & all;
        let exact = i128::from(signed(old, size)) - i128::from(signed(compared, size));
        let [carry, zero] = [old < compared, difference == 0];
        let parity = (difference as u8).count_ones().is_multiple_of(2);
        let sign = signed(difference, size) < 0;
        let overflow = exact != i128::from(signed(difference, size));
        let adjust = old & 15 < compared & 15;
        let (plain, wanted) = match condition.strip_prefix('n') {
            Some(rest) => (rest, false),
            None => (condition, true),
        };
        let holds = match plain {
            "o" => overflow,
            "b" => carry,
            "z" => zero,
            "be" => carry || zero,
            "s" => sign,
            "p" => parity,
            "l" => sign != overflow,
            "le" => zero || sign != overflow,
            _ => return None,
        } == wanted;
        let set = [
            (carry, 0),
            (parity, 2),
            (adjust, 4),
            (zero, 6),
            (sign, 7),
            (overflow, 11),
        ];
        let flags = &mut self.world.state.flags;
        for (flag, at) in set {
            *flags = *flags & !(1 << at) | u64::from(flag) << at;
        }
        let result = if holds {
            old.wrapping_add(addend) & all
        } else {
            old
        };
        self.store(result, 0, size);
        self.set_scalar(1, old)
    }
}
