//! Reads the index of the real captures.

use rept_decode::{CpuModel, DecodeOptions, StaticImage, Stream, decode};
use rept_trace::{Address, ThreadId, Trace};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

pub struct Capture {
    pub name: String,
    pub pt: Vec<u8>,
    pub events: String,
    sections: Vec<(Address, Vec<u8>)>,
    entry: Value,
}

fn folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pt-real");
    std::env::var_os("REPT_PT_CAPTURES").map_or(beside, PathBuf::from)
}

/// All captures; none, and a word about it, when the folder is absent.
pub fn captures() -> Vec<Capture> {
    let folder = folder();
    let Ok(index) = fs::read_to_string(folder.join("INDEX.json")) else {
        println!(
            "SKIPPED: no captures in {} (set REPT_PT_CAPTURES)",
            folder.display()
        );
        return Vec::new();
    };
    let index: Vec<Value> = serde_json::from_str(&index).expect("INDEX.json is a list");
    index
        .into_iter()
        .map(|entry| Capture::open(&folder, entry))
        .collect()
}

fn number(value: &Value) -> u64 {
    match value {
        Value::String(hex) => {
            u64::from_str_radix(hex.trim_start_matches("0x"), 16).expect("hexadecimal")
        }
        other => other.as_u64().expect("a number"),
    }
}

impl Capture {
    fn open(folder: &Path, entry: Value) -> Capture {
        let pt_file = folder.join(entry["pt"].as_str().expect("pt"));
        let section = |image: &Value| {
            let file = fs::read(folder.join(image["file"].as_str().expect("file"))).expect("blob");
            let offset = number(&image["off"]) as usize;
            let len = number(&image["len"]) as usize;
            (
                Address(number(&image["vaddr"])),
                file[offset..file.len().min(offset + len)].to_vec(),
            )
        };
        Capture {
            name: entry["name"].as_str().expect("name").to_owned(),
            pt: fs::read(&pt_file).expect("trace.pt"),
            events: fs::read_to_string(pt_file.with_file_name("events.txt")).unwrap_or_default(),
            sections: entry["image"]
                .as_array()
                .expect("image")
                .iter()
                .map(section)
                .collect(),
            entry,
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        let options = self.entry["ptxed_options"].as_array()?;
        let index = options.iter().position(|option| option == name)?;
        options.get(index + 1)?.as_str()
    }

    pub fn options(&self) -> DecodeOptions {
        let number = |name| {
            self.option(name)
                .map_or(0, |text: &str| text.parse::<u32>().expect("a number"))
        };
        let mut options = DecodeOptions {
            cpu: self.option("--cpu").map(cpu),
            ..DecodeOptions::default()
        };
        options.time.mtc_shift = number("--mtc-freq") as u8;
        options.time.max_nonturbo_ratio = number("--nom-freq") as u8;
        options.time.tsc_ctc_numerator = number("--cpuid-0x15.ebx");
        options.time.tsc_ctc_denominator = number("--cpuid-0x15.eax");
        options
    }

    pub fn image(&self) -> StaticImage<'_> {
        let mut image = StaticImage::new();
        for (at, bytes) in &self.sections {
            image.add(*at, bytes);
        }
        image
    }

    pub fn decode(&self, options: &DecodeOptions) -> Trace {
        decode(
            &[Stream::new(ThreadId(1), &self.pt)],
            &self.image(),
            options,
        )
    }

    /// TSC values that the reference gives for the last events, oldest first.
    pub fn timestamps(&self) -> Vec<u64> {
        let listed = self.entry["timestamps"]["tsc"].as_array();
        listed.map_or(Vec::new(), |list| list.iter().map(number).collect())
    }

    /// The first of the index's sample points that the trace does not pass through.
    pub fn first_difference(&self, trace: &Trace) -> String {
        let points = self.entry["expected"]["checkpoints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let thread = &trace.threads[0];
        let wrong = points.iter().find(|point| {
            thread.address(&trace.code, number(&point[0])) != Some(Address(number(&point[1])))
        });
        format!("first differing sample {wrong:?}")
    }
}

fn cpu(text: &str) -> CpuModel {
    let mut parts = text
        .split('/')
        .map(|part| part.parse::<u16>().expect("a number"));
    let mut next = || parts.next().unwrap_or(0);
    CpuModel {
        family: next(),
        model: next() as u8,
        stepping: next() as u8,
    }
}

/// An address stream, as the index describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Expected {
    pub instructions: u64,
    pub sha256: String,
}

impl Expected {
    pub fn of(capture: &Capture, key: &str) -> Option<Expected> {
        let entry = capture.entry["expected"].get(key)?;
        Some(Expected {
            instructions: number(&entry["instructions"]),
            sha256: entry["ip_stream_sha256"].as_str()?.to_owned(),
        })
    }

    pub fn found(trace: &Trace) -> Expected {
        let thread = &trace.threads[0];
        let mut hash = Sha256::new();
        for address in thread.addresses(&trace.code, 0) {
            hash.update(address.0.to_le_bytes());
        }
        let sha256 = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Expected {
            instructions: thread.steps(),
            sha256,
        }
    }
}
