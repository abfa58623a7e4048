//! `trace.json` as LLDB writes it.

use crate::{BuildId, Error};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::Path;

#[derive(Debug, Deserialize)]
pub(super) struct Bundle {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "cpuInfo")]
    pub(super) cpu: CpuInfo,
    #[serde(default)]
    pub(super) processes: Vec<Process>,
    #[serde(default)]
    pub(super) cpus: Vec<Processor>,
    #[serde(rename = "tscPerfZeroConversion")]
    pub(super) conversion: Option<Conversion>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CpuInfo {
    pub(super) vendor: String,
    pub(super) family: u16,
    pub(super) model: u8,
    pub(super) stepping: u8,
}

#[derive(Debug, Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    #[serde(default)]
    pub(super) threads: Vec<Thread>,
    #[serde(default)]
    pub(super) modules: Vec<Module>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Thread {
    pub(super) tid: u32,
    /// Its packets, unless they are those of processors.
    #[serde(rename = "iptTrace")]
    pub(super) trace: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Module {
    /// On the machine that was recorded.
    #[serde(rename = "systemPath")]
    pub(super) system_path: String,
    /// In the bundle.
    pub(super) file: Option<String>,
    #[serde(rename = "loadAddress")]
    pub(super) load_address: Number,
    uuid: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Processor {
    pub(super) id: u32,
    #[serde(rename = "iptTrace")]
    pub(super) trace: String,
    #[serde(rename = "contextSwitchTrace")]
    pub(super) switches: String,
}

/// Of `perf_event_mmap_page`.
#[derive(Debug, Deserialize)]
pub(super) struct Conversion {
    #[serde(rename = "timeMult")]
    pub(super) mult: u32,
    #[serde(rename = "timeShift")]
    pub(super) shift: u16,
    #[serde(rename = "timeZero")]
    pub(super) zero: Number,
}

/// 64 bits: a number, or a string (JSON numbers of other programs have 53), decimal or hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

impl Bundle {
    /// Parses the text.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Bundle, Error> {
        let wrong = |error: serde_json::Error| {
            let what = format!("this is no trace bundle of LLDB: {error}");
            Error::malformed(path, offset(text, error.line(), error.column()), what)
        };
        let bundle: Bundle = serde_json::from_slice(text).map_err(wrong)?;
        if bundle.kind != "intel-pt" {
            let what = format!("the bundle's trace is not Intel PT but {:?}", bundle.kind);
            return Err(Error::missing(path, what));
        }
        Ok(bundle)
    }
}

impl Module {
    /// From the UUID, which is the build-id in groups.
    pub(super) fn build_id(&self) -> Option<BuildId> {
        let digits = self.uuid.as_ref()?.bytes().filter(|&byte| byte != b'-');
        let digits: Option<Vec<u8>> = digits
            .map(|digit| Some((digit as char).to_digit(16)? as u8))
            .collect();
        let bytes: Vec<u8> = digits?
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        BuildId::new(&bytes)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of 64 bits, perhaps as text")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number as u64))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                let parsed = match text.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => text.parse(),
                };
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Str(text), &self);
                parsed.map(Number).map_err(wrong)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Byte offset of a place that is given by line and column, from 1.
fn offset(text: &[u8], line: usize, column: usize) -> u64 {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)).min(text.len()) as u64
}
