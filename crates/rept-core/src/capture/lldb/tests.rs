//! Small bundles, written here.

use super::super::Capture;
use super::description::{Bundle, Number};
use rept_trace::{Address, ThreadId, Timestamp};
use std::path::{Path, PathBuf};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Folder {
        let name = format!("rept-core-lldb-{name}-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.0.join(name), bytes).unwrap();
        }
        folder
    }

    fn open(&self) -> Result<Capture, String> {
        Capture::open(&self.0).map_err(|error| error.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const CPU: &str = r#""cpuInfo":{"vendor":"GenuineIntel","family":6,"model":85,"stepping":4}"#;

fn bundle(rest: &str) -> Vec<u8> {
    format!(r#"{{"type":"intel-pt",{CPU},{rest}}}"#).into_bytes()
}

/// SWITCH_CPU_WIDE records (process, time, out) with task and time behind them.
fn switches(switches: &[(u32, u64, bool)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(process, time, out) in switches {
        bytes.extend(15u32.to_le_bytes());
        bytes.extend((u16::from(out) << 13).to_le_bytes());
        bytes.extend(32u16.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(
            [process, process + 1]
                .iter()
                .flat_map(|id| id.to_le_bytes()),
        );
        bytes.extend(time.to_le_bytes());
    }
    bytes
}

#[test]
fn a_bundle_of_threads() {
    let text = bundle(
        r#""processes":[{"pid":7,"threads":[{"tid":9,"iptTrace":"9.trace"},{"tid":8,"iptTrace":"8.trace"}],
        "modules":[{"systemPath":"/nowhere/a.out","loadAddress":"0x400000","uuid":"AABB-CC"},
                   {"systemPath":"/nowhere/b.so","loadAddress":4198400}]}]"#,
    );
    let files: [(&str, &[u8]); 3] = [
        ("trace.json", &text),
        ("8.trace", b"eight"),
        ("9.trace", b"nine"),
    ];
    let folder = Folder::new("threads", &files);
    let capture = folder.open().unwrap();
    let streams: Vec<_> = capture
        .streams
        .iter()
        .map(|s| {
            (
                s.thread.unwrap().0,
                capture.bytes(&s.pieces[0]).into_owned(),
            )
        })
        .collect();
    assert_eq!(streams, [(8, b"eight".to_vec()), (9, b"nine".to_vec())]);
    assert_eq!(capture.processes().get(&ThreadId(9)), Some(&7));
    let cpu = capture.cpu.unwrap();
    assert_eq!(
        (cpu.intel, cpu.family, cpu.model, cpu.stepping),
        (true, 6, 85, 4)
    );
    let said: Vec<_> = capture.problems.iter().map(ToString::to_string).collect();
    assert!(
        said[0].contains("/nowhere/a.out with build-id aabbcc was not found"),
        "{said:?}"
    );
    let [first, second] = capture.mappings.as_slice() else {
        panic!("{:?}", capture.mappings)
    };
    assert_eq!((first.start, first.len), (Address(0x40_0000), 0x1000));
    assert_eq!(
        (second.start, second.process),
        (Address(0x40_1000), Some(7))
    );
}

#[test]
fn a_bundle_of_processors() {
    let rest = r#""processes":[{"pid":7,"threads":[{"tid":8}],"modules":[]}],
        "cpus":[{"id":3,"iptTrace":"3.trace","contextSwitchTrace":"3.switches"}],
        "tscPerfZeroConversion":{"timeMult":1,"timeShift":0,"timeZero":"1000"}"#;
    let text = bundle(rest);
    let mut cut = switches(&[(7, 2000, false), (7, 3000, true)]);
    cut.extend([15, 0, 0, 0]);
    let files: [(&str, &[u8]); 3] = [
        ("trace.json", &text),
        ("3.trace", b"three"),
        ("3.switches", &cut),
    ];
    let folder = Folder::new("processors", &files);
    let capture = folder.open().unwrap();
    let found: Vec<_> = capture
        .switches
        .iter()
        .map(|s| (s.time, s.cpu, s.process, s.thread, s.out))
        .collect();
    assert_eq!(
        found,
        [
            (Timestamp(1000), Some(3), 7, ThreadId(8), false),
            (Timestamp(2000), Some(3), 7, ThreadId(8), true),
        ]
    );
    assert_eq!(capture.streams[0].cpu, Some(3));
    let said = capture.problems[0].to_string();
    assert!(
        said.contains("3.switches: at offset 0x40: the file ends inside a record"),
        "{said}"
    );
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let named = bundle(r#""processes":[{"pid":7,"threads":[{"tid":9,"iptTrace":"9.trace"}]}]"#);
    let folder = Folder::new("missing", &[("trace.json", &named)]);
    assert!(
        folder
            .open()
            .unwrap_err()
            .contains("9.trace: cannot be read")
    );
    let endless = bundle(r#""processes":[{"pid":7,"threads":[{"tid":9,"iptTrace":"/dev/zero"}]}]"#);
    let folder = Folder::new("endless", &[("trace.json", &endless)]);
    assert!(
        folder
            .open()
            .unwrap_err()
            .contains("/dev/zero: it is no regular file")
    );
    let folder = Folder::new("none", &[("trace.json", &bundle(r#""cpus":[]"#))]);
    assert!(
        folder
            .open()
            .unwrap_err()
            .contains("names no file of Intel PT packets")
    );
    let say = |text: &[u8]| {
        let parsed = Bundle::parse(Path::new("trace.json"), text);
        parsed.unwrap_err().to_string()
    };
    let whole = bundle(r#""processes":[{"pid":7}]"#);
    for len in 1..whole.len() {
        let said = say(&whole[..len]);
        assert!(
            said.starts_with("trace.json: at offset 0x") && !said.contains('\n'),
            "{said}"
        );
    }
    assert!(say(&bundle(r#""processes":[{"pid":-1}]"#)).contains("invalid value: integer `-1`"));
    assert!(say(&bundle(r#""processes":[{"threads":[]}]"#)).contains("missing field `pid`"));
    let other = format!(r#"{{"type":"arm-etm",{CPU}}}"#);
    assert!(say(other.as_bytes()).contains("not Intel PT but \"arm-etm\""));
}

#[test]
fn numbers_come_in_several_forms() {
    let read = |text: &str| {
        serde_json::from_str::<Number>(text)
            .map(|number| number.0)
            .ok()
    };
    assert_eq!(read("18433473881008870804"), Some(18433473881008870804));
    assert_eq!(read("\"0x10\""), Some(16));
    assert_eq!(read("\"16\""), Some(16));
    assert_eq!(read("-1"), Some(u64::MAX));
    assert_eq!(read("\"x\""), None);
}
