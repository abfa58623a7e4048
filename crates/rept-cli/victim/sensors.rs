//! The program that `rept demo` lets crash.
//!
//! It collects readings of a few sensors from a log and prints their averages. One
//! comparison is wrong: a sensor takes one reading too many, which lands in the pointer
//! behind its readings. Nothing happens until, thousands of instructions later, another
//! function follows that pointer. A debugger shows the pointer's value at the crash,
//! and nothing of where it came from.
//!
//! Built by `build.rs` with Cargo's own compiler, optimised and with debug information.

#![no_main]

use std::hint::black_box;

/// Readings that a sensor keeps.
const READINGS: usize = 8;

/// Turns raw readings into tenths of a degree.
struct Calibration {
    zero: u64,
    per_unit: u64,
}

/// One sensor, on the heap. Layout as written: the readings, then the pointer.
#[repr(C)]
struct Sensor {
    count: usize,
    readings: [u64; READINGS],
    calibration: *const Calibration,
}

/// The log: sensor number and raw reading, one a line. Sensor 1 reports nine times.
const LOG: &str = "\
0 391\n1 502\n2 618\n0 393\n1 507\n2 611\n0 399\n1 511\n2 603\n0 402\n1 516\n2 598\n\
0 405\n1 519\n2 596\n0 407\n1 523\n2 590\n0 411\n1 527\n2 584\n0 414\n1 530\n2 579\n\
1 533\n";

fn new_sensor() -> Box<Sensor> {
    let calibration = Box::leak(Box::new(Calibration { zero: 273, per_unit: 3 }));
    Box::new(Sensor { count: 0, readings: [0; READINGS], calibration })
}

/// Keeps a reading. The bug: `<=` where `<` was meant, on a raw pointer as in code
/// that came from C.
#[inline(never)]
fn keep_reading(sensor: &mut Sensor, reading: u64) {
    if sensor.count <= READINGS {
        let readings = &raw mut sensor.readings;
        // SAFETY: none; this is what the demo is about.
        unsafe { readings.cast::<u64>().add(sensor.count).write(reading) };
        sensor.count += 1;
    }
}

/// Parses one line of the log.
#[inline(never)]
fn parse_line(line: &str) -> Option<(usize, u64)> {
    let (sensor, reading) = line.split_once(' ')?;
    Some((sensor.parse().ok()?, reading.parse().ok()?))
}

/// Unrelated work between the bug and its effect.
#[inline(never)]
fn checksum(text: &str) -> u32 {
    text.bytes().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}

/// The mean of the readings, in tenths of a degree.
#[inline(never)]
fn average(sensor: &Sensor) -> u64 {
    let mean = sensor.readings.iter().sum::<u64>() / READINGS as u64;
    // SAFETY: the pointer is that of `new_sensor`, or so the author thought.
    unsafe { mean * (*sensor.calibration).per_unit - (*sensor.calibration).zero }
}

/// Called by the C library; a Rust `main` would first run the runtime's start-up code.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let mut sensors = [new_sensor(), new_sensor(), new_sensor()];
    for (sensor, reading) in LOG.lines().filter_map(parse_line) {
        keep_reading(&mut sensors[sensor % 3], reading);
    }
    let sum = black_box(checksum(LOG));
    println!("log of {} bytes, checksum {sum:08x}", LOG.len());
    for (number, sensor) in sensors.iter().enumerate() {
        println!("sensor {number}: {} tenths of a degree", average(sensor));
    }
    0
}
