//! Vector registers in an XSAVE image in standard format (SDM volume 1, chapter 13).

use iced_x86::Register;

/// The register set (and core note) that holds the image.
pub(crate) const NT_X86_XSTATE: u32 = 0x202;

const XMM_AT: usize = 160;
/// CPUID leaf 0Dh sub-leaves: upper halves of YMM, masks, upper halves of ZMM 0-15, and whole ZMM 16-31.
const YMM_HIGH: u32 = 2;
const OPMASK: u32 = 5;
const ZMM_HIGH: u32 = 6;
const ZMM_16_31: u32 = 7;

/// Element `lane` of `bytes` bytes (at most 8) of a vector register or a mask register.
pub(crate) fn lane(image: &[u8], register: Register, lane: usize, bytes: usize) -> Option<u64> {
    if !register.is_vector_register() && !register.is_k() {
        return None;
    }
    let (number, at) = (register.number(), lane * bytes);
    let start = match at {
        _ if register.is_k() => component(OPMASK) + number * 8 + at,
        _ if number >= 16 => component(ZMM_16_31) + (number - 16) * 64 + at,
        0..16 => XMM_AT + number * 16 + at,
        16..32 => component(YMM_HIGH) + number * 16 + at - 16,
        _ => component(ZMM_HIGH) + number * 32 + at - 32,
    };
    let mut value = [0; 8];
    value[..bytes.min(8)].copy_from_slice(image.get(start..start + bytes.min(8))?);
    Some(u64::from_le_bytes(value))
}

// Where a component stands in the image: CPUID leaf 0Dh, EBX of its sub-leaf.
fn component(number: u32) -> usize {
    std::arch::x86_64::__cpuid_count(0xd, number).ebx as usize
}

#[cfg(test)]
mod tests {
    use super::lane;
    use iced_x86::Register;

    #[test]
    fn low_lanes_are_in_the_legacy_area() {
        let mut image = vec![0; 1024];
        image[160 + 16 + 8..160 + 16 + 12].copy_from_slice(&7u32.to_le_bytes());
        assert_eq!(lane(&image, Register::YMM1, 2, 4), Some(7));
        assert_eq!(lane(&image, Register::RAX, 0, 4), None);
        assert_eq!(lane(&image[..100], Register::XMM0, 0, 8), None);
    }
}
